"""How far the ``tile`` fidelity is from ``burst``, in time, on kernels that wait for DRAM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from kernels.vector.embedding import embedding
from kernels.vector.norm import norm
from kernels.vector.softmax import softmax
from uarch.chip.schema import Chip
from uarch.datatypes import datatype
from uarch.engine.execute import execute
from workloads.single.attention import simulate_attention
from workloads.single.gemm import simulate_gemm

PAGE_BYTES = 4096
"""Bytes of a page of a KV cache: 16 tokens of one head of 128 elements in fp16."""
_GATHER_SEED = 1


class FidelityCase(NamedTuple):
    """One kernel at both fidelities."""

    kernel: str
    tile_seconds: float
    burst_seconds: float

    @property
    def difference(self) -> float:
        """Deviation of ``tile`` from ``burst``, as a fraction of ``burst``."""
        return self.tile_seconds / self.burst_seconds - 1


def compare_fidelities(
    chip: Chip,
    *,
    gemm_rows: Sequence[int] = (1, 8, 64),
    gemm_size: int = 8192,
    row_bytes: int = 16384,
    l2_multiple: float = 3.0,
    kv_lengths: Sequence[int] = (1024, 32768),
    keys: int = 1 << 17,
    pages: int = 32768,
) -> Iterator[FidelityCase]:
    """Decode GEMMs, row kernels on memory-resident data, GQA decode attention and a paged gather, one after the other.

    ``gemm_size``: N and K; ``row_bytes``: of softmax and layer norm, on ``l2_multiple`` times what L2 holds; ``pages`` of
    4 KB are gathered at random from 16 times as many. Attention has as many sequences as make ``keys``, at least 4.
    """
    for m in gemm_rows:
        seconds = [simulate_gemm(chip, m, gemm_size, gemm_size, fidelity=name).seconds for name in ("tile", "burst")]
        yield FidelityCase(f"gemm {m} x {gemm_size} x {gemm_size}", *seconds)
    rows = int(l2_multiple * chip.l2.bytes) // row_bytes
    yield _both(chip, f"softmax {rows} x {row_bytes // 2}", _softmax(chip, rows, row_bytes))
    yield _both(chip, f"layer norm {rows} x {row_bytes // 2}", _layer_norm(chip, rows, row_bytes))
    for kv_len in kv_lengths:
        batch = max(4, keys // kv_len)
        sizes: dict[str, Any] = {"batch": batch, "q_heads": 32, "kv_heads": 8, "head_dim": 128, "kv_len": kv_len}
        seconds = [simulate_attention(chip, "decode", **sizes, fidelity=name).seconds for name in ("tile", "burst")]
        yield FidelityCase(f"GQA decode attention {batch} x {kv_len}", *seconds)
    yield _both(chip, f"gather {pages} pages of {PAGE_BYTES} bytes", _gather(chip, pages))


def _both(chip: Chip, kernel: str, program: TileProgram) -> FidelityCase:
    return FidelityCase(kernel, *(execute(chip, program, fidelity=name)[0].seconds for name in ("tile", "burst")))


def _softmax(chip: Chip, rows: int, row_bytes: int) -> TileProgram:
    space, bits = AddressSpace(), datatype("fp16").bits
    scores, out = (space.allocate(name, rows, row_bytes * 8 // bits, bits) for name in ("scores", "out"))
    return softmax("softmax", chip, scores, out, scale=1.0, causal_diagonal=None)


def _layer_norm(chip: Chip, rows: int, row_bytes: int) -> TileProgram:
    space, bits = AddressSpace(), datatype("fp16").bits
    cols = row_bytes * 8 // bits
    x, out = (space.allocate(name, rows, cols, bits) for name in ("x", "out"))
    weights = space.allocate("weights", 2, cols, bits)
    return norm("layer norm", chip, x, weights, out, norm="layernorm", eps=1e-5)


def _gather(chip: Chip, pages: int) -> TileProgram:
    space, bits = AddressSpace(), datatype("fp16").bits
    cols = PAGE_BYTES * 8 // bits
    table = space.allocate("pages", 16 * pages, cols, bits, granule_rows=1)
    out = space.allocate("out", pages, cols, bits)
    numbers = np.random.default_rng(_GATHER_SEED).integers(0, 16 * pages, pages)
    return embedding("gather", chip, numbers, table, out, first_id=0)
