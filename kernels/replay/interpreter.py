"""Functional replay: executes a tile program on real matrices, from exactly the arrays that the engine executes.

One interpreter for all kernels. It proves of a schedule that it loads what it uses, computes everything once, waits for
what it needs and forgets nothing: if the result is the operator's, the engine has timed the right work.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.program.tile_program import TileProgram
from kernels.replay.functions import FUNCTIONS, Call, Matrix, Slots, given, multiply
from uarch.program.records import NONE, OUT, A, B, Function, Op

Memory = MutableMapping[str, Matrix]
"""Tensor name -> its matrix, float64, shape ``(batch * rows, cols)``. Views of a tensor have its name and share it."""

Written = dict[str, npt.NDArray[np.int64]]


def replay(program: TileProgram, memory: Memory, *, latest_first: bool = False) -> Written:
    """Execute all blocks on ``memory``, which is changed in place.

    Blocks run in dispatch order, or with ``latest_first`` in an order as far from it as the counters allow: always the
    last block that does not have to wait. A result that is right both ways is not due to the order of dispatch.

    Returns how often each element of each stored tensor was written: a schedule that does everything once has no entry
    above 1. Tensors that are only written need not be in ``memory``; they start as NaN, so that nothing unwritten can
    be read unnoticed.

    Raises:
        ValueError: a block waits for a counter that the blocks before it do not bring to its value, or reads what
            another one writes without waiting for it.
        IndexError: a box lies outside its tensor.
    """
    run = _Run(program, memory, _awaited_blocks(program))
    counters = np.zeros(max(1, program.n_counters), np.int64)
    pending = list(range(len(program.blocks)))
    while pending:
        number = pending.pop(_last_ready(program, pending, counters) if latest_first else 0)
        block = program.blocks[number]
        if not _is_ready(block, counters):
            raise ValueError(f"{program.name}: block {number} waits for blocks that are not dispatched before it")
        run.execute_block(number)
        if block["signal_counter"] != NONE:
            counters[block["signal_counter"]] += 1
    return run.written


def _is_ready(block: Any, counters: npt.NDArray[np.int64]) -> bool:
    return bool(block["wait_counter"] == NONE or counters[block["wait_counter"]] >= block["wait_value"])


def _last_ready(program: TileProgram, pending: list[int], counters: npt.NDArray[np.int64]) -> int:
    ready = (i for i in reversed(range(len(pending))) if _is_ready(program.blocks[pending[i]], counters))
    return next(ready, 0)


def _awaited_blocks(program: TileProgram) -> list[frozenset[int]]:
    """For each block, those that have ended in any case when it starts: all that signal its counter, and theirs.

    A block that does not wait for all signals of a counter can rely on none of those who signal it.
    """
    signallers: dict[int, list[int]] = {}
    for number, counter in enumerate(program.blocks["signal_counter"]):
        signallers.setdefault(int(counter), []).append(number)
    awaited: list[frozenset[int]] = []
    for block in program.blocks:
        counter = int(block["wait_counter"])
        ended = signallers.get(counter, []) if counter != NONE else []
        if len(ended) > block["wait_value"] or any(number >= len(awaited) for number in ended):
            ended = []
        awaited.append(frozenset(ended).union(*(awaited[number] for number in ended)))
    return awaited


@dataclass
class _Run:
    """State of a replay that is under way."""

    program: TileProgram
    memory: Memory
    awaited: list[frozenset[int]]
    written: Written = field(default_factory=dict)
    writer: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    """Block that wrote an element last, or NONE; shapes as in ``memory``."""
    number: int = 0
    """Number of the block that is executed."""

    def execute_block(self, number: int) -> None:
        self.number = number
        slots: Slots = {}
        for pc, iteration in _execution_order(self.program, self.program.blocks[number]):
            self._execute_step(pc, iteration, slots)

    def _execute_step(self, pc: int, iteration: int, slots: Slots) -> None:
        step, operands = self.program.steps[pc], self.program.operands[pc]
        a = self._read(operands[A], iteration, slots)
        b = self._read(operands[B], iteration, slots)
        target = int(operands[OUT]["slot"])
        if step["op"] == Op.MATMUL:
            result = multiply(step, given(a, "A"), given(b, "B"), slots)
            if step["accumulate"] and target in slots:
                result = slots[target] + result
        else:
            call = Call(self.program, step, operands, iteration, a, b, slots)
            result = FUNCTIONS[Function(step["function"])](call)
        slots[target] = result
        if operands[OUT]["tensor"] != NONE:
            self._write(operands[OUT], iteration, result)

    def _read(self, operand: Any, iteration: int, slots: Slots) -> Matrix | None:
        if operand["tensor"] != NONE:
            name, rows, cols = _box(self.program, operand, iteration)
            self._check_order(name, rows, cols)
            return self._matrix(name, operand)[rows, cols]
        value = slots.get(int(operand["slot"]))
        if value is None or operand["n_cols"] == 0:
            return value
        return value[:, int(operand["col"]) : int(operand["col"] + operand["n_cols"])]

    def _check_order(self, name: str, rows: npt.NDArray[np.int64], cols: slice) -> None:
        if name not in self.writer:
            return
        others = set(self.writer[name][rows, cols].ravel().tolist()) - {NONE, self.number} - self.awaited[self.number]
        if others:
            raise ValueError(
                f"{self.program.name}: block {self.number} reads {name} where block {min(others)} writes it, "
                "without waiting for it"
            )

    def _write(self, operand: Any, iteration: int, value: Matrix) -> None:
        name, rows, cols = _box(self.program, operand, iteration)
        matrix = self._matrix(name, operand)
        matrix[rows, cols] = value.reshape(len(rows), -1)
        self.written.setdefault(name, np.zeros(matrix.shape, np.int64))[rows, cols] += 1
        self.writer.setdefault(name, np.full(matrix.shape, NONE))[rows, cols] = self.number

    def _matrix(self, name: str, operand: Any) -> Matrix:
        """The tensor's matrix; NaN at first if nobody has given or written it."""
        if name not in self.memory:
            tensor = self.program.tensors[operand["tensor"]]
            self.memory[name] = np.full((int(tensor["batch"] * tensor["rows"]), int(tensor["cols"])), np.nan)
        return self.memory[name]


