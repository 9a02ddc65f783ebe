"""What multi-head latent attention does besides products and attention: cache entries, and rotation of parts of heads."""

from __future__ import annotations

import numpy as np

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import BLOCKS_PER_CORE, RowFootprint, cut_rows, row_register_bytes, rows_per_block
from kernels.vector.new_tokens import NewTokens
from kernels.vector.norm import RMS_NORM_OPS, SPECIAL_OPS_PER_ROW
from kernels.vector.rope import ROPE_OPS
from uarch.chip.schema import Chip
from uarch.program.records import Function

STAGES = 4
"""Heads whose columns are loaded ahead while one is rotated."""

_ROWS, _TABLE = Slot(0), Slot(1)


def latent_cache(
    name: str,
    chip: Chip,
    down: Tensor,
    cache: Tensor,
    weights: Tensor,
    table: Tensor,
    *,
    tokens: NewTokens,
    eps: float,
    first_row: int = 0,
    dtype: str = "fp16",
) -> TileProgram:
    """The cache entries of new tokens: the latent normalised, the shared key rotated.

    ``down``: a row of kv_rank + rope_dim columns for each token. ``cache``: likewise, or, of sequences with
    equally many new tokens, a batch entry for each, whose rows from ``first_row`` on take the entries. ``weights``:
    1 x kv_rank; ``table``: row p holds the cosines, then the sines of position p.

    Raises:
        InputError: a row does not fit into a core.
    """
    rank, rope_dim = weights.cols, table.cols
    if down.cols != rank + rope_dim or cache.cols != down.cols:
        raise ValueError(f"{name}: {down.name} and {cache.name} must have {rank} + {rope_dim} columns")
    down, cache = tokens.entries(down), tokens.caches(cache)
    row = _entry_footprint(down, rank, table)
    chunk = rows_per_block(name, chip, tokens.total, row)
    chunks, position = tokens.cut(chunk)
    writer = ProgramWriter(name, "rope", f"{tokens} x ({rank} + {rope_dim})", dtype)
    grid = writer.grid(len(chunks.row), 2)
    source, n_rows = chunks.row, chunks.n_rows
    target = chunks.row + first_row
    grid.vector(
        0,
        Function.RMS_NORM,
        Box(down, n_rows, rank, row=source, batch=chunks.batch),
        _ROWS,
        b=Box(weights, 1, rank),
        m=n_rows,
        n=rank,
        store=Box(cache, n_rows, rank, row=target, batch=chunks.batch),
        parameter=eps,
        ops_per_element=RMS_NORM_OPS,
        special_per_row=SPECIAL_OPS_PER_ROW,
    )
    grid.vector(
        1,
        Function.ROPE,
        Box(down, n_rows, rope_dim, row=source, col=rank, batch=chunks.batch),
        _ROWS,
        b=Box(table, n_rows, rope_dim, row=position),
        m=n_rows,
        n=rope_dim,
        store=Box(cache, n_rows, rope_dim, row=target, col=rank, batch=chunks.batch),
        ops_per_element=ROPE_OPS,
    )
    grid.resources(stages=2, l1_bytes=chunk * row.l1_bytes, register_bytes=chunk * row.register_bytes)
    return writer.finish(0)


def _entry_footprint(down: Tensor, rank: int, table: Tensor) -> RowFootprint:
    loaded_bits = (down.cols + rank) * down.element_bits + table.cols * table.element_bits
    return RowFootprint(l1_bytes=-(-loaded_bits // 8), register_bytes=row_register_bytes(down.cols))


def rotate_heads(
    name: str,
    chip: Chip,
    x: Tensor,
    out: Tensor,
    table: Tensor,
    *,
    heads: int,
    source: tuple[int, int],
    target: tuple[int, int],
    tokens: NewTokens,
    dtype: str = "fp16",
) -> TileProgram:
    """Rotate a part of every head's columns of ``x`` into columns of ``out``, which may be the same.

    ``x`` and ``out`` have a row for each new token. ``source`` and ``target``: first
    column of the part, and distance of heads; a distance of 0 takes the same columns for all. The part is as wide as
    ``table``.

    Raises:
        InputError: a row does not fit into a core.
    """
    dim, bits = table.cols, max(x.element_bits, out.element_bits)
    x, out = tokens.entries(x), tokens.entries(out)
    row = RowFootprint(-(-dim * (STAGES * bits + table.element_bits) // 8), 2 * row_register_bytes(dim))
    chunk = rows_per_block(name, chip, tokens.total, row)
    chunks, position = tokens.cut(chunk)
    parts = min(heads, -(-BLOCKS_PER_CORE * chip.core.count // len(chunks.row)))
    first_head = np.arange(parts) * heads // parts
    of_block = np.tile(np.diff(np.append(first_head, heads)), len(chunks.row))
    head = np.tile(first_head, len(chunks.row))
    batch, first, n_rows = (np.repeat(array, parts) for array in (chunks.batch, chunks.row, chunks.n_rows))
    writer = ProgramWriter(name, "rope", f"{tokens} x {heads} x {dim}", dtype)
    grid = writer.grid(len(head), 2)
    grid.vector(
        0,
        Function.IDENTITY,
        Box(table, n_rows, dim, row=np.repeat(position, parts)),
        _TABLE,
        m=n_rows,
        n=dim,
        ops_per_element=0,
    )
    boxes = (
        Box(tensor, n_rows, dim, row=first, col=col + head * distance, batch=batch, step_col=distance)
        for tensor, (col, distance) in ((x, source), (out, target))
    )
    grid.vector(
        1, Function.ROPE, next(boxes), _ROWS, b=_TABLE, m=n_rows, n=dim, store=next(boxes), ops_per_element=ROPE_OPS
    )
    grid.loop(1, 1, of_block)
    grid.resources(stages=STAGES, l1_bytes=chunk * row.l1_bytes, register_bytes=chunk * row.register_bytes)
    return writer.finish(0)


def spread_to_heads(
    name: str,
    chip: Chip,
    x: Tensor,
    out: Tensor,
    *,
    heads: int,
    width: int,
    source: int,
    target: tuple[int, int],
    dtype: str = "fp16",
) -> TileProgram:
    """Copy ``width`` columns of every row of ``x``, from column ``source`` on, to columns of ``out`` for each head.

    ``target``: first column for the first head, and distance of heads.

    Raises:
        InputError: a row does not fit into a core.
    """
    x, out, (column, distance) = x.as_rows(), out.as_rows(), target
    row = RowFootprint(-(-STAGES * width * x.element_bits // 8), row_register_bytes(width))
    chunks = cut_rows(1, x.rows, rows_per_block(name, chip, x.rows, row))
    writer = ProgramWriter(name, "rope", f"{x.rows} x {heads} x {width}", dtype)
    grid = writer.grid(len(chunks.row), 2)
    m = chunks.n_rows
    rows = Box(x, m, width, row=chunks.row, col=source)
    grid.vector(0, Function.IDENTITY, rows, _ROWS, m=m, n=width, ops_per_element=0)
    store = Box(out, m, width, row=chunks.row, col=column, step_col=distance)
    grid.vector(1, Function.IDENTITY, _ROWS, _TABLE, m=m, n=width, store=store, ops_per_element=0)
    grid.loop(1, 1, heads)
    largest = int(m.max())
    grid.resources(stages=STAGES, l1_bytes=largest * row.l1_bytes, register_bytes=largest * 2 * row.register_bytes)
    return writer.finish(0)
