"""What a phase keeps in device memory, and whether it fits.

The rule that reproduces SPAD's capacities (arXiv 2510.08544, Section 6): weights and KV cache may take
``Chip.usable_bytes``, activations what is left of ``Chip.capacity_bytes``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kernels.gemm.weights import WeightFormat
from uarch.chip.schema import Chip
from uarch.errors import InputError
from workloads.models.model import Model
from workloads.models.parallel import Shard, allowed_degrees, check_parallel

GIB = 1 << 30
_LONG = 1 << 16
"""Rows of a column over which the bits of a stored weight are averaged."""


@dataclass(frozen=True)
class Footprint:
    """The sizes that decide how much memory a phase needs."""

    batch: int
    """Sequences."""
    kv_len: int
    """Tokens in the KV cache of each sequence at the end of the phase, its own included."""
    tokens: int
    """Tokens that the phase computes, all sequences together."""
    logit_tokens: int
    """Those of them that the LM head sees."""
    tp: int
    dtype_bits: int
    """Bits of an element of weights, KV cache and activations."""
    unfused: bool
    """Attention scores and probabilities go through memory."""
    ep: int = 1
    """Groups of chips that share out the batch (of which this is one group's part) and the routed experts."""
    weights: WeightFormat | None = None
    """How the weights of layers are stored; None: plainly."""
    kv_bits: int = 0
    """Bits of an element of the KV cache, scales shared out; 0: as activations."""
    pp: int = 1
    """Pipeline stages; ``tokens`` are then those of one micro-batch, ``batch`` still all sequences."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes on each chip of a tensor-parallel group, and the limits that they were checked against."""

    weight_bytes: int
    kv_cache_bytes: int
    activation_bytes: int
    usable_bytes: int
    capacity_bytes: int

    @property
    def total_bytes(self) -> int:
        """Weights, KV cache and activations."""
        return self.weight_bytes + self.kv_cache_bytes + self.activation_bytes

    @property
    def excess_bytes(self) -> int:
        """By how much the limits are exceeded, the worse of the two; 0 if all fits."""
        over_usable = self.weight_bytes + self.kv_cache_bytes - self.usable_bytes
        return max(0, over_usable, self.total_bytes - self.capacity_bytes)


def check_fits(
    chip: Chip,
    model: Model,
    *,
    batch: int,
    kv_len: int,
    tokens: int,
    tp: int,
    dtype_bits: int,
    unfused: bool,
    logit_tokens: int | None = None,
    ep: int = 1,
    weights: WeightFormat | None = None,
    kv_bits: int = 0,
    pp: int = 1,
) -> MemoryUse:
    """Memory that a phase takes on each chip; the parameters are the fields of :class:`Footprint`.

    ``logit_tokens`` left out means all ``tokens``.

    Raises
    ------
    InputError
        If ``tp`` does not suit the model, a size is below 1, or the memory is too small: then the message says what is
        needed, by how much that is too much, and the smallest power of two for ``tp`` that would do.
    """
    logits = tokens if logit_tokens is None else logit_tokens
    for name, value in (("batch", batch), ("kv_len", kv_len), ("tokens", tokens), ("logit_tokens", logits)):
        if value < 1:
            raise InputError(f"{name} = {value}: must be at least 1")
    footprint = Footprint(batch, kv_len, tokens, logits, tp, dtype_bits, unfused, ep, weights, kv_bits, pp)
    use = memory_use(chip, model, footprint)
    if use.excess_bytes:
        raise InputError(_does_not_fit(chip, model, footprint, use))
    return use


def memory_use(chip: Chip, model: Model, footprint: Footprint) -> MemoryUse:
    """Bytes on each chip, whether they fit or not; ``InputError`` if the degrees do not suit the model."""
    shard = check_parallel(model, footprint.tp, footprint.ep)
    bits = footprint.kv_bits or footprint.dtype_bits
    kv_bytes = model.kv_cache_bytes(bits, footprint.kv_len, footprint.tp, footprint.pp)
    return MemoryUse(
        weight_bytes=_weight_bytes(model, footprint),
        kv_cache_bytes=kv_bytes * footprint.batch,
        activation_bytes=_bytes(_activation_elements(model, shard, footprint), footprint.dtype_bits),
        usable_bytes=chip.usable_bytes,
        capacity_bytes=chip.capacity_bytes,
    )


def _weight_bytes(model: Model, footprint: Footprint) -> int:
    """Products of layers in their own format, all else (embeddings, LM head, norms, routers) in that of activations."""
    degrees = footprint.tp, footprint.ep
    every = model.parameters_per_chip(*degrees, footprint.pp)
    if footprint.weights is None:
        return _bytes(every, footprint.dtype_bits)
    linear = max(
        sum(model.linear_parameters_per_chip(*degrees, kind) for kind in stage) for stage in model.stages(footprint.pp)
    )
    stored_bits = footprint.weights.matrix_bits(_LONG, 1) * linear // _LONG
    return _bytes(1, stored_bits) + _bytes(every - linear, footprint.dtype_bits)


def _activation_elements(model: Model, shard: Shard, footprint: Footprint) -> int:
    """Elements of the largest set of buffers that are live at once, whatever the phase is doing.

    For each operator: its inputs, its outputs, the residual stream, and what a later operator of the layer still reads.
    """
    tokens, latent = footprint.tokens, model.latent
    stream = tokens * model.hidden
    queries = tokens * shard.q_heads * model.head_dim
    context = tokens * shard.q_heads * (latent.value_dim if latent else model.head_dim)
    qkv = queries + 2 * tokens * shard.kv_heads * model.head_dim
    scores = tokens * shard.q_heads * footprint.kv_len if footprint.unfused else 0
    inner = tokens * shard.ffn
    up = 2 * inner if model.gated_ffn else inner
    return max(
        2 * stream + qkv,  # QKV projection, from the normed stream
        stream + qkv + 2 * scores,  # softmax of an unfused attention: scores in, probabilities out
        stream + qkv + scores + context,  # attention, or the product of probabilities and V
        2 * stream + context,  # output projection
        2 * stream + up,  # into the FFN, from the normed stream
        stream + up + inner,  # activation
        2 * stream + inner,  # out of the FFN
        3 * stream,  # norm, with the residual addition: stream, what is added, normed stream
        stream + footprint.logit_tokens * (model.hidden + shard.vocab),  # LM head, from the normed rows
        _expert_elements(model, shard, tokens),
    )


def _expert_elements(model: Model, shard: Shard, tokens: int) -> int:
    """The same of a mixture of experts, with as many rows as there are copies of tokens."""
    experts = model.experts
    if experts is None:
        return 0
    copies, inputs = tokens * experts.top_k, 2 if model.gated_ffn else 1
    beside = 3 * tokens * model.hidden if shard.shared_ffn else 2 * tokens * model.hidden
    exchanged = 2 if shard.ep > 1 else 1
    return beside + copies * max(exchanged * model.hidden + inputs * shard.expert_ffn, 2 * model.hidden)


def _does_not_fit(chip: Chip, model: Model, footprint: Footprint, use: MemoryUse) -> str:
    degrees = f"tp = {footprint.tp}" + (f", ep = {footprint.ep}" if footprint.ep > 1 else "")
    degrees += f", pp = {footprint.pp}" if footprint.pp > 1 else ""
    shape = f"{degrees}, batch = {footprint.batch}, kv_len = {footprint.kv_len}"
    parts = (("weights", use.weight_bytes), ("KV cache", use.kv_cache_bytes), ("activations", use.activation_bytes))
    needed = " + ".join(f"{name} {_gib(size)}" for name, size in parts)
    limits = f"allowed: {_gib(use.usable_bytes)} for weights and KV cache, {_gib(use.capacity_bytes)} in all"
    return (
        f"{shape}: {model.name} does not fit on {chip.name}, {_gib(use.excess_bytes)} too much per chip: {needed}; "
        f"{limits}; {_degree_that_fits(chip, model, footprint)}"
    )


def _degree_that_fits(chip: Chip, model: Model, footprint: Footprint) -> str:
    degrees = [tp for tp in allowed_degrees(model) if tp & (tp - 1) == 0]
    for tp in degrees:
        if not memory_use(chip, model, replace(footprint, tp=tp)).excess_bytes:
            return f"smallest tp that fits: {tp}"
    return f"no tp of {', '.join(map(str, degrees))} fits"


def _bytes(elements: int, bits: int) -> int:
    return -(-elements * bits // 8)


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB / 100 else f"{size / GIB:.2g} GiB"
