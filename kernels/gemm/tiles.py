"""Output tiles of matrix products, and the boxes of operands that belong to them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, Ints
from uarch.arrays import IntArray


@dataclass(frozen=True)
class GemmMapping:
    """Mapping of a matrix product: its tiles, splits and stages."""

    tile_m: int
    tile_n: int
    tile_k: int
    stages: int
    """Number of tiles of k whose operands L1 holds."""
    split_k: int = 1
    raster_rows: int = 1
    """Rows of tiles walked together, column by column: blocks that run at a time share rows of A and columns of B."""
    whole_tiles: bool = False
    """Whether the arrays compute whole tiles at the edges too, as kernels of libraries do; what lies beyond C is dropped."""


@dataclass(frozen=True)
class Operand:
    """Place of the matrices of a batch: entry i begins at ``(batch[i], row[i], col[i])`` of a tensor.

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


class ProductShape(Protocol):
    """Sizes of a plain, batched or grouped product."""

    @property
    def n(self) -> int:
        """Columns of B and C."""

    @property
    def k(self) -> int:
        """Columns of A, rows of B."""

    @property
    def entry_rows(self) -> IntArray:
        """Rows of A and C of every entry; an entry may have none."""

    @property
    def flops(self) -> int:
        """Two per multiply-accumulate."""

    def __hash__(self) -> int:
        """Hash of the shape's values."""


@dataclass(frozen=True)
class GemmShape:
    """``batch`` products of ``m x k`` with ``k x n``."""

    m: int
    n: int
    k: int
    batch: int = 1

    @property
    def entry_rows(self) -> IntArray:
        """``m`` for every entry of the batch."""
        return np.full(self.batch, self.m)

    @property
    def flops(self) -> int:
        """Two per multiply-accumulate."""
        return 2 * self.batch * self.m * self.n * self.k

    def __str__(self) -> str:
        head = f"{self.batch} x " if self.batch > 1 else ""
        return f"{head}{self.m} x {self.n} x {self.k}"


@dataclass(frozen=True)
class GroupedShape:
    """Products of ``rows[i] x k`` with ``k x n``: one for each expert, which may have no rows at all."""

    rows: tuple[int, ...]
    n: int
    k: int

    @property
    def entry_rows(self) -> IntArray:
        """Rows of A and C of every entry: ``rows``."""
        return np.array(self.rows, np.int64)

    @property
    def first_rows(self) -> IntArray:
        """First row of every entry if they lie one after the other."""
        return np.cumsum(self.entry_rows) - self.entry_rows

    @property
    def flops(self) -> int:
        """Two per multiply-accumulate."""
        return 2 * sum(self.rows) * self.n * self.k

    def __str__(self) -> str:
        active = sum(rows > 0 for rows in self.rows)
        return f"{sum(self.rows)} on {active} of {len(self.rows)} x {self.n} x {self.k}"


@dataclass(frozen=True)
class OutputTiles:
    """Tiles of C in dispatch order: batch entry, first row and column, sizes, and the sizes that the arrays compute; all
    int64 of equal length."""

    entry: IntArray
    row: IntArray
    col: IntArray
    m: IntArray
    n: IntArray
    array_m: IntArray
    array_n: IntArray

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.entry)

    def repeated(self, times: int) -> OutputTiles:
        """Tiles with each one repeated a number of times in a row."""
        return OutputTiles(*(np.repeat(getattr(self, field.name), times) for field in fields(self)))


def tile_order(shape: ProductShape, mapping: GemmMapping) -> OutputTiles:
    """Order of tiles: entries one after the other; within one, groups of ``raster_rows`` rows of tiles, column by column."""
    orders = {rows: _tiles_of_entry(rows, shape.n, mapping) for rows in set(shape.entry_rows.tolist()) - {0}}
    entries = [(i, orders[rows]) for i, rows in enumerate(shape.entry_rows.tolist()) if rows]
    row, col, m, n = (np.concatenate([tiles[part] for _, tiles in entries]) for part in range(4))
    entry = np.repeat([i for i, _ in entries], [len(tiles[0]) for _, tiles in entries])
    if mapping.whole_tiles:
        return OutputTiles(entry, row, col, m, n, np.full(len(m), mapping.tile_m), np.full(len(n), mapping.tile_n))
    return OutputTiles(entry, row, col, m, n, m, n)


def _tiles_of_entry(rows: int, n: int, mapping: GemmMapping) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """First rows, first columns, heights and widths of one entry's tiles."""
    tiles_m, tiles_n = -(-rows // mapping.tile_m), -(-n // mapping.tile_n)
    i, j = np.divmod(np.arange(tiles_m * tiles_n), tiles_n)
    order = np.lexsort((i, j, i // mapping.raster_rows))
    row, col = i[order] * mapping.tile_m, j[order] * mapping.tile_n
    return row, col, np.minimum(mapping.tile_m, rows - row), np.minimum(mapping.tile_n, n - col)


def tile_number(n: int, mapping: GemmMapping, tiles: OutputTiles) -> IntArray:
    """Number, within its entry, of the tile that a (part of a) tile lies in: its counter."""
    return tiles.row // mapping.tile_m * -(-n // mapping.tile_n) + tiles.col // mapping.tile_n


def at_entry(values: Ints, entry: IntArray) -> Ints:
    """The value of each tile's entry."""
    return values[entry] if isinstance(values, np.ndarray) else values


def rows_of(
    operand: Operand, tiles: OutputTiles, row: IntArray, n_rows: IntArray, col: Ints, n_cols: Ints, step_col: Ints
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
            col=at_entry(operand.col, tiles.entry) + col,
            step_col=step_col,
        )
    if operand.pack > 1:
        step_col = 0
    return Box(
        operand.tensor,
        n_rows=n_rows // operand.pack,
        n_cols=n_cols * operand.pack,
        row=at_entry(operand.row, tiles.entry) + row // operand.pack,
        col=at_entry(operand.col, tiles.entry) + col,
        batch=at_entry(operand.batch, tiles.entry),
        step_col=step_col,
    )


def columns_of(operand: Operand, tiles: OutputTiles, k0: IntArray, k_size: Ints, tile_k: int, transposed: bool) -> Box:
    """Box of a tile of B, moved along k in every iteration."""
    row, col, batch = (at_entry(values, tiles.entry) for values in (operand.row, operand.col, operand.batch))
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
