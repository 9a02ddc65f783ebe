"""New keys and values on their way into the cache, to their pages, converted and scaled if it stores them narrower; and
cached latents on their way out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.attention.kv_storage import KvStorage
from kernels.attention.sequences import Sequences
from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, Grid, ProgramWriter, Slot, TileProgram
from uarch.arrays import IntArray
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.program.records import Function

ROWS_OF_BLOCK = 64
"""Rows that a block stores at most, as far as they lie together in the cache."""
MAXIMUM_OPS = 2
"""Operations per element of finding the largest: absolute value, maximum."""
QUANTISE_OPS = 2
"""Operations per element of quantising: times the reciprocal of the scale, convert; plain conversion is the latter alone."""

_NEW, _SCALE, _STORED = Slot(0), Slot(1), Slot(2)


@dataclass(frozen=True, eq=False)
class _Runs:
    """Rows that lie together among the new ones and in the cache; int64 arrays of equal length."""

    new_row: IntArray
    cache_row: IntArray
    n_rows: IntArray


def kv_store(
    name: str,
    new: tuple[Tensor, ...],
    cache: tuple[Tensor, ...],
    sequences: Sequences,
    storage: KvStorage,
    *,
    head_dim: int,
    dtype: str = "fp16",
) -> TileProgram:
    """Store the new keys and values of all sequences: rows of ``new``, one sequence after the other, as the newest rows.

    ``new`` and ``cache``: keys and values, or one tensor of latents. With scales every head of a row is divided by its
    largest absolute value, which is stored beside it.
    """
    runs = _runs(sequences)
    rows = int(sequences.q_len.sum())
    writer = ProgramWriter(name, "kv_store", f"{rows} x {len(new)} x {new[0].cols}", dtype)
    scales = (storage.k_scales, storage.v_scales)
    steps = 3 if storage.k_scales is not None else 1
    grid = writer.grid(len(runs.n_rows), len(new) * steps)
    for which in range(len(new)):
        _store(grid, which * steps, new[which].as_rows(), cache[which].as_rows(), scales[which], runs, head_dim)
    largest = int(runs.n_rows.max()) * new[0].cols
    grid.resources(
        stages=2, l1_bytes=2 * largest * new[0].element_bits // 8, register_bytes=2 * largest * ACCUMULATOR_BYTES
    )
    return writer.finish(0)


def kv_load(
    name: str,
    cache: Tensor,
    out: Tensor,
    sequences: Sequences,
    scales: Tensor | None,
    *,
    dequantise_ops: int = 0,
    dtype: str = "fp16",
) -> TileProgram:
    """Copy the cached rows of all sequences, one sequence after the other, to ``out``, converted and scaled.

    ``cache``: one tensor of latents; ``scales``: one for each row, None if it has none.
    """
    runs = _all_runs(sequences)
    writer = ProgramWriter(name, "kv_store", f"{int(sequences.kv_len.sum())} x {cache.cols}", dtype)
    grid = writer.grid(len(runs.n_rows), 1)
    grid.vector(
        0,
        Function.IDENTITY if scales is None else Function.SCALE_ROWS,
        Box(cache.as_rows(), runs.n_rows, cache.cols, row=runs.cache_row),
        _STORED,
        b=None if scales is None else Box(scales.as_rows(), runs.n_rows, 1, row=runs.cache_row),
        m=runs.n_rows,
        n=cache.cols,
        store=Box(out.as_rows(), runs.n_rows, out.cols, row=runs.new_row),
        ops_per_element=dequantise_ops,
    )
    largest = int(runs.n_rows.max()) * out.cols
    grid.resources(stages=2, l1_bytes=2 * largest * out.element_bits // 8, register_bytes=largest * ACCUMULATOR_BYTES)
    return writer.finish(0)


def _store(grid: Grid, j: int, new: Tensor, cache: Tensor, scales: Tensor | None, runs: _Runs, head_dim: int) -> None:
    """Steps from ``j`` on for keys or values."""
    if scales is None:
        converted = new.element_bits != cache.element_bits
        box = Box(cache, runs.n_rows, cache.cols, row=runs.cache_row)
        source = Box(new, runs.n_rows, new.cols, row=runs.new_row)
        ops = 1 if converted else 0
        grid.vector(j, Function.IDENTITY, source, _STORED, m=runs.n_rows, n=new.cols, store=box, ops_per_element=ops)
        return
    heads, m = new.cols // head_dim, runs.n_rows
    source = Box(new, m, head_dim, row=runs.new_row, step_col=head_dim)
    grid.vector(j, Function.IDENTITY, source, _NEW, m=m, n=head_dim, ops_per_element=0)
    box = Box(scales, m, 1, row=runs.cache_row, step_col=1)
    maximum = MAXIMUM_OPS * head_dim
    grid.vector(j + 1, Function.LARGEST, _NEW, _SCALE, m=m, n=1, store=box, ops_per_element=maximum)
    box = Box(cache, m, head_dim, row=runs.cache_row, step_col=head_dim)
    grid.vector(
        j + 2,
        Function.DIVIDE_ROWS,
        _NEW,
        _STORED,
        b=_SCALE,
        m=m,
        n=head_dim,
        store=box,
        ops_per_element=QUANTISE_OPS,
        special_per_row=1,
    )
    grid.loop(j, 3, heads)


def _runs(sequences: Sequences) -> _Runs:
    """The new rows of every sequence, cut where its cache is not contiguous and after ROWS_OF_BLOCK rows."""
    first = sequences.kv_len - sequences.q_len
    return _runs_of(sequences, first, sequences.first_q)


def _all_runs(sequences: Sequences) -> _Runs:
    """All cached rows of every sequence, cut likewise; outside of the cache they follow each other."""
    return _runs_of(sequences, np.zeros_like(sequences.kv_len), np.cumsum(sequences.kv_len) - sequences.kv_len)


def _runs_of(sequences: Sequences, first_key: IntArray, first_row: IntArray) -> _Runs:
    """Rows of the keys from ``first_key`` of each sequence on, which lie from ``first_row`` on outside of the cache."""
    parts = []
    for s in range(sequences.count):
        keys = np.arange(first_key[s], sequences.kv_len[s])
        rows = sequences.base_row(s) + sequences.rows(s, keys)
        together = np.concatenate([[False], np.diff(rows) == 1])
        first = np.flatnonzero(~together)
        length = np.diff(np.append(first, len(keys)))
        pieces = -(-length // ROWS_OF_BLOCK)
        start = np.repeat(first, pieces)
        offset = (np.arange(len(start)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * ROWS_OF_BLOCK
        start = start + offset
        n_rows = np.minimum(ROWS_OF_BLOCK, np.repeat(first + length, pieces) - start)
        parts.append((int(first_row[s]) + start, rows[start], n_rows))
    return _Runs(*(np.concatenate(column) for column in zip(*parts, strict=True)))
