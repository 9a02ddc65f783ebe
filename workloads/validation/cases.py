"""From a measured row to what has to be run for it, and the class that its error is counted in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uarch.datatypes import datatype
from workloads.measured.rows import (
    AttentionRow,
    CollectiveRow,
    ElementwiseRow,
    GemmRow,
    Measurement,
    TransformerRow,
)
from workloads.validation.requests import AllReduceRequest, AttentionRequest, GemmRequest, Request, VectorRequest
from workloads.validation.sources import Source, source_of

_M_CLASSES = ((128, "M <= 128"), (512, "M 129 to 512"))
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Case:
    """A measured time, and what gives its prediction: ``count`` times a kernel and the host's floor."""

    chip: str
    """Name of the chip on which it is predicted."""
    suite: str
    label: str
    size_class: str
    source: str
    measured_seconds: float
    request: Request
    floor_seconds: float = 0.0
    count: int = 1


def case_of(suite: str, row: Measurement, chip: str) -> Case:
    """Make the case of a row on a chip, given by name."""
    source = source_of(row.source)
    request, label, size_class, op = _asked(row, source)
    subtracted = isinstance(row, TransformerRow) and "minus launch overhead" in row.note
    return Case(
        chip=chip,
        suite=suite,
        label=label,
        size_class=size_class,
        source=row.source,
        measured_seconds=row.measured_us * 1e-6,
        request=request,
        floor_seconds=0.0 if subtracted else source.floor_seconds(chip, op),
        count=row.count if isinstance(row, TransformerRow) else 1,
    )


def _asked(row: Measurement, source: Source) -> tuple[Request, str, str, str]:
    """Find a row's request, label and class, and the operation by which its source states floors."""
    if isinstance(row, GemmRow):
        request = GemmRequest(row.M, row.N, row.K, 1, row.dtype, row.l2 or source.residency.gemm)
        return request, f"{row.M} x {row.N} x {row.K}", _m_class(row.M), "gemm"
    if isinstance(row, AttentionRow):
        return _attention(row, source), _attention_label(row), row.phase, "attention"
    if isinstance(row, ElementwiseRow):
        vector = VectorRequest(
            row.op, row.rows, row.cols, row.dtype, row.l2 or source.residency.elementwise, source.vector_kernels
        )
        return vector, f"{row.op} {row.rows} x {row.cols}", row.op, row.op
    if isinstance(row, CollectiveRow):
        reduce = AllReduceRequest(
            row.bytes, row.devices, row.dtype, row.l2 or source.residency.collective, source.collectives
        )
        size_class = "from 1 MB" if row.bytes >= _MEGABYTE else "below 1 MB"
        return reduce, f"{row.bytes} bytes over {row.devices}", size_class, "all_reduce"
    if isinstance(row, TransformerRow):
        return _transformer(row, source)
    raise TypeError(f"no case of {type(row).__name__}")


def _m_class(m: int) -> str:
    return next((name for limit, name in _M_CLASSES if m <= limit), "M > 512")


def _attention(row: AttentionRow, source: Source) -> AttentionRequest:
    decode = row.phase == "decode"
    return AttentionRequest(
        prefills=(0, 0, 0) if decode else (row.batch if row.phase == "prefill" else 1, row.q_len, row.kv_len),
        decodes=(row.batch, row.kv_len) if decode else (row.dec_n, row.dec_kv),
        q_heads=row.q_heads,
        kv_heads=row.kv_heads,
        head_dim=row.head_dim,
        causal=row.causal == "1",
        writes_kv_cache=source.writes_kv_cache,
        regroups_queries=source.regroups_queries,
        dtype=row.dtype,
        residency=row.l2 or source.residency.attention,
    )


def _attention_label(row: AttentionRow) -> str:
    label = f"{row.phase} {row.batch} x q {row.q_len} kv {row.kv_len}"
    return f"{label} + {row.dec_n} decodes of {row.dec_kv}" if row.dec_n else label


def _transformer(row: TransformerRow, source: Source) -> tuple[Request, str, str, str]:
    label = f"{row.op} {row.rows_M} x {row.cols_N}"
    if row.kind in ("matmul", "bmm"):
        sizes = (row.rows_M, row.cols_N, row.K, row.bmm_batch)
        return GemmRequest(*sizes, row.dtype, row.l2 or source.residency.gemm), f"{label} x {row.K}", row.op, "gemm"
    if row.kind.startswith("allreduce"):
        ranks = int(row.kind.removeprefix("allreduce_").removesuffix("gpu"))
        size_bytes = row.rows_M * row.cols_N * datatype(row.dtype).bits // 8
        reduce = AllReduceRequest(size_bytes, ranks, row.dtype, source.residency.collective, source.collectives)
        return reduce, label, row.op, "all_reduce"
    residency = row.l2 or source.residency.elementwise
    request = VectorRequest(row.kind, row.rows_M, row.cols_N, row.dtype, residency, source.vector_kernels)
    return request, label, row.op, row.kind


def distinct(cases: Sequence[Case]) -> list[tuple[str, Request]]:
    """List the chips and requests of ``cases``, each pair once, in order of first use."""
    return list(dict.fromkeys((case.chip, case.request) for case in cases))
