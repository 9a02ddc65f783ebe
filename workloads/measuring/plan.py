"""Kernels that are timed: shapes of transformer layers from decode to prefill, and sweeps of their sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

GEMM_M = (1, 16, 64, 128, 256, 512, 1024, 4096, 16384)
GEMM_NK = ((4096, 4096), (14336, 4096), (4096, 14336), (6144, 4096), (1024, 8192), (8192, 1024), (3584, 8192))
PREFILL = ((1, 512), (1, 2048), (1, 8192), (4, 2048), (16, 512))
DECODE = ((1, 2048), (1, 16384), (16, 1024), (16, 8192), (64, 2048), (256, 1024))
HEADS = (32, 8, 128)
"""Query heads, K/V heads, width of a head."""
VECTOR_OPS = ("residual_add", "layernorm", "gelu", "softmax", "copy")
VECTOR_ROWS, VECTOR_COLS = (1, 64, 512, 4096, 16384), (4096, 8192)
MESSAGES = tuple(1 << power for power in range(16, 29, 2))


@dataclass(frozen=True)
class Job:
    """A kernel to time: its suite, and the columns of the CSV that say what it is."""

    suite: str
    columns: Mapping[str, Any]

    @property
    def operand_bytes(self) -> int:
        """Bytes in fp16 that it reads and writes, for the device's memory."""
        c = self.columns
        if self.suite == "gemm":
            return 2 * int(c["M"] * c["K"] + c["K"] * c["N"] + c["M"] * c["N"])
        if self.suite == "attention":
            queries, keys = c["batch"] * c["q_len"] * c["q_heads"], c["batch"] * c["kv_len"] * c["kv_heads"]
            return 4 * int((queries + keys) * c["head_dim"])
        if self.suite == "elementwise":
            return 6 * int(c["rows"] * c["cols"])
        return 2 * int(c["bytes"])


def measurement_plan(devices: int = 1) -> list[Job]:
    """All jobs for a machine with so many devices; collectives only if there are several."""
    return [*_gemms(), *_attentions(), *_vector_kernels(), *_collectives(devices)]


def _gemms() -> Iterator[Job]:
    for n, k in GEMM_NK:
        for m in GEMM_M:
            yield Job("gemm", {"M": m, "N": n, "K": k})


def _attentions() -> Iterator[Job]:
    q_heads, kv_heads, head_dim = HEADS
    heads = {"q_heads": q_heads, "kv_heads": kv_heads, "head_dim": head_dim, "causal": 1}
    for batch, tokens in PREFILL:
        yield Job("attention", {"phase": "prefill", "batch": batch, "q_len": tokens, "kv_len": tokens, **heads})
    for batch, keys in DECODE:
        yield Job("attention", {"phase": "decode", "batch": batch, "q_len": 1, "kv_len": keys, **heads})


def _vector_kernels() -> Iterator[Job]:
    for op in VECTOR_OPS:
        for rows in VECTOR_ROWS:
            for cols in VECTOR_COLS:
                yield Job("elementwise", {"op": op, "rows": rows, "cols": cols})


def _collectives(devices: int) -> Iterator[Job]:
    group = 2
    while group <= devices:
        for size_bytes in MESSAGES:
            yield Job("collective", {"collective": "all_reduce", "devices": group, "bytes": size_bytes})
        group *= 2