def _execution_order(program: TileProgram, block: Any) -> Iterator[tuple[int, int]]:
    """(program counter, iteration) of each step that a block executes."""
    pc, end = int(block["first_step"]), int(block["first_step"] + block["n_steps"])
    while pc < end:
        body = int(program.steps[pc]["body"])
        for iteration in range(int(program.steps[pc]["repeat"])):
            for step in range(pc, pc + body):
                yield step, iteration
        pc += body


def _box(program: TileProgram, operand: Any, iteration: int) -> tuple[str, npt.NDArray[np.int64], slice]:
    """Name of the tensor, row indices in the flattened matrix, and columns of an operand's box."""
    tensor = program.tensors[operand["tensor"]]
    name = program.tensor_names[operand["tensor"]]
    n_rows, n_cols = int(operand["n_rows"]), int(operand["n_cols"])
    part = int(iteration * operand["step_batch"]) + np.arange(operand["n_batch"])
    row = int(operand["row"] + iteration * operand["step_row"])
    col = int(operand["col"] + iteration * operand["step_col"])
    if operand["table"] == NONE:
        batch = int(operand["batch"]) + part
        first = batch * tensor["rows"] + row
        inside = min(batch[0], row) >= 0 and batch[-1] < tensor["batch"] and row + n_rows <= tensor["rows"]
    else:
        first = operand["batch"] * tensor["rows"] + row + program.tables[operand["table"] + part]
        inside = first.min() >= 0 and first.max() + n_rows <= tensor["batch"] * tensor["rows"]
    if not inside or col < 0 or col + n_cols > tensor["cols"]:
        raise IndexError(f"{program.name}: a box of {name} lies outside of it")
    rows = (first[:, None] + np.arange(n_rows)[None, :]).ravel()
    return name, rows, slice(col, col + n_cols)
