"""What a run executes: a phase of a model with its sizes and options, validated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kernels.datatypes import ELEMENT_BITS
from uarch.errors import InputError

PHASES = ("prefill", "decode")
SCHEDULES = ("flash", "unfused")
FIDELITIES = ("analytical", "lltile", "tile", "burst")
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
    pp: int = 1
    """Pipeline stages, each of ``tp`` chips."""
    micro_batches: int = 1
    """Parts of the batch that follow each other through the stages."""
    overlap_chunks: int = 1
    """Chunks in which an all-reduce overlaps with the product before it; 1 for no overlap."""

    def __post_init__(self) -> None:
        """Raise :class:`InputError` for a value that is not allowed."""
        check_known("phase", self.name, PHASES)
        check_known("dtype", self.dtype, tuple(ELEMENT_BITS))
        check_known("attention", self.attention, SCHEDULES)
        check_known("fidelity", self.fidelity, FIDELITIES)
        check_positive(batch=self.batch, seq=self.seq, tp=self.tp, pp=self.pp)
        check_positive(micro_batches=self.micro_batches, overlap_chunks=self.overlap_chunks)
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
    def element_bits(self) -> int:
        """Bits of an element of weights, activations and KV cache."""
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
            "dtype": self.dtype,
            "attention": self.attention,
            "fidelity": self.fidelity,
            "pp": self.pp,
            "micro_batches": self.micro_batches,
            "overlap_chunks": self.overlap_chunks,
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
