"""Deliberate faults in programs: the replay must notice each of them.

Exercised with it: functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kernels.attention.attention import Attention, FlashMapping
from kernels.attention.streamed import flash_attention
from kernels.attention.tensors import allocate_attention
from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from kernels.replay.interpreter import replay
from tests.oracles.naive_attention import naive_attention
from tests.support.replayed import Matrix, assert_replayed, matrix
from uarch.program.records import NONE, OUT, A, B

M, N, K = 40, 24, 48
PRODUCT, FIX_UP = 0, -1


def split_gemm() -> TileProgram:
    """Tiles of 16 x 16 in two splits of K, each two steps of 12; one loop of 2, a store; then blocks that add."""
    space = AddressSpace()
    a, b, c = space.allocate("a", M, K, 16), space.allocate("b", K, N, 16), space.allocate("c", M, N, 16)
    mapping = GemmMapping(16, 16, 12, 2, split_k=2)
    return gemm("g", GemmShape(M, N, K), Operand(a), Operand(b), [Output(Operand(c), 0, N)], mapping, space)


def copied(program: TileProgram) -> TileProgram:
    names = ("blocks", "steps", "operands", "tables", "mask_bits")
    return replace(program, **{name: getattr(program, name).copy() for name in names})


def assert_product(program: TileProgram) -> None:
    x, y = matrix(1, M, K), matrix(2, K, N)
    assert_replayed(program, {"a": x, "b": y}, {"c": x @ y})


def drop_a_k_tile(program: TileProgram) -> None:
    program.steps["repeat"][0] -= 1


def repeat_a_k_tile(program: TileProgram) -> None:
    program.operands["step_col"][0, A] = program.operands["step_row"][0, B] = 0


def take_the_wrong_stride(program: TileProgram) -> None:
    program.operands["step_row"][0, B] -= 1


def shift_a_load(program: TileProgram) -> None:
    program.operands["col"][0, A] += 1


def shift_a_store(program: TileProgram) -> None:
    program.operands["row"][-1, OUT] -= 1


def forget_a_store(program: TileProgram) -> None:
    program.operands["tensor"][-1, OUT] = NONE


def overwrite_instead_of_adding(program: TileProgram) -> None:
    program.steps["accumulate"][0] = 0


def add_one_split_only(program: TileProgram) -> None:
    program.steps["repeat"][int(program.blocks["first_step"][FIX_UP])] = 1


def work_twice(program: TileProgram) -> None:
    program.blocks[FIX_UP] = program.blocks[FIX_UP - 1]


def forget_to_wait(program: TileProgram) -> None:
    program.blocks["wait_counter"][FIX_UP] = NONE


def wait_for_one_split_only(program: TileProgram) -> None:
    program.blocks["wait_value"][FIX_UP] = 1


def wait_for_another_tile(program: TileProgram) -> None:
    program.blocks["wait_counter"][FIX_UP] = 0


FAULTS = (
    drop_a_k_tile,
    repeat_a_k_tile,
    take_the_wrong_stride,
    shift_a_load,
    shift_a_store,
    forget_a_store,
    overwrite_instead_of_adding,
    add_one_split_only,
    work_twice,
)


def test_the_program_without_faults() -> None:
    assert_product(split_gemm())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_result_or_write_count(fault: Callable[[TileProgram], None]) -> None:
    program = copied(split_gemm())
    fault(program)
    with pytest.raises(AssertionError):
        assert_product(program)


@pytest.mark.parametrize("fault", [forget_to_wait, wait_for_one_split_only, wait_for_another_tile])
def test_a_read_of_what_need_not_be_written_yet(fault: Callable[[TileProgram], None]) -> None:
    """The result in dispatch order is right, but nothing makes the cores keep to it."""
    program = copied(split_gemm())
    fault(program)
    with pytest.raises(ValueError, match="without waiting for it"):
        assert_product(program)


def test_a_block_that_overwrites_what_another_one_still_has_to_read() -> None:
    """Half of C over A, in place: right in dispatch order only."""
    space = AddressSpace()
    x, b = space.allocate("x", 16, 16, 16), space.allocate("b", 16, 16, 16)
    mapping = GemmMapping(8, 8, 16, 2)
    shape = GemmShape(8, 16, 16)
    outputs = [Output(Operand(x), 0, 8), Output(Operand(x, row=8), 8, 8)]
    program = gemm("g", shape, Operand(x, row=8), Operand(b), outputs, mapping, space)
    values, factor = matrix(1, 16, 16), matrix(2, 16, 16)
    product = values[8:] @ factor
    expected = np.full((16, 16), np.nan)
    expected[:8, :8], expected[8:, :8] = product[:, :8], product[:, 8:]
    memory = {"x": values.copy(), "b": factor}
    replay(program, memory)
    np.testing.assert_allclose(memory["x"][~np.isnan(expected)], expected[~np.isnan(expected)])
    with pytest.raises(ValueError, match="block 0 reads x where block 1 writes it, without waiting for it"):
        replay(program, {"x": values, "b": factor}, latest_first=True)


def test_a_wait_that_nobody_fulfils() -> None:
    program = copied(split_gemm())
    program.blocks["wait_value"][FIX_UP] = 3
    for latest_first in (False, True):
        with pytest.raises(ValueError, match="waits for blocks that are not dispatched before it"):
            replay(program, {"a": matrix(1, M, K), "b": matrix(2, K, N)}, latest_first=latest_first)


def test_a_wait_for_a_later_block() -> None:
    """In dispatch order the wait never ends: the waiting block would hold a place on a core."""
    program = copied(split_gemm())
    program.blocks[[PRODUCT, FIX_UP]] = program.blocks[[FIX_UP, PRODUCT]]
    with pytest.raises(ValueError, match="block 0 waits for blocks that are not dispatched before it"):
        replay(program, {"a": matrix(1, M, K), "b": matrix(2, K, N)})


@pytest.mark.parametrize(("field", "value"), [("row", M), ("row", -1), ("col", K), ("batch", 1), ("step_col", K)])
def test_a_box_outside_its_tensor(field: str, value: int) -> None:
    program = copied(split_gemm())
    program.operands[field][0, A] = value
    with pytest.raises(IndexError, match="a box of a lies outside of it"):
        replay(program, {"a": matrix(1, M, K), "b": matrix(2, K, N)})


@pytest.mark.parametrize("field", ["m", "n", "k"])
def test_a_step_whose_size_is_not_that_of_its_boxes(field: str) -> None:
    """The engine takes time from m, n, k and traffic from the boxes; they must say the same."""
    program = copied(split_gemm())
    program.steps[field][0] += 1
    with pytest.raises(ValueError, match="reshape"):
        replay(program, {"a": matrix(1, M, K), "b": matrix(2, K, N)})


def causal_attention() -> tuple[TileProgram, dict[str, Matrix], Matrix]:
    shape = Attention(1, 2, 1, 4, 12, 20)
    space = AddressSpace()
    x, y, z = matrix(1, 1, 12, 2, 4), matrix(2, 1, 20, 1, 4), matrix(3, 1, 20, 1, 4)
    program = flash_attention("f", shape, allocate_attention(shape, space), FlashMapping(4, 4, 2), space)
    memory = {"q": x.reshape(12, 8), "k": y.reshape(20, 4), "v": z.reshape(20, 4)}
    return program, memory, naive_attention(shape, x, y, z).reshape(12, 8)


def masked_iteration(program: TileProgram) -> int:
    """Where the mask of a partial tile stands in the tables."""
    step = np.flatnonzero((program.steps["mask_table"] != NONE) & (program.executions() > 0))[0]
    first = program.steps["mask_table"][step]
    masks = program.tables[first : first + program.steps["repeat"][step - 1]]
    return int(first + np.flatnonzero(masks != NONE)[0])


def drop_mask(program: TileProgram) -> None:
    program.tables[masked_iteration(program)] = NONE


def flip_element(program: TileProgram) -> None:
    program.mask_bits[0] ^= 0x80


def load_other_keys(program: TileProgram) -> None:
    keys = program.operands[(program.operands["table"] != NONE).any(axis=1)][0, B]
    program.tables[keys["table"]] += 1


@pytest.mark.parametrize("fault", [drop_mask, flip_element, load_other_keys])
def test_a_wrong_table_or_mask(fault: Callable[[TileProgram], None]) -> None:
    program, memory, expected = causal_attention()
    assert_replayed(program, memory, {"out": expected})
    faulty = copied(program)
    fault(faulty)
    with pytest.raises(AssertionError):
        assert_replayed(faulty, memory, {"out": expected})
