"""The tile shapes that a vendor's library offers: silicon runs these, not every shape that would fit.

The menu is data (``kernels/mapping/menus/library.toml``), one for all chips unless a chip names another. A menu may say which
one it is based on and hold only what differs. A chip whose ``mapping`` is ``search`` is free of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from math import ceil, sqrt
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, Strict

from kernels.attention.attention import Attention, FlashMapping, merge_l1_bytes
from kernels.gemm.gemm import fix_up_l1_bytes
from kernels.gemm.tiles import GemmMapping, ProductShape
from kernels.mapping.visited_tiles import VisitedTiles
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.engine.machine import Machine
from uarch.engine.resident_blocks import MAX_STAGES
from uarch.errors import InputError
from uarch.files.presets import Presets
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section, TomlArray

MENUS = Presets("menu", Path(__file__).parent / "menus")
"""Menus that come with the package."""
Size = Annotated[int, Field(ge=1, le=4096)]


class ProductMenu(Section):
    """Tiles of matrix products."""

    source: str

    tiles: TomlArray[Annotated[tuple[Size, Size, Size, Annotated[int, Field(ge=2, le=MAX_STAGES)]], Strict(False)]]
    """Sizes m, n and k and the stages of each tile."""
    splits: TomlArray[Size]


class AttentionMenu(Section):
    """Tiles of streamed attention."""

    source: str

    rows: Size
    keys: TomlArray[Annotated[tuple[Size, Size], Strict(False)]]
    """Widest head and keys of a tile, by rising width."""
    stages: Annotated[int, Field(ge=2, le=MAX_STAGES)]
    copy_instructions: Annotated[int, Field(ge=0, le=1000)]
    fewest_slots_used: Annotated[float, Field(gt=0, le=1)]
    slots_per_core: Size
    enough_efficiency: Annotated[float, Field(gt=0, le=1)]
    most_splits: Size
    as_grid: bool


class TileMenu(Section):
    """Tiles that a library offers, by kind of kernel."""

    products: ProductMenu
    attention: AttentionMenu


def library_menu(name_or_path: str = "library") -> TileMenu:
    """A menu that comes with the package, or one from a file; ``InputError`` if there is none or something is wrong in it."""
    return _load(name_or_path, MENUS.stamp(name_or_path))


@lru_cache(maxsize=64)
def _load(name_or_path: str, stamp: str) -> TileMenu:
    return validate(TileMenu, _contents(name_or_path), f"menu {name_or_path}")


def _contents(name_or_path: str) -> dict[str, Any]:
    own = read_toml(MENUS.find(name_or_path))
    base = own.pop("base", None)
    if base is None:
        return own
    if base not in set(MENUS.names) - {name_or_path}:
        raise InputError(f"menu {name_or_path}: base = {base!r}: must be another menu of the package")
    tables = _contents(base)
    return tables | {name: tables.get(name, {}) | table for name, table in own.items()}


def library_mappings(
    menu: ProductMenu, machine: Machine, shape: ProductShape, element_bits: int
) -> Iterable[GemmMapping]:
    """Mappings of a menu that fit a core. Tiles are computed whole, also at the edges.

    Tiles of which half would be empty are left out, unless nothing smaller is on the menu. K is split while the blocks of
    all splits are resident at the same time.
    """
    entries = shape.entry_rows
    largest, batch = int(entries.max()), int((entries > 0).sum())
    smallest_m, smallest_n = (min(tile[axis] for tile in menu.tiles) for axis in (0, 1))
    for (tile_m, tile_n, tile_k, stages), resident in _fitting(menu, machine, element_bits):
        if tile_m >= max(2 * largest, 2 * smallest_m) or tile_n >= max(2 * shape.n, 2 * smallest_n):
            continue
        k_tiles = ceil(shape.k / tile_k)
        tiles_m, tiles_n = ceil(largest / tile_m), ceil(shape.n / tile_n)
        raster = min(tiles_m, max(1, round(sqrt(machine.cores * tile_n / tile_m))))
        for split in menu.splits:
            crowded = tiles_m * tiles_n * split > machine.cores * resident
            if split > 1 and (split > k_tiles // 4 or batch > 1 or crowded):
                continue
            mapping = GemmMapping(tile_m, tile_n, tile_k, stages, split, raster, whole_tiles=True)
            if split == 1 or fix_up_l1_bytes(mapping) <= machine.l1_bytes:
                yield mapping


def library_attention(menu: AttentionMenu, machine: Machine, attention: Attention) -> FlashMapping | None:
    """The library's mapping of a streamed attention; None if it does not fit a core, or if rows of blocks are given.

    Single new tokens: heads of a group are rows of one block, and a cache is split where blocks are few. Others: a block
    handles one head.
    """
    visited = VisitedTiles(attention)
    tile_k = next((keys for width, keys in menu.keys if attention.head_dim <= width), None)
    if tile_k is None or attention.row_tile is not None:
        return None
    pack = max(size for size in range(1, menu.rows + 1) if attention.group % size == 0) if attention.q_len == 1 else 1
    tile_q = 1 if attention.q_len == 1 else menu.rows
    splits = 1
    if attention.q_len == 1:
        blocks = visited.query_tiles(1) * attention.q_heads // pack
        splits = _splits(menu, blocks, menu.slots_per_core * machine.cores, ceil(attention.kv_len / tile_k))
    mapping = FlashMapping(
        tile_q,
        tile_k,
        menu.stages,
        pack,
        splits,
        array_rows=menu.rows,
        copy_ops=menu.copy_instructions,
        as_grid=menu.as_grid and splits == 1,
    )
    registers = menu.rows * (tile_k + attention.value_width) * ACCUMULATOR_BYTES
    l1_bytes = visited.l1_bytes(replace(mapping, tile_q=menu.rows, pack=1))
    if splits > 1:
        l1_bytes = max(l1_bytes, merge_l1_bytes(attention, mapping))
    return mapping if l1_bytes <= machine.l1_bytes and registers <= machine.register_bytes else None


def _splits(menu: AttentionMenu, blocks: int, slots: int, key_tiles: int) -> int:
    """Parts of a cache: the fewest that fill the last wave of blocks about as well as the best number does."""
    if blocks >= menu.fewest_slots_used * slots:
        return 1
    efficiency = {}
    for splits in range(1, min(menu.most_splits, slots, key_tiles) + 1):
        if splits == 1 or ceil(key_tiles / splits) != ceil(key_tiles / (splits - 1)):
            waves = blocks * splits / slots
            efficiency[splits] = waves / ceil(waves)
    best = max(efficiency.values())
    return next(splits for splits, value in efficiency.items() if value >= menu.enough_efficiency * best)


def _fitting(menu: ProductMenu, machine: Machine, element_bits: int) -> Iterable[tuple[tuple[int, int, int, int], int]]:
    """Entries that fit a core, and how many blocks of each fit: of each m x n the first for every such number."""
    taken = set()
    for tile in menu.tiles:
        tile_m, tile_n, tile_k, stages = tile
        l1_bytes = stages * tile_k * (tile_m + tile_n) * element_bits // 8
        register_bytes = tile_m * tile_n * ACCUMULATOR_BYTES
        resident = min(machine.l1_bytes // l1_bytes, machine.register_bytes // register_bytes)
        if resident > 0 and (tile_m, tile_n, resident) not in taken:
            taken.add((tile_m, tile_n, resident))
            yield tile, resident
