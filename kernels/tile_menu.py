"""The tile shapes that a vendor's library offers for matrix products: silicon runs these, not every shape that would fit.

The menu is data (``kernels/menus/library.toml``), one for all chips. A chip whose ``mapping`` is ``search`` is free of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from math import ceil, sqrt
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from kernels.datatypes import ACCUMULATOR_BYTES
from kernels.gemm import fix_up_l1_bytes
from kernels.gemm_tiles import GemmMapping, ProductShape
from uarch.contexts import MAX_STAGES
from uarch.input_file import read_toml, validate
from uarch.machine import Machine

_MENU = Path(__file__).parent / "menus" / "library.toml"
_SPLIT_WAVES = 1
"""K is split only while the blocks of all splits are no more than so many waves."""

Size = Annotated[int, Field(ge=1, le=4096)]


class TileMenu(BaseModel):
    """Schema of a menu."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    tiles: tuple[tuple[Size, Size, Size, Annotated[int, Field(ge=2, le=MAX_STAGES)]], ...]
    """m, n, k and stages of each."""
    splits: tuple[Size, ...]


@cache
def library_menu() -> TileMenu:
    """The menu that comes with the package."""
    return validate(TileMenu, read_toml(_MENU), "menus/library.toml")


def library_mappings(machine: Machine, shape: ProductShape, element_bits: int) -> Iterable[GemmMapping]:
    """Mappings of the menu that fit a core, one of each tile. Tiles are computed whole, also at the edges.

    Tiles of which half would be empty are left out, unless nothing smaller is on the menu.
    """
    menu, entries = library_menu(), shape.entry_rows
    largest, batch = int(entries.max()), int((entries > 0).sum())
    smallest_m, smallest_n = (min(tile[axis] for tile in menu.tiles) for axis in (0, 1))
    for tile_m, tile_n, tile_k, stages in _fitting(menu, machine, element_bits):
        if tile_m >= max(2 * largest, 2 * smallest_m) or tile_n >= max(2 * shape.n, 2 * smallest_n):
            continue
        k_tiles = ceil(shape.k / tile_k)
        tiles_m, tiles_n = ceil(largest / tile_m), ceil(shape.n / tile_n)
        raster = min(tiles_m, max(1, round(sqrt(machine.cores * tile_n / tile_m))))
        for split in menu.splits:
            crowded = tiles_m * tiles_n * split > _SPLIT_WAVES * machine.cores
            if split > 1 and (split > k_tiles // 4 or batch > 1 or crowded):
                continue
            mapping = GemmMapping(tile_m, tile_n, tile_k, stages, split, raster, whole_tiles=True)
            if split == 1 or fix_up_l1_bytes(mapping) <= machine.l1_bytes:
                yield mapping


def _fitting(menu: TileMenu, machine: Machine, element_bits: int) -> Iterable[tuple[int, int, int, int]]:
    """Of each m x n on the menu the first entry that fits a core."""
    taken = set()
    for tile_m, tile_n, tile_k, stages in menu.tiles:
        l1_bytes = stages * tile_k * (tile_m + tile_n) * element_bits // 8
        fits = l1_bytes <= machine.l1_bytes and tile_m * tile_n * ACCUMULATOR_BYTES <= machine.register_bytes
        if fits and (tile_m, tile_n) not in taken:
            taken.add((tile_m, tile_n))
            yield tile_m, tile_n, tile_k, stages
