"""The program writer: what it puts into the arrays, and what a program says of itself.

Exercised with it: boxes.
"""

from __future__ import annotations

import numpy as np

from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import Box, Mask, ProgramWriter, Slot, TileProgram
from uarch.program.records import NONE, OUT, A, B, Function, MaskKind, Op


def looped_program(parameter: float = 0.5, rows: int = 8) -> TileProgram:
    """Two blocks; one step, a loop of two steps (3 and 0 times), and a grid of one more block."""
    space = AddressSpace()
    x, y = space.allocate("x", 64, 32, 16), space.allocate("y", 64, 32, 16)
    writer = ProgramWriter("p", "kind", "shape", "fp16", n_counters=2)
    grid = writer.grid(2, 3)
    grid.vector(0, Function.IDENTITY, Box(x, rows, 4, row=np.array([0, 8])), Slot(0), m=rows, n=4)
    grid.matmul(1, Slot(0), Box(y, 4, 16, step_row=4), Slot(1), m=rows, n=16, k=4, accumulate=False)
    grid.vector(
        2,
        Function.SOFTMAX,
        Slot(1, col=2, n_cols=5),
        Slot(2),
        m=rows,
        n=5,
        store=Box(x, rows, 5, step_row=8),
        parameter=parameter,
        ops_per_element=1.5,
        special_per_element=0.5,
        special_per_row=2,
        mask=Mask(3, row=np.array([0, 8]), col=1, step_col=4, row_repeat=2),
    )
    grid.loop(1, 2, np.array([3, 0]))
    grid.resources(stages=2, l1_bytes=100, register_bytes=200)
    grid.signal(np.array([0, 1]))
    last = writer.grid(1, 1)
    last.vector(0, Function.ZERO, Slot(0), Slot(0), m=1, n=1)
    last.wait(1, 1)
    return writer.finish(useful_flops=2 * 3 * rows * 16 * 4)


def test_blocks_are_ranges_of_steps_in_dispatch_order() -> None:
    program = looped_program()
    assert program.blocks["first_step"].tolist() == [0, 3, 6]
    assert program.blocks["n_steps"].tolist() == [3, 3, 1]
    assert program.blocks["signal_counter"].tolist() == [0, 1, NONE]
    assert program.blocks["wait_counter"].tolist() == [NONE, NONE, 1]
    assert program.blocks["wait_value"].tolist() == [0, 0, 1]
    assert program.blocks["l1_bytes"].tolist() == [100, 100, 0]


def test_loops_count_every_execution() -> None:
    program = looped_program()
    assert program.steps["body"].tolist() == [1, 2, 0, 1, 2, 0, 1]
    assert program.executions().tolist() == [1, 3, 3, 1, 0, 0, 1]
    assert program.dynamic_steps == 9
    assert program.is_matrix().tolist() == [False, True, False] * 2 + [False]
    assert program.macs == 3 * 8 * 16 * 4
    assert program.padding_macs == 0


def test_operands_and_costs_of_a_step() -> None:
    program = looped_program()
    step, operands = program.steps[2], program.operands[2]
    assert step["op"] == Op.VECTOR
    assert step["vector_ops"] == 8 * 5 * 3 // 2
    assert step["special_ops"] == 8 * 5 // 2 + 2 * 8
    assert operands["slot"].tolist() == [1, NONE, 2]
    assert operands["tensor"].tolist() == [NONE, NONE, 0]
    assert (operands[A]["col"], operands[A]["n_cols"]) == (2, 5)
    assert (operands[OUT]["n_rows"], operands[OUT]["step_row"]) == (8, 8)
    assert program.operands[1, B]["step_row"] == 4
    assert program.operands["row"][[0, 3], A].tolist() == [0, 8]


def test_tensors_and_masks_are_entered_once() -> None:
    program = looped_program()
    assert program.tensor_names == ("x", "y")
    assert program.n_granules == 2
    assert program.masks.tolist() == [(int(MaskKind.CAUSAL), 3, 0, 0, 0)]
    assert program.steps["mask"].tolist() == [NONE, NONE, 0, NONE, NONE, 0, NONE]
    assert program.steps["mask_row"].tolist() == [0, 0, 0, 0, 0, 8, 0]
    assert program.steps["mask_step_col"][2] == 4


def test_programs_with_equal_arrays_have_equal_keys() -> None:
    assert looped_program().key() == looped_program().key()
    assert looped_program().key() != looped_program(rows=4).key()


def test_padding_is_what_the_operator_does_not_need() -> None:
    space = AddressSpace()
    a, b, c = (space.allocate(name, 16, 16, 16) for name in "abc")
    mapping = GemmMapping(16, 16, 16, 2)
    program = gemm("g", GemmShape(16, 16, 16), Operand(a), Operand(b), [Output(Operand(c), 0, 16)], mapping, space)
    assert (program.macs, program.padding_macs) == (16**3, 0)
