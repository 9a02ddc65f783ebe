"""Which mappings a library's menu of tiles comes to."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.gemm.tiles import GemmMapping, GemmShape
from kernels.mapping.tile_menu import library_mappings, library_menu
from uarch.chip_file import load_chip
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.engine.machine import Machine, lower

CHIPS = ("a100", "a40", "h100")


def resident_blocks(machine: Machine, mapping: GemmMapping) -> int:
    l1_bytes = mapping.stages * mapping.tile_k * (mapping.tile_m + mapping.tile_n) * 2
    register_bytes = mapping.tile_m * mapping.tile_n * ACCUMULATOR_BYTES
    return min(machine.l1_bytes // l1_bytes, machine.register_bytes // register_bytes)


@given(st.sampled_from(CHIPS), st.integers(1, 4096), st.integers(1, 8192), st.integers(1, 16384))
def test_mappings_are_on_the_menu_and_fit(chip_name: str, m: int, n: int, k: int) -> None:
    menu, machine = library_menu().products, lower(load_chip(chip_name), "fp16")
    mappings = list(library_mappings(menu, machine, GemmShape(m, n, k), 16))
    assert mappings
    for mapping in mappings:
        assert (mapping.tile_m, mapping.tile_n, mapping.tile_k, mapping.stages) in menu.tiles
        blocks = ceil(m / mapping.tile_m) * ceil(n / mapping.tile_n) * mapping.split_k
        resident = resident_blocks(machine, mapping)
        assert resident >= 1
        assert mapping.split_k == 1 or blocks <= resident * machine.cores


@pytest.mark.parametrize(("n", "splits"), [(54 * 128, [1, 2, 3, 4]), (108 * 128, [1, 2]), (109 * 128, [1])])
def test_k_is_split_while_all_blocks_are_resident(n: int, splits: list[int]) -> None:
    """Two blocks of 128 x 128 with three stages of 32 KB fit a core of the A100: 216 of them run at a time."""
    machine = lower(load_chip("a100"), "fp16")
    mappings = library_mappings(library_menu().products, machine, GemmShape(128, n, 8192), 16)
    found = [
        mapping.split_k for mapping in mappings if (mapping.tile_m, mapping.tile_n, mapping.stages) == (128, 128, 3)
    ]
    assert found == splits
