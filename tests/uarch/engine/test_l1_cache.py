"""The cache in L1: against ordered dictionaries, and what it saves of a kernel's traffic."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from kernels.vector.libraries import RowKernel
from kernels.vector.row_walk import row_norm
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.engine.execute import KernelResult, execute, resident_blocks
from uarch.engine.l1_cache import ABSENT, WAYS, arrival_in_l1, keep_in_l1, open_l1_cache
from uarch.engine.l2 import row_set
from uarch.engine.machine import lower
from uarch.events import Event
from uarch.program.records import GRANULE_ROW_BYTES, B

SET_BYTES = GRANULE_ROW_BYTES * WAYS

accesses = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 63), st.integers(1, 2)), max_size=60)


@given(accesses)
def test_one_set_replaces_the_line_used_longest_ago(looks: list[tuple[int, int, int]]) -> None:
    """A look for absent rows brings them, 10 ps later."""
    cache = open_l1_cache(2, SET_BYTES)
    naive: OrderedDict[tuple[int, int], int] = OrderedDict()
    for now_ps, (granule, first, count) in enumerate(looks, start=1):
        rows = [(granule, row) for row in range(first, min(64, first + count))]
        found = arrival_in_l1(cache, 1, granule, first, len(rows), now_ps)
        present = all(row in naive for row in rows)
        assert found == (max([now_ps, *(naive[row] for row in rows)]) if present else ABSENT)
        for row in rows:
            if row not in naive:
                break
            naive.move_to_end(row)
        if present:
            continue
        keep_in_l1(cache, 1, granule, row_set(first, len(rows)), now_ps + 10, now_ps)
        for row in rows:
            if row not in naive:
                if len(naive) == WAYS:
                    naive.popitem(last=False)
                naive[row] = now_ps + 10
    assert (cache[0]["key"] == 0).all(), "the other core's cache"


def test_less_than_a_set_holds_nothing() -> None:
    cache = open_l1_cache(1, SET_BYTES - 1)
    keep_in_l1(cache, 0, 3, 1, 5, 5)
    assert arrival_in_l1(cache, 0, 3, 0, 1, 9) == ABSENT


KERNEL = RowKernel(threads=64, elements=4, instructions=10.0)
BITS = 16


def norm_program(chip: Chip, kind: str, rows: int, cols: int) -> TileProgram:
    space = AddressSpace()
    x, out = space.allocate("x", rows, cols, BITS), space.allocate("out", rows, cols, BITS)
    weights = space.allocate("weights", 1 if kind == "rmsnorm" else 2, cols, BITS)
    return row_norm("norm", chip, x, weights, out, KERNEL, norm=kind, eps=1e-5, dtype="fp16")


def without_l1_cache(program: TileProgram) -> TileProgram:
    operands = program.operands.copy()
    operands["cached"] = 0
    return TileProgram(**{**vars(program), "operands": operands})


def run(chip: Chip, program: TileProgram) -> KernelResult:
    return execute(chip, program)[0]


@pytest.mark.parametrize("kind", ["rmsnorm", "layernorm"])
@given(st.integers(1, 24), st.sampled_from([64, 256, 1024]), st.integers(1, 3))
def test_weights_of_a_norm_are_loaded_once_a_resident_block_at_most(
    kind: str, rows: int, cols: int, cores: int
) -> None:
    """Of what crosses the network, gamma and beta: once for each core, at most for each block that starts at once."""
    chip = load_chip("a100", [f"core.count={cores}"])
    program = norm_program(chip, kind, rows, cols)
    weight_bytes = cols * BITS // 8 * (1 if kind == "rmsnorm" else 2)
    row_bytes = 3 * rows * cols * BITS // 8  # read for its moments, and again, and written
    of_weights = run(chip, program).count(Event.NOC_BYTES) - row_bytes
    used_cores = min(rows, cores)
    resident = resident_blocks(lower(chip, "fp16"), program, chip.name)
    assert used_cores * weight_bytes <= of_weights <= min(rows, used_cores * resident) * weight_bytes
    assert run(chip, without_l1_cache(program)).count(Event.NOC_BYTES) == row_bytes + rows * weight_bytes


def test_what_comes_from_l1_costs_no_more_than_what_comes_from_l2() -> None:
    """One row after the other on one core: all but the first find gamma, the same vector work is done, DRAM moves the same."""
    chip = load_chip("a100", ["core.count=1", "core.max_resident_blocks=1"])
    program = norm_program(chip, "rmsnorm", 16, 1024)
    cached, plain = run(chip, program), run(chip, without_l1_cache(program))
    assert cached.total_ps < plain.total_ps
    assert cached.count(Event.VECTOR_OPS) == plain.count(Event.VECTOR_OPS)
    assert cached.dram_bytes == plain.dram_bytes
    gamma_bytes = 1024 * BITS // 8
    assert plain.count(Event.L1_BYTES) - cached.count(Event.L1_BYTES) == 15 * gamma_bytes
    assert plain.l2_bytes - cached.l2_bytes == 15 * gamma_bytes


@pytest.mark.parametrize("without", ["core.l1.bytes=1024", "core.l1.keeps_loads=false"])
def test_a_small_l1_or_a_scratchpad_cannot_keep_the_weights(without: str) -> None:
    chip = load_chip("a100", ["core.count=1", "core.max_resident_blocks=1", without])
    program = norm_program(chip, "rmsnorm", 8, 4096)
    assert run(chip, program).count(Event.L2_READ_BYTES) == 3 * 8 * 4096 * BITS // 8


def test_only_loads_that_say_so_are_kept() -> None:
    program = norm_program(load_chip("a100", ["core.count=1"]), "layernorm", 4, 256)
    cached = np.flatnonzero(program.operands["cached"].any(axis=0))
    assert cached.tolist() == [B]
