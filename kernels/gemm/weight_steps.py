"""The steps that multiply one tile of A with a tile of B, whatever the format that B is stored in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.gemm.tiles import Operand, OutputTiles, at_entry, columns_of
from kernels.gemm.weights import CONVERT_OPS, EXPAND_OPS, SCALE_OPS, Weights
from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, Grid, Ints, Slot
from uarch.arrays import IntArray
from uarch.program.records import Function
from uarch.systolic.sparsity import DENSE

SUM, _RESULT, _VALUES, _INDICES, _DENSE, _PARTIAL = (Slot(i) for i in range(6))
"""``SUM`` holds a block's accumulators; ``_RESULT`` is taken by the stores."""


@dataclass(frozen=True)
class KTile:
    """Tiles of k that a loop walks over: the first row, rows of a tile, and distance of tiles."""

    first: IntArray
    size: Ints
    step: int


def multiply_operand(
    grid: Grid, j: int, a: Box, b: Operand, tiles: OutputTiles, k_tile: KTile, transpose_b: bool
) -> None:
    """Fill step ``j``: ``SUM += a @ b`` for a B that the arrays take as it is."""
    box = columns_of(b, tiles, k_tile.first, k_tile.size, k_tile.step, transpose_b)
    grid.matmul(
        j,
        a,
        box,
        SUM,
        m=tiles.m,
        n=tiles.n,
        k=k_tile.size,
        transpose_b=transpose_b,
        array_m=tiles.array_m,
        array_n=tiles.array_n,
    )


def multiply_weights(grid: Grid, j: int, a: Box, b: Weights, tiles: OutputTiles, k_tile: KTile) -> None:
    """Fill the steps from ``j`` on, as many as the format says: ``SUM += a @ b``, values converted, expanded and scaled."""
    form, n = b.format, tiles.n
    kept = form.kept(k_tile.size)
    values: Box | Slot = _kept_rows(b, b.values, tiles, k_tile)
    if form.is_converted:
        scales = _scales(b, tiles, k_tile) if form.has_group_scales else None
        grid.vector(
            j,
            Function.IDENTITY if scales is None else Function.SCALE,
            values,
            _VALUES,
            b=scales,
            m=kept,
            n=n,
            parameter=float(form.kept(form.group_size)) if form.group_size else 0.0,
            ops_per_element=CONVERT_OPS + (SCALE_OPS if scales is not None else 0),
        )
        values, j = _VALUES, j + 1
    indices = None
    if b.indices is not None:
        box = _kept_rows(b, b.indices, tiles, k_tile)
        if form.skips_zeros:
            grid.vector(j, Function.IDENTITY, box, _INDICES, m=kept, n=n, ops_per_element=0)
            indices = _INDICES
        else:
            size = k_tile.size
            grid.vector(
                j,
                Function.EXPAND,
                values,
                _DENSE,
                b=box,
                m=size,
                n=n,
                ops_per_element=EXPAND_OPS,
                structure=form.structure,
            )
            values, kept = _DENSE, size
        j += 1
    target = _PARTIAL if form.scales_sums else SUM
    grid.matmul(
        j,
        a,
        values,
        target,
        m=tiles.m,
        n=n,
        k=kept,
        array_m=tiles.array_m,
        array_n=tiles.array_n,
        accumulate=not form.scales_sums,
        indices=indices,
        structure=form.structure if indices else DENSE,
    )
    if form.scales_sums:
        grid.vector(j + 1, Function.MULTIPLY_ADD, target, SUM, b=_scales(b, tiles, k_tile), m=tiles.m, n=n)


def scale_columns(grid: Grid, j: int, b: Weights, tiles: OutputTiles, rows: int) -> None:
    """Fill step ``j``: ``SUM`` times the scale of every column; ``rows`` are those of the largest tile."""
    box = Box(b.scale_tensor, n_rows=1, n_cols=tiles.n, col=tiles.col, batch=at_entry(b.entry, tiles.entry))
    grid.vector(j, Function.SCALE, SUM, SUM, b=box, m=tiles.m, n=tiles.n, parameter=float(rows))


def _kept_rows(b: Weights, tensor: Tensor, tiles: OutputTiles, k_tile: KTile) -> Box:
    """The stored rows of a tile of k."""
    return Box(
        tensor,
        n_rows=b.format.kept(k_tile.size),
        n_cols=tiles.n,
        row=b.format.kept(k_tile.first),
        col=tiles.col,
        batch=at_entry(b.entry, tiles.entry),
        step_row=b.format.kept(k_tile.step),
    )


def _scales(b: Weights, tiles: OutputTiles, k_tile: KTile) -> Box:
    """The scales of a tile of k, which holds whole groups."""
    group_size = b.format.group_size or b.k
    return Box(
        b.scale_tensor,
        n_rows=-(-np.asarray(k_tile.size) // group_size),
        n_cols=tiles.n,
        row=k_tile.first // group_size,
        col=tiles.col,
        batch=at_entry(b.entry, tiles.entry),
        step_row=k_tile.step // group_size,
    )
