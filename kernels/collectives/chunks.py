"""What all collectives share: how a matrix is cut into the ranks' chunks, and what a block of tiles occupies."""

from __future__ import annotations

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Grid, ProgramWriter
from kernels.vector.cutting import Tiles
from uarch.chip.schema import Chip
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.engine.resident_blocks import MAX_STAGES
from uarch.errors import InputError


def granule_columns(x: Tensor) -> int:
    """Columns of granules that cover a tensor."""
    return -(-x.cols // x.granule_cols)


def chunk_columns(x: Tensor, rank: int, ranks: int) -> tuple[int, int]:
    """First column of a rank's chunk, and the one after its last: whole granule columns, balanced to within one."""
    columns = granule_columns(x)
    first, end = (p * columns // ranks * x.granule_cols for p in (rank, rank + 1))
    return first, min(end, x.cols)


def check_chunks(name: str, x: Tensor, ranks: int) -> None:
    """Raise ``InputError`` if some rank's chunk would be empty."""
    if granule_columns(x) < ranks:
        raise InputError(
            f"{name}: {x.cols} columns of {x.name} make {granule_columns(x)} chunks of {x.granule_cols} columns; "
            f"{ranks} ranks need one each"
        )


def add_resources(grid: Grid, chip: Chip, x: Tensor, tiles: Tiles, steps: int) -> None:
    """Set a block's stages and L1 bytes so that all its tiles are asked for at the same time, as far as L1 holds them."""
    tile_bytes = -(-tiles.largest * x.element_bits // 8)
    stages = max(1, min(steps, MAX_STAGES, chip.core.l1.bytes // tile_bytes))
    grid.resources(stages=stages, l1_bytes=stages * tile_bytes, register_bytes=tiles.largest * ACCUMULATOR_BYTES)


def collective_writer(kind: str, name: str, x: Tensor, ranks: int, dtype: str) -> ProgramWriter:
    """Writer of a collective's program."""
    return ProgramWriter(name, kind, f"{x.batch * x.rows} x {x.cols} over {ranks}", dtype)
