"""What a measured row asks the simulator to run: plain values, so that equal requests are run once and results are cached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from uarch.chip.schema import Chip
from workloads.running.kernel_run import KernelRun
from workloads.single.batch_attention import simulate_batch_attention
from workloads.single.collective import simulate_all_reduce
from workloads.single.gemm import simulate_gemm
from workloads.single.vector import simulate_vector_kernel


@dataclass(frozen=True)
class Request:
    """A kernel to be run on some chip; its ``repr`` identifies it, its fields are what ``simulate`` is called with."""

    simulate: ClassVar[Callable[..., KernelRun]]

    def run(self, chip: Chip, fidelity: str) -> KernelRun:
        """The kernel alone on ``chip``; raises :class:`uarch.InputError` for what cannot be run."""
        return self.simulate(chip, fidelity=fidelity, **vars(self))


@dataclass(frozen=True)
class GemmRequest(Request):
    """Request of a product by :func:`workloads.single.gemm.simulate_gemm`."""

    simulate = staticmethod(simulate_gemm)

    m: int
    n: int
    k: int
    batch: int
    dtype: str
    residency: str


@dataclass(frozen=True)
class AttentionRequest(Request):
    """Request of a batch's attention by :func:`workloads.single.batch_attention.simulate_batch_attention`."""

    simulate = staticmethod(simulate_batch_attention)

    prefills: tuple[int, int, int]
    """Sequences, new tokens of each, keys of each."""
    decodes: tuple[int, int]
    """Sequences, keys of each."""
    q_heads: int
    kv_heads: int
    head_dim: int
    causal: bool
    writes_kv_cache: bool
    regroups_queries: bool
    dtype: str
    residency: str


@dataclass(frozen=True)
class VectorRequest(Request):
    """Request of a vector kernel by :func:`workloads.single.vector.simulate_vector_kernel`."""

    simulate = staticmethod(simulate_vector_kernel)

    op: str
    rows: int
    cols: int
    dtype: str
    residency: str
    library: str


@dataclass(frozen=True)
class AllReduceRequest(Request):
    """Request of an all-reduce by :func:`workloads.single.collective.simulate_all_reduce`."""

    simulate = staticmethod(simulate_all_reduce)

    message_bytes: int
    ranks: int
    dtype: str
    residency: str
    library: str
