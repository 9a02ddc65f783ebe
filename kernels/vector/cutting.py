"""How vector kernels are cut into blocks: by whole rows where rows are reduced, by tiles of granules elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box
from uarch.arrays import IntArray
from uarch.chip.schema import Chip
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.errors import InputError

BLOCKS_PER_CORE = 3
"""Least number of chunks or tiles per core, where the matrix allows it, so that cores finish at about the same time."""

RESIDENT_BLOCKS = 4
"""Blocks that fit into a core at a time where rows or granules are small enough: while one loads, others compute and
store. What they load together is half of all L1 or more, far above the bandwidth-delay product of DRAM and link (a few
megabytes)."""


@dataclass(frozen=True)
class RowFootprint:
    """L1 bytes and registers that a row of a block occupies in its core."""

    l1_bytes: int
    """Bytes of the row's operands that are loaded, in all stages."""
    register_bytes: int
    fixed_register_bytes: int = 0
    """Registers that the block occupies whatever its number of rows."""


@dataclass(frozen=True)
class RowChunks:
    """Consecutive rows of one batch entry each; int64 arrays of equal length, in dispatch order."""

    batch: IntArray
    row: IntArray
    n_rows: IntArray

    def box(self, tensor: Tensor, first_row: int = 0) -> Box:
        """The chunks' whole rows, counted from ``first_row`` of each batch entry."""
        return Box(tensor, n_rows=self.n_rows, n_cols=tensor.cols, row=first_row + self.row, batch=self.batch)


@dataclass(frozen=True)
class Tiles:
    """Boxes that cover columns of a matrix; int64 arrays of equal length, in dispatch order."""

    row: IntArray
    col: IntArray
    n_rows: IntArray
    n_cols: IntArray

    def box(self, tensor: Tensor, first_col: int = 0) -> Box:
        """Boxes of a tensor at the tiles' places, ``first_col`` columns to the right."""
        return Box(tensor.as_rows(), self.n_rows, self.n_cols, row=self.row, col=first_col + self.col)

    @property
    def largest(self) -> int:
        """Elements of the largest tile."""
        return int((self.n_rows * self.n_cols).max())


def check_row_fits(name: str, chip: Chip, row: RowFootprint) -> None:
    """Raise ``InputError`` if a single row does not fit into a core."""
    for field, needed, available in (
        ("core.l1.bytes", row.l1_bytes, chip.core.l1.bytes),
        ("core.register_bytes", row.register_bytes + row.fixed_register_bytes, chip.core.register_bytes),
    ):
        if needed > available:
            raise InputError(f"{name}: one row needs {needed} bytes of a core; {field} of {chip.name} is {available}")


def rows_per_block(name: str, chip: Chip, rows: int, row: RowFootprint, resident_blocks: int = RESIDENT_BLOCKS) -> int:
    """A power of two: as many rows as a block may hold at a time without leaving cores without work.

    Raises:
        InputError: a single row does not fit into a core.
    """
    check_row_fits(name, chip, row)
    registers = chip.core.register_bytes - row.fixed_register_bytes
    fitting = min(chip.core.l1.bytes // row.l1_bytes, registers // row.register_bytes) // resident_blocks
    shared_out = rows // (BLOCKS_PER_CORE * chip.core.count)
    return _power_of_two_below(min(fitting, shared_out))


def cut_rows(entries: int, rows: int, rows_per_chunk: int) -> RowChunks:
    """Chunks of every batch entry's rows, one entry after the other; the last chunk of an entry takes what is left."""
    first = np.arange(0, rows, rows_per_chunk)
    row = np.tile(first, entries)
    return RowChunks(
        batch=np.repeat(np.arange(entries), len(first)), row=row, n_rows=np.minimum(rows_per_chunk, rows - row)
    )


def cut_granules(
    chip: Chip, tensor: Tensor, *, bits_per_element: int, first_col: int = 0, end_col: int | None = None
) -> Tiles:
    """Tiles of whole granules that cover columns ``first_col`` to ``end_col - 1``, in the order of their addresses.

    ``bits_per_element``: of all that a block holds in L1 for an element. A tile is as wide as leaves work for all
    cores, and lower than a granule only if L1 is too small for one.
    """
    end_col = tensor.cols if end_col is None else end_col
    total_rows = tensor.batch * tensor.rows
    width, height = tensor.granule_cols, tensor.granule_rows
    elements_per_core = min(chip.core.l1.bytes * 8 // bits_per_element, chip.core.register_bytes // ACCUMULATOR_BYTES)
    while height > 1 and height * width > elements_per_core:
        height //= 2
    granules = -(-total_rows // height) * -(-(end_col - first_col) // width)
    fitting = elements_per_core // (RESIDENT_BLOCKS * height * width)
    wide = min(fitting, granules // (BLOCKS_PER_CORE * chip.core.count))
    width *= _power_of_two_below(wide)
    row = np.arange(0, total_rows, height)
    col = np.arange(first_col, end_col, width)
    rows, cols = (axis.ravel() for axis in np.meshgrid(row, col, indexing="ij"))
    return Tiles(rows, cols, np.minimum(height, total_rows - rows), np.minimum(width, end_col - cols))


def check_same_shape(name: str, *tensors: Tensor) -> None:
    """Raise ``ValueError`` unless all tensors have equally many rows (over all batch entries) and columns."""
    shapes = {(tensor.batch * tensor.rows, tensor.cols) for tensor in tensors}
    if len(shapes) > 1:
        raise ValueError(f"{name}: shapes of {', '.join(tensor.name for tensor in tensors)} differ")


def row_register_bytes(cols: int) -> int:
    """Registers that a row of fp32 values takes."""
    return cols * ACCUMULATOR_BYTES


def _power_of_two_below(value: int) -> int:
    """The largest power of two that does not exceed ``value``, at least 1."""
    return 1 << max(0, value.bit_length() - 1) if value > 0 else 1
