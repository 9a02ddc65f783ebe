"""Matrix products: plain, batched (attention through memory) and split along K.

``C[i] = A[i] @ B[i]`` for every entry i of a batch; a plain GEMM is a batch of one. Each block computes one
``tile_m x tile_n`` tile of C, streaming A and B in steps of ``tile_k`` through ``stages`` buffers in L1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kernels.address_space import AddressSpace, Tensor
from kernels.datatypes import ACCUMULATOR_BYTES
from kernels.program import Box, Grid, Ints, ProgramWriter, Slot, TileProgram
from uarch.program import Function

IntArray = npt.NDArray[np.int64]

_FIX_UP_ROWS = 32


@dataclass(frozen=True)
class GemmMapping:
    """How a GEMM is cut up."""

    tile_m: int
    tile_n: int
    tile_k: int
    stages: int
    split_k: int = 1
    raster_rows: int = 1
    """Rows of tiles that are walked together, column by column: blocks that run at a time share rows of A and columns of B."""
    whole_tiles: bool = False
    """The arrays compute whole tiles at the edges too, as kernels of libraries do; what lies beyond C is dropped."""


@dataclass(frozen=True)
class Operand:
    """Where the matrices of a batch lie: entry i begins at ``(batch[i], row[i], col[i])`` of a tensor.

    With ``pack`` p, one tensor row holds p matrix rows side by side (the query heads of a group): a tile of rows is a
    box of ``rows / p`` tensor rows that is read in row-major order.

    With ``per_batch``, matrix row r is row ``row`` of the tensor's batch entry r: the last position of every sequence.
    """

    tensor: Tensor
    batch: Ints = 0
    row: Ints = 0
    col: Ints = 0
    pack: int = 1
    per_batch: bool = False


@dataclass(frozen=True)
class Output:
    """Columns ``first_col`` to ``first_col + n_cols - 1`` of C go to ``operand``, whose columns they fill from its own on."""

    operand: Operand
    first_col: int
    n_cols: int


@dataclass(frozen=True)
class GemmShape:
    """``batch`` products of ``m x k`` with ``k x n``."""

    m: int
    n: int
    k: int
    batch: int = 1

    @property
    def flops(self) -> int:
        """Two per multiply-accumulate."""
        return 2 * self.batch * self.m * self.n * self.k

    def __str__(self) -> str:
        head = f"{self.batch} x " if self.batch > 1 else ""
        return f"{head}{self.m} x {self.n} x {self.k}"


def gemm(
    name: str,
    shape: GemmShape,
    a: Operand,
    b: Operand,
    outputs: Sequence[Output],
    mapping: GemmMapping,
    space: AddressSpace,
    *,
    dtype: str = "fp16",
    transpose_b: bool = False,
    kind: str = "gemm",
) -> TileProgram:
    """Tile program of a (batched) GEMM.

    ``transpose_b``: B is stored as n x k. ``space`` gives the workspace of a split along K: partial sums in fp32, added by
    blocks that wait for all splits of their tile.

    Raises:
        ValueError: the mapping splits a batch along K, leaves a split without work, or cuts through packed rows.
    """
    _check_packing(name, shape, a, outputs, mapping)
    writer = ProgramWriter(name, kind, str(shape), dtype)
    tiles = _tile_order(shape, mapping)
    if mapping.split_k == 1:
        grid = _product_grid(writer, shape, a, b, mapping, tiles, np.zeros(1, np.int64), transpose_b, len(outputs))
        _store(grid, 2, outputs, tiles)
        return writer.finish(shape.flops)
    if shape.batch > 1:
        raise ValueError(f"{name}: a batch of {shape.batch} products is not split along K")
    if mapping.split_k > -(-shape.k // mapping.tile_k):
        raise ValueError(
            f"{name}: {mapping.split_k} splits of k {shape.k} in steps of {mapping.tile_k} leave some empty"
        )
    workspace = space.scratch(f"{name}.partial", shape.m, shape.n, 8 * ACCUMULATOR_BYTES, batch=mapping.split_k)
    splits = np.arange(mapping.split_k)
    grid = _product_grid(writer, shape, a, b, mapping, tiles, splits, transpose_b, 1)
    every = tiles.repeated(mapping.split_k)
    split = np.tile(splits, tiles.count)
    partial = Box(workspace, n_rows=every.m, n_cols=every.n, row=every.row, col=every.col, batch=split)
    grid.vector(2, Function.IDENTITY, Slot(0), Slot(1), m=every.m, n=every.n, store=partial)
    grid.signal(_tile_number(shape, mapping, every))
    writer.n_counters = tiles.count
    _fix_up_grid(writer, shape, workspace, outputs, mapping)
    return writer.finish(shape.flops)


def fix_up_l1_bytes(mapping: GemmMapping) -> int:
    """L1 bytes of a block that adds up partial sums: two splits of a few rows of a tile."""
    return 2 * min(_FIX_UP_ROWS, mapping.tile_m) * mapping.tile_n * ACCUMULATOR_BYTES


def _check_packing(name: str, shape: GemmShape, a: Operand, outputs: Sequence[Output], mapping: GemmMapping) -> None:
    """Packed rows are whole in every tile, and a tile covers all of their width."""
    packs = [a.pack, *(output.operand.pack for output in outputs)]
    if any(mapping.tile_m % pack or shape.m % pack for pack in packs):
        raise ValueError(f"{name}: {shape.m} rows in tiles of {mapping.tile_m} are not whole groups of packed rows")
    if a.pack > 1 and mapping.tile_k < shape.k:
        raise ValueError(f"{name}: tile_k {mapping.tile_k}; rows of A are packed: a tile must cover k {shape.k}")
    if max(packs[1:]) > 1 and mapping.tile_n < shape.n:
        raise ValueError(f"{name}: tile_n {mapping.tile_n}; rows of C are packed: a tile must cover n {shape.n}")


@dataclass(frozen=True)
class _Tiles:
    """Output tiles in dispatch order: batch entry, first row and column, and sizes; all int64 of equal length."""

    entry: IntArray
    row: IntArray
    col: IntArray
    m: IntArray
    n: IntArray

    @property
    def count(self) -> int:
        return len(self.entry)

    def repeated(self, times: int) -> _Tiles:
        return _Tiles(*(np.repeat(array, times) for array in (self.entry, self.row, self.col, self.m, self.n)))


def _tile_order(shape: GemmShape, mapping: GemmMapping) -> _Tiles:
    """Batch entries one after the other; within one, groups of ``raster_rows`` rows of tiles, column by column."""
    tiles_m, tiles_n = -(-shape.m // mapping.tile_m), -(-shape.n // mapping.tile_n)
    i, j = np.divmod(np.arange(tiles_m * tiles_n), tiles_n)
    order = np.lexsort((i, j, i // mapping.raster_rows))
    row = np.tile(i[order] * mapping.tile_m, shape.batch)
    col = np.tile(j[order] * mapping.tile_n, shape.batch)
    return _Tiles(
        np.repeat(np.arange(shape.batch), tiles_m * tiles_n),
        row,
        col,
        np.minimum(mapping.tile_m, shape.m - row),
        np.minimum(mapping.tile_n, shape.n - col),
    )


def _tile_number(shape: GemmShape, mapping: GemmMapping, tiles: _Tiles) -> IntArray:
    """Number of the tile that a (part of a) tile lies in: its counter."""
    return tiles.row // mapping.tile_m * -(-shape.n // mapping.tile_n) + tiles.col // mapping.tile_n


def _product_grid(
    writer: ProgramWriter,
    shape: GemmShape,
    a: Operand,
    b: Operand,
    mapping: GemmMapping,
    tiles: _Tiles,
    splits: IntArray,
    transpose_b: bool,
    n_stores: int,
) -> Grid:
    """Blocks of all tiles and splits: step 0 streams whole K tiles, step 1 the rest, then come the stores."""
    n_splits = len(splits)
    tiles = tiles.repeated(n_splits)
    k_tiles = -(-shape.k // mapping.tile_k)
    split = np.tile(splits, tiles.count // n_splits)
    first_k = split * k_tiles // n_splits * mapping.tile_k
    end_k = np.minimum((split + 1) * k_tiles // n_splits * mapping.tile_k, shape.k)
    whole = (end_k - first_k) // mapping.tile_k
    rest = (end_k - first_k) % mapping.tile_k

    grid = writer.grid(tiles.count, 2 + n_stores)
    for j, k_size, k0, repeat in (
        (0, mapping.tile_k, first_k, whole),
        (1, rest, first_k + whole * mapping.tile_k, (rest > 0).astype(np.int64)),
    ):
        grid.matmul(
            j,
            _rows_of(a, tiles, tiles.row, tiles.m, k0, k_size, mapping.tile_k),
            _columns_of(b, tiles, k0, k_size, mapping.tile_k, transpose_b),
            Slot(0),
            m=tiles.m,
            n=tiles.n,
            k=k_size,
            transpose_b=transpose_b,
            array_m=mapping.tile_m if mapping.whole_tiles else None,
            array_n=mapping.tile_n if mapping.whole_tiles else None,
        )
        grid.loop(j, 1, repeat)
    bits_a, bits_b = a.tensor.element_bits, b.tensor.element_bits
    stage_bytes = mapping.tile_k * (mapping.tile_m * bits_a + mapping.tile_n * bits_b) // 8
    grid.resources(
        stages=mapping.stages,
        l1_bytes=mapping.stages * stage_bytes,
        register_bytes=mapping.tile_m * mapping.tile_n * ACCUMULATOR_BYTES,
    )
    return grid


def _at(values: Ints, entry: IntArray) -> Ints:
    return values[entry] if isinstance(values, np.ndarray) else values


def _rows_of(
    operand: Operand, tiles: _Tiles, row: IntArray, n_rows: IntArray, col: Ints, n_cols: Ints, step_col: Ints
) -> Box:
    """Box of some matrix rows and columns; a packed operand is read over its whole width."""
    if operand.per_batch:
        return Box(
            operand.tensor,
            n_batch=n_rows,
            n_rows=1,
            n_cols=n_cols,
            batch=row,
            row=operand.row,
            col=_at(operand.col, tiles.entry) + col,
            step_col=step_col,
        )
    if operand.pack > 1:
        step_col = 0
    return Box(
        operand.tensor,
        n_rows=n_rows // operand.pack,
        n_cols=n_cols * operand.pack,
        row=_at(operand.row, tiles.entry) + row // operand.pack,
        col=_at(operand.col, tiles.entry) + col,
        batch=_at(operand.batch, tiles.entry),
        step_col=step_col,
    )


def _columns_of(operand: Operand, tiles: _Tiles, k0: IntArray, k_size: Ints, tile_k: int, transposed: bool) -> Box:
    row, col, batch = (_at(values, tiles.entry) for values in (operand.row, operand.col, operand.batch))
    if transposed:
        return Box(
            operand.tensor,
            n_rows=tiles.n,
            n_cols=k_size,
            row=row + tiles.col,
            col=col + k0,
            batch=batch,
            step_col=tile_k,
        )
    return Box(
        operand.tensor, n_rows=k_size, n_cols=tiles.n, row=row + k0, col=col + tiles.col, batch=batch, step_row=tile_k
    )


def _store(grid: Grid, first_step: int, outputs: Sequence[Output], tiles: _Tiles) -> None:
    """Steps that convert the accumulators of slot 0 and write them; a tile that straddles outputs is stored to each."""
    for number, output in enumerate(outputs):
        j = first_step + number
        first = np.maximum(tiles.col, output.first_col)
        n_cols = np.minimum(tiles.col + tiles.n, output.first_col + output.n_cols) - first
        inside = (n_cols > 0).astype(np.int64)
        n_cols = np.maximum(n_cols, 1)
        box = _rows_of(output.operand, tiles, tiles.row, tiles.m, first - output.first_col, n_cols, 0)
        part = Slot(0, col=first - tiles.col, n_cols=n_cols)
        grid.vector(j, Function.IDENTITY, part, Slot(1), m=tiles.m, n=n_cols, store=box)
        grid.loop(j, 1, inside)


def _fix_up_grid(
    writer: ProgramWriter, shape: GemmShape, workspace: Tensor, outputs: Sequence[Output], mapping: GemmMapping
) -> None:
    """Blocks that add the partial sums of a few rows of a tile, once all splits of the tile have stored theirs."""
    rows = replace(mapping, tile_m=min(_FIX_UP_ROWS, mapping.tile_m))
    tiles = _tile_order(shape, rows)
    grid = writer.grid(tiles.count, 1 + len(outputs))
    partial = Box(workspace, n_rows=tiles.m, n_cols=tiles.n, row=tiles.row, col=tiles.col, step_batch=1)
    grid.vector(0, Function.ADD, partial, Slot(0), b=Slot(0), m=tiles.m, n=tiles.n)
    grid.loop(0, 1, mapping.split_k)
    _store(grid, 1, outputs, tiles)
    grid.wait(_tile_number(shape, mapping, tiles), mapping.split_k)
    tile_bytes = rows.tile_m * rows.tile_n * ACCUMULATOR_BYTES
    grid.resources(stages=2, l1_bytes=fix_up_l1_bytes(mapping), register_bytes=tile_bytes)
