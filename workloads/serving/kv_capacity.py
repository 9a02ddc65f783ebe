"""Tokens of KV cache that a serving engine finds room for on its chips.

vLLM's rule (``Worker.determine_available_memory``, vllm/v1/worker/gpu_worker.py, 0.9 and later, Apache-2.0): of the memory
that the driver shows, the share ``gpu_memory_utilization`` is the engine's; weights, what a trial step of the largest batch
needs at its peak, and what lies outside the allocator (contexts, communicators, captured graphs) come off; the rest is KV
blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

from uarch.chip.schema import Chip
from uarch.errors import InputError
from workloads.layers.capacity import memory_use
from workloads.models.footprint import Footprint
from workloads.models.model import Model

GIB = 1 << 30
_UTILIZATION = 0.9
_HIDDEN_SHARE = 0.012
_SAMPLER_BYTES_PER_LOGIT = 31.0
_OUTSIDE_BYTES = 0.3 * GIB
_COMMUNICATOR_BYTES = 0.5 * GIB


@dataclass(frozen=True)
class EngineMemory:
    """What a serving engine does with device memory, with vLLM's defaults."""

    utilization: float = _UTILIZATION
    """Share of the visible memory that is the engine's: vLLM's ``gpu_memory_utilization``."""
    hidden_share: float = _HIDDEN_SHARE
    """Share of the capacity that driver and firmware keep: of 80 GiB about 79.2 are visible, of 24 about 23.65."""
    sampler_bytes_per_logit: float = _SAMPLER_BYTES_PER_LOGIT
    """At the peak of the trial step's sampling: logits in fp16 and fp32 (6), sorted with int64 indices (12) and the sort's
    buffers (12), a mask (1)."""
    outside_bytes: float = _OUTSIDE_BYTES
    """Outside the allocator: growth of the CUDA context, workspaces of libraries, pools of captured graphs. Assumed, 0.1 to 0.6
    GiB."""
    communicator_bytes: float = _COMMUNICATOR_BYTES
    """Buffers of collectives, where more than one chip works together. Assumed, 0.3 to 1.2 GiB."""


@dataclass(frozen=True)
class Replica:
    """One copy of a model and the batch that its engine is made for."""

    tp: int
    ep: int
    pp: int
    element_bits: int
    max_sequences: int
    max_batched_tokens: int

    @property
    def chips(self) -> int:
        """Chips that hold the copy."""
        return self.tp * self.ep * self.pp


def kv_tokens_capacity(chip: Chip, model: Model, replica: Replica, engine: EngineMemory | None = None) -> int:
    """Tokens of all sequences together whose KV cache fits beside weights and activations on each chip.

    With ``ep`` groups each keeps the cache of its part of the sequences, and the groups' tokens add up.

    Raises
    ------
    InputError
        If the degrees do not suit the model, or nothing is left; the message says what takes how much.
    """
    engine = engine or EngineMemory()
    tokens, sequences = (
        max(1, -(-count // replica.ep)) for count in (replica.max_batched_tokens, replica.max_sequences)
    )
    footprint = Footprint(sequences, 1, tokens, 1, replica.tp, replica.element_bits, False, replica.ep, pp=replica.pp)
    use = memory_use(chip, model, footprint)
    sampler = engine.sampler_bytes_per_logit * sequences * model.vocab
    engine_bytes = engine.utilization * (1 - engine.hidden_share) * chip.capacity_bytes
    outside = engine.outside_bytes + (engine.communicator_bytes if replica.chips > 1 else 0.0)
    taken = use.weight_bytes + max(use.activation_bytes, sampler) + outside
    per_token = model.kv_cache_bytes(replica.element_bits, 1, replica.tp, replica.pp)
    left = int((engine_bytes - taken) // per_token) * replica.ep
    if left < 1:
        raise InputError(
            f"tp = {replica.tp}, ep = {replica.ep}, pp = {replica.pp}: {model.name} leaves no room for a KV cache on "
            f"{chip.name}: {engine_bytes / GIB:.2f} GiB for the engine, weights {use.weight_bytes / GIB:.2f} GiB, activations "
            f"{max(use.activation_bytes, sampler) / GIB:.2f} GiB, context and graphs {outside / GIB:.2f} GiB"
        )
    return left
