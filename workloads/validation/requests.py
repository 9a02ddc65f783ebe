"""What a measured row asks the simulator to run: plain values, so that equal requests are run once and results are cached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from uarch.chip import Chip
from workloads.batch_attention import simulate_batch_attention
from workloads.kernel_run import KernelRun
from workloads.single_collective import simulate_all_reduce
from workloads.single_kernel import simulate_gemm
from workloads.single_vector_kernel import simulate_vector_kernel


class Request(Protocol):
    """A kernel to be run on some chip; its ``repr`` identifies it."""

    def run(self, chip: Chip, fidelity: str) -> KernelRun:
        """The kernel alone on ``chip``; raises :class:`uarch.InputError` for what cannot be run."""


@dataclass(frozen=True)
class GemmRequest:
    """See :func:`workloads.single_kernel.simulate_gemm`."""

    m: int
    n: int
    k: int
    batch: int
    dtype: str
    residency: str

    def run(self, chip: Chip, fidelity: str) -> KernelRun:
        """The kernel alone on ``chip``."""
        sizes = (self.m, self.n, self.k)
        return simulate_gemm(
            chip, *sizes, batch=self.batch, dtype=self.dtype, fidelity=fidelity, residency=self.residency
        )


@dataclass(frozen=True)
class AttentionRequest:
    """See :func:`workloads.batch_attention.simulate_batch_attention`."""

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

    def run(self, chip: Chip, fidelity: str) -> KernelRun:
        """The kernels alone on ``chip``."""
        return simulate_batch_attention(
            chip,
            self.prefills,
            self.decodes,
            q_heads=self.q_heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            causal=self.causal,
            writes_kv_cache=self.writes_kv_cache,
            regroups_queries=self.regroups_queries,
            dtype=self.dtype,
            fidelity=fidelity,
            residency=self.residency,
        )


@dataclass(frozen=True)
class VectorRequest:
    """See :func:`workloads.single_vector_kernel.simulate_vector_kernel`."""

    op: str
    rows: int
    cols: int
    dtype: str
    residency: str
    library: str

    def run(self, chip: Chip, fidelity: str) -> KernelRun:
        """The kernel alone on ``chip``."""
        return simulate_vector_kernel(
            chip,
            self.op,
            self.rows,
            self.cols,
            dtype=self.dtype,
            fidelity=fidelity,
            residency=self.residency,
            library=self.library,
        )


@dataclass(frozen=True)
class AllReduceRequest:
    """See :func:`workloads.single_collective.simulate_all_reduce`."""

    message_bytes: int
    ranks: int
    dtype: str
    residency: str
    library: str

    def run(self, chip: Chip, fidelity: str) -> KernelRun:
        """The kernels of one chip of the group."""
        return simulate_all_reduce(
            chip,
            self.message_bytes,
            self.ranks,
            dtype=self.dtype,
            fidelity=fidelity,
            residency=self.residency,
            library=self.library,
        )
