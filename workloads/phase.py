"""What a run executes: a phase of a model with its sizes and options, validated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kernels.datatypes import ELEMENT_BITS, MATRIX_DTYPES
from uarch.errors import InputError

PHASES = ("prefill", "decode")
SCHEDULES = ("flash", "unfused")
LOGITS = ("last", "all")
FIDELITIES = ("analytical", "tile", "burst")
LARGEST_SEED = 2**63 - 1
"""A trace stores the seed as a signed integer of 64 bits."""


@dataclass(frozen=True)
class Phase:
    """A prefill of ``batch`` prompts of ``seq`` tokens, or one decode step of ``batch`` sequences at a context of ``seq``
    tokens, the new one included."""

    name: str
    batch: int
    seq: int
    tp: int = 1
    dtype: str = "fp16"
    attention: str = "flash"
    fidelity: str = "tile"
    seed: int = 0
    ep: int = 1
    weight_dtype: str | None = None
    group_size: int | None = None
    weight_sparsity: str | None = None
    expert_load: str = "uniform"
    """Of the experts: see :func:`workloads.expert_load.parse_load`."""
    logits: str = "last"

    def __post_init__(self) -> None:
        """Raise :class:`InputError` for a value that is not allowed."""
        check_known("phase", self.name, PHASES)
        check_known("dtype", self.dtype, MATRIX_DTYPES)
        check_known("attention", self.attention, SCHEDULES)
        check_known("fidelity", self.fidelity, FIDELITIES)
        check_known("logits", self.logits, LOGITS)
        check_positive(batch=self.batch, seq=self.seq, tp=self.tp, ep=self.ep)
        if self.batch % self.ep:
            raise InputError(f"batch = {self.batch}: must be a multiple of ep = {self.ep}, whose groups share it out")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"seed = {self.seed}: must be at least 0 and at most {LARGEST_SEED}")

    @property
    def q_len(self) -> int:
        """New tokens of each sequence."""
        return self.seq if self.name == "prefill" else 1

    @property
    def kv_len(self) -> int:
        """Keys that the last of them sees."""
        return self.seq

    @property
    def tokens(self) -> int:
        """Tokens that are computed, and that the phase is measured by."""
        return self.batch * self.q_len

    @property
    def logit_tokens(self) -> int:
        """Of them, those that the LM head sees."""
        return self.tokens if self.logits == "all" else self.batch

    @property
    def expands_latents(self) -> bool:
        """Latent attention expands keys and values for all heads; in decode the weights are absorbed instead."""
        return self.name == "prefill"

    def of_group(self) -> Phase:
        """The part of the batch that one of ``ep`` groups of chips attends to."""
        return replace(self, batch=self.batch // self.ep, ep=1)

    @property
    def element_bits(self) -> int:
        """Bits of an element of activations and KV cache, and of weights that have no datatype of their own."""
        return ELEMENT_BITS[self.dtype]

    @property
    def unfused(self) -> bool:
        """Attention scores go through memory."""
        return self.attention == "unfused"

    def describe(self) -> dict[str, Any]:
        """As JSON-able fields of a trace's workload."""
        return {
            "phase": self.name,
            "batch": self.batch,
            "seq": self.seq,
            "tp": self.tp,
            "ep": self.ep,
            "dtype": self.dtype,
            "weight_dtype": self.weight_dtype or self.dtype,
            "group_size": self.group_size,
            "weight_sparsity": self.weight_sparsity,
            "expert_load": self.expert_load,
            "logits": self.logits,
            "attention": self.attention,
            "fidelity": self.fidelity,
        }


def check_known(field: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise :class:`InputError` if ``value`` is not among those that ``field`` may have."""
    if value not in allowed:
        raise InputError(f"{field} = {value!r}: not known; allowed: {', '.join(allowed)}")


def check_positive(**sizes: int) -> None:
    """Raise :class:`InputError` naming the first size that is below 1 or absurdly large."""
    for name, value in sizes.items():
        if not 1 <= value <= 1 << 24:
            raise InputError(f"{name} = {value}: must be at least 1 and at most {1 << 24}")
