"""Matrix products: plain, batched (attention through memory), grouped (experts) and split along K.

``C[i] = A[i] @ B[i]`` for every entry i; a plain GEMM has one, a batch entries of equal size, a group entries with rows of
their own number. Each block computes one ``tile_m x tile_n`` tile of C, streaming A and B in steps of ``tile_k`` through
``stages`` buffers in L1. B may be quantised or sparse weights (:mod:`kernels.gemm.weights`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kernels.gemm.tiles import (
    GemmMapping,
    GemmShape,
    GroupedShape,
    Operand,
    OutputTiles,
    ProductShape,
    rows_of,
    tile_number,
    tile_order,
)
from kernels.gemm.weight_steps import SUM, KTile, multiply_operand, multiply_weights, scale_columns
from kernels.gemm.weights import Weights
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import Box, Grid, ProgramWriter, Slot, TileProgram
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.program.records import Function

__all__ = [
    "GemmMapping",
    "GemmShape",
    "GroupedShape",
    "Operand",
    "Output",
    "fix_up_l1_bytes",
    "gemm",
    "grouped_gemm",
    "useful_flops",
]

_FIX_UP_ROWS = 32


@dataclass(frozen=True)
class Output:
    """Destination of columns ``first_col`` to ``first_col + n_cols - 1`` of C.

    They are stored in ``operand``, from its column ``operand.col`` on."""

    operand: Operand
    first_col: int
    n_cols: int


def gemm(
    name: str,
    shape: ProductShape,
    a: Operand,
    b: Operand | Weights,
    outputs: Sequence[Output],
    mapping: GemmMapping,
    space: AddressSpace,
    *,
    dtype: str = "fp16",
    transpose_b: bool = False,
    kind: str = "gemm",
) -> TileProgram:
    """Tile program of a (batched or grouped) GEMM.

    ``transpose_b``: B, which must be an operand, is stored as n x k. ``space`` gives the workspace of a split along K:
    partial sums in fp32, added by blocks that wait for all splits of their tile.

    Raises:
        ValueError: the mapping splits a batch along K, leaves a split without work, cuts through packed rows or through
            groups of weights.
    """
    _check_packing(name, shape, a, outputs, mapping)
    if isinstance(b, Weights) and (transpose_b or not b.format.allows_tile_k(mapping.tile_k)):
        raise ValueError(f"{name}: tile_k {mapping.tile_k} does not suit weights in {b.format}")
    writer = ProgramWriter(name, kind, str(shape), dtype)
    tiles = tile_order(shape, mapping)
    scaled = isinstance(b, Weights) and b.format.scales_columns
    if mapping.split_k == 1:
        grid = _product_grid(writer, shape.k, a, b, mapping, tiles, 1, transpose_b, scaled + len(outputs))
        _store(grid, _first_store(b), b, outputs, tiles, mapping.tile_m)
        return writer.finish(useful_flops(shape, b))
    if np.count_nonzero(shape.entry_rows) > 1:
        raise ValueError(f"{name}: {np.count_nonzero(shape.entry_rows)} products are not split along K")
    if mapping.split_k > -(-shape.k // mapping.tile_k):
        raise ValueError(
            f"{name}: {mapping.split_k} splits of k {shape.k} in steps of {mapping.tile_k} leave some empty"
        )
    rows = int(shape.entry_rows.max())
    workspace = space.scratch(f"{name}.partial", rows, shape.n, 8 * ACCUMULATOR_BYTES, batch=mapping.split_k)
    grid = _product_grid(writer, shape.k, a, b, mapping, tiles, mapping.split_k, transpose_b, 1)
    every = tiles.repeated(mapping.split_k)
    split = np.tile(np.arange(mapping.split_k), tiles.count)
    partial = Box(workspace, n_rows=every.m, n_cols=every.n, row=every.row, col=every.col, batch=split)
    grid.vector(_first_store(b), Function.IDENTITY, SUM, Slot(1), m=every.m, n=every.n, store=partial)
    grid.signal(tile_number(shape.n, mapping, every))
    writer.n_counters = tiles.count
    _fix_up_grid(writer, shape, workspace, b, outputs, mapping)
    return writer.finish(useful_flops(shape, b))


def grouped_gemm(
    name: str,
    shape: GroupedShape,
    a: Tensor,
    b: Weights,
    out: Tensor,
    mapping: GemmMapping,
    space: AddressSpace,
    *,
    dtype: str = "fp16",
) -> TileProgram:
    """Tile program of one launch for all experts: rows of ``a`` and ``out`` are sorted by expert, as are the blocks.

    ``a``: at least ``sum(rows) x k``; ``b``: a ``k x n`` matrix for every expert; ``out``: ``sum(rows) x n``. Experts
    without rows have no blocks.

    Raises:
        ValueError: no expert has a row; and as for :func:`gemm`.
    """
    if not any(shape.rows):
        raise ValueError(f"{name}: no expert has a row")
    first = shape.first_rows
    weights = b.for_entries(np.arange(len(shape.rows)))
    outputs = [Output(Operand(out, row=first), 0, shape.n)]
    return gemm(name, shape, Operand(a, row=first), weights, outputs, mapping, space, dtype=dtype, kind="grouped_gemm")


def useful_flops(shape: ProductShape, b: Operand | Weights) -> int:
    """Useful FLOP of a product: two per multiply-accumulate with a weight that is not dropped."""
    if not isinstance(b, Weights):
        return shape.flops
    return shape.flops // shape.k * int(b.format.kept(shape.k))


def fix_up_l1_bytes(mapping: GemmMapping) -> int:
    """L1 bytes of a block that adds up partial sums: two splits of a few rows of a tile."""
    return 2 * min(_FIX_UP_ROWS, mapping.tile_m) * mapping.tile_n * ACCUMULATOR_BYTES


def _check_packing(name: str, shape: ProductShape, a: Operand, outputs: Sequence[Output], mapping: GemmMapping) -> None:
    """Raise ``ValueError`` unless packed rows are whole in every tile and a tile covers all of their width."""
    packs = [a.pack, *(output.operand.pack for output in outputs)]
    if any(mapping.tile_m % pack or np.any(shape.entry_rows % pack) for pack in packs):
        rows = int(shape.entry_rows.max())
        raise ValueError(f"{name}: {rows} rows in tiles of {mapping.tile_m} are not whole groups of packed rows")
    if a.pack > 1 and mapping.tile_k < shape.k:
        raise ValueError(f"{name}: tile_k {mapping.tile_k}; rows of A are packed: a tile must cover k {shape.k}")
    if max(packs[1:]) > 1 and mapping.tile_n < shape.n:
        raise ValueError(f"{name}: tile_n {mapping.tile_n}; rows of C are packed: a tile must cover n {shape.n}")


def _steps_per_tile(b: Operand | Weights) -> int:
    return b.format.steps_per_tile if isinstance(b, Weights) else 1


def _first_store(b: Operand | Weights) -> int:
    """First step after those of whole and of the remaining tiles of k."""
    return 2 * _steps_per_tile(b)


def _product_grid(
    writer: ProgramWriter,
    k: int,
    a: Operand,
    b: Operand | Weights,
    mapping: GemmMapping,
    tiles: OutputTiles,
    n_splits: int,
    transpose_b: bool,
    n_stores: int,
) -> Grid:
    """Blocks of all tiles and splits: a loop streams whole K tiles, another one the rest, then come the stores."""
    tiles = tiles.repeated(n_splits)
    k_tiles = -(-k // mapping.tile_k)
    split = np.tile(np.arange(n_splits), tiles.count // n_splits)
    first_k = split * k_tiles // n_splits * mapping.tile_k
    end_k = np.minimum((split + 1) * k_tiles // n_splits * mapping.tile_k, k)
    whole = (end_k - first_k) // mapping.tile_k
    rest = (end_k - first_k) % mapping.tile_k

    n_steps = _steps_per_tile(b)
    grid = writer.grid(tiles.count, 2 * n_steps + n_stores)
    for j, k_size, k0, repeat in (
        (0, mapping.tile_k, first_k, whole),
        (n_steps, rest, first_k + whole * mapping.tile_k, (rest > 0).astype(np.int64)),
    ):
        rows = rows_of(a, tiles, tiles.row, tiles.m, k0, k_size, mapping.tile_k)
        k_tile = KTile(k0, k_size, mapping.tile_k)
        if isinstance(b, Weights):
            multiply_weights(grid, j, rows, b, tiles, k_tile)
        else:
            multiply_operand(grid, j, rows, b, tiles, k_tile, transpose_b)
        grid.loop(j, n_steps, repeat)
    _occupy(grid, a, b, mapping)
    return grid


def _occupy(grid: Grid, a: Operand, b: Operand | Weights, mapping: GemmMapping) -> None:
    """Set a block's L1 bytes for all stages, and its registers for accumulators and for the converted tile of weights."""
    tile_bits = mapping.tile_k * mapping.tile_m * a.tensor.element_bits
    register_bytes = mapping.tile_m * mapping.tile_n * ACCUMULATOR_BYTES
    if isinstance(b, Weights):
        tile_bits += b.format.tile_bits(mapping.tile_k, mapping.tile_n)
        register_bytes += b.format.register_bytes(mapping.tile_m, mapping.tile_n, mapping.tile_k)
    else:
        tile_bits += mapping.tile_k * mapping.tile_n * b.tensor.element_bits
    grid.resources(
        stages=mapping.stages * _steps_per_tile(b),
        l1_bytes=mapping.stages * (-(-tile_bits // 8)),
        register_bytes=register_bytes,
    )


def _store(
    grid: Grid, j: int, b: Operand | Weights, outputs: Sequence[Output], tiles: OutputTiles, tile_m: int
) -> None:
    """Steps from ``j`` on that scale and convert the sums and write them; a tile that straddles outputs goes to each."""
    if isinstance(b, Weights) and b.format.scales_columns:
        scale_columns(grid, j, b, tiles, tile_m)
        j += 1
    for output in outputs:
        first = np.maximum(tiles.col, output.first_col)
        n_cols = np.minimum(tiles.col + tiles.n, output.first_col + output.n_cols) - first
        inside = (n_cols > 0).astype(np.int64)
        n_cols = np.maximum(n_cols, 1)
        box = rows_of(output.operand, tiles, tiles.row, tiles.m, first - output.first_col, n_cols, 0)
        part = Slot(0, col=first - tiles.col, n_cols=n_cols)
        grid.vector(j, Function.IDENTITY, part, Slot(1), m=tiles.m, n=n_cols, store=box)
        grid.loop(j, 1, inside)
        j += 1


def _fix_up_grid(
    writer: ProgramWriter,
    shape: ProductShape,
    workspace: Tensor,
    b: Operand | Weights,
    outputs: Sequence[Output],
    mapping: GemmMapping,
) -> None:
    """Blocks that add the partial sums of a few rows of a tile, once all splits of the tile have stored theirs."""
    rows = replace(mapping, tile_m=min(_FIX_UP_ROWS, mapping.tile_m))
    tiles = tile_order(shape, rows)
    scaled = isinstance(b, Weights) and b.format.scales_columns
    grid = writer.grid(tiles.count, 1 + scaled + len(outputs))
    partial = Box(workspace, n_rows=tiles.m, n_cols=tiles.n, row=tiles.row, col=tiles.col, step_batch=1)
    grid.vector(0, Function.ADD, partial, Slot(0), b=Slot(0), m=tiles.m, n=tiles.n)
    grid.loop(0, 1, mapping.split_k)
    _store(grid, 1, b, outputs, tiles, rows.tile_m)
    grid.wait(tile_number(shape.n, mapping, tiles), mapping.split_k)
    tile_bytes = rows.tile_m * rows.tile_n * ACCUMULATOR_BYTES
    grid.resources(stages=2, l1_bytes=fix_up_l1_bytes(mapping), register_bytes=tile_bytes)
