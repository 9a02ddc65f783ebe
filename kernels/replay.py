"""Functional replay: executes a tile program on real matrices, from exactly the arrays that the engine executes.

One interpreter for all kernels. It proves of a schedule that it loads what it uses, computes everything once, waits for
what it needs and forgets nothing: if the result is the operator's, the engine has timed the right work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.program import TileProgram
from uarch.program import NONE, OUT, A, B, Function, Op

Matrix = npt.NDArray[np.float64]
Memory = MutableMapping[str, Matrix]
"""Tensor name -> its matrix, float64, shape ``(batch * rows, cols)``. Views of a tensor have its name and share it."""

_GELU_SCALE = float(np.sqrt(2 / np.pi))


Slots = dict[int, Matrix]
Written = dict[str, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class _Call:
    """One execution of a vector step: its operands' values and the block's slots."""

    program: TileProgram
    step: Any
    operands: Any
    iteration: int
    a: Matrix | None
    b: Matrix | None
    slots: Slots

    @property
    def tile_a(self) -> Matrix:
        assert self.a is not None
        return self.a.reshape(int(self.step["m"]), int(self.step["n"]))

    @property
    def tile_b(self) -> Matrix:
        return self.other.reshape(int(self.step["m"]), int(self.step["n"]))

    @property
    def other(self) -> Matrix:
        assert self.b is not None
        return self.b

    @property
    def parameter(self) -> float:
        return float(self.step["parameter"])

    def scores(self) -> Matrix:
        """Scaled scores, minus infinity where the mask drops them."""
        return np.where(self._kept(), self.parameter * self.tile_a, -np.inf)

    def _kept(self) -> npt.NDArray[np.bool_]:
        step, (m, n) = self.step, self.tile_a.shape
        if step["mask_table"] != NONE:
            number = int(self.program.tables[step["mask_table"] + self.iteration])
            if number == NONE:
                return np.ones((m, n), np.bool_)
            return np.repeat(_elements(self.program, number), step["mask_row_repeat"], axis=0).reshape(m, n)
        if step["mask"] == NONE:
            return np.ones((m, n), np.bool_)
        query = step["mask_row"] + np.arange(m) // step["mask_row_repeat"]
        key = step["mask_col"] + self.iteration * step["mask_step_col"] + np.arange(n)
        kept: npt.NDArray[np.bool_] = key[None, :] <= query[:, None] + self.program.masks[step["mask"]]["diagonal"]
        return kept


def _elements(program: TileProgram, number: int) -> npt.NDArray[np.bool_]:
    """An element mask, shape (queries, keys)."""
    mask = program.masks[number]
    size, first = int(mask["rows"] * mask["cols"]), int(mask["first_byte"])
    bits = np.unpackbits(program.mask_bits[first : first + -(-size // 8)], count=size)
    return bits.reshape(int(mask["rows"]), int(mask["cols"])).astype(np.bool_)


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
    """A replay under way."""

    program: TileProgram
    memory: Memory
    awaited: list[frozenset[int]]
    written: Written = field(default_factory=dict)
    writer: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    """Block that wrote an element last, or NONE; shapes as in ``memory``."""
    number: int = 0
    """Of the block that is executed."""

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
            assert a is not None
            assert b is not None
            result = _matmul(step, a, _dense_weights(step, b, slots))
            if step["accumulate"] and target in slots:
                result = slots[target] + result
        else:
            call = _Call(self.program, step, operands, iteration, a, b, slots)
            result = _FUNCTIONS[Function(step["function"])](call)
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


def _dense_weights(step: Any, b: Matrix, slots: Slots) -> Matrix:
    """B of a matrix step with the zeros that N:M weights leave out."""
    if step["group"] == 1:
        return b
    k, n = int(step["k"]), int(step["n"])
    return _expanded(step, b.reshape(k, n), slots[int(step["state"])].reshape(k, n))


def _expanded(step: Any, values: Matrix, indices: Matrix) -> Matrix:
    """Every group of rows with its kept values where the indices say; the last group may have fewer rows."""
    kept, group = int(step["kept"]), int(step["group"])
    k, n = values.shape
    rows = np.arange(k) // kept * group
    dense = np.zeros((-(-k // kept) * group, n))
    dense[rows[:, None] + indices.astype(np.int64), np.arange(n)] = values
    return dense


def _matmul(step: Any, a: Matrix, b: Matrix) -> Matrix:
    m, n = int(step["m"]), int(step["n"])
    if step["group"] > 1:
        left = a.reshape(m, -1)
        return left @ b[: left.shape[1]]
    k = int(step["k"])
    left = a.reshape(k, m).T if step["transpose_a"] else a.reshape(m, k)
    right = b.reshape(n, k).T if step["transpose_b"] else b.reshape(k, n)
    return left @ right


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


def _zero(call: _Call) -> Matrix:
    return np.zeros((int(call.step["m"]), int(call.step["n"])))


def _gelu(call: _Call) -> Matrix:
    x = call.tile_a
    return np.asarray(0.5 * x * (1 + np.tanh(_GELU_SCALE * (x + 0.044715 * x**3))))


def _silu_mul(call: _Call) -> Matrix:
    return np.asarray(call.tile_a / (1 + np.exp(-call.tile_a)) * call.tile_b)


def _rms_norm(call: _Call) -> Matrix:
    x = call.tile_a.reshape(int(call.step["m"]), -1, call.other.size)
    scale = np.sqrt((x**2).mean(axis=2, keepdims=True) + call.parameter)
    return np.asarray(x / scale * call.other.ravel()).reshape(call.tile_a.shape)


def _gelu_mul(call: _Call) -> Matrix:
    return _gelu(call) * call.tile_b


def _scale(call: _Call) -> Matrix:
    a = call.tile_a
    scales = call.other.repeat(int(call.parameter), axis=0)
    return np.asarray(a * scales[: len(a)])


def _multiply_add(call: _Call) -> Matrix:
    before = call.slots.get(int(call.operands[OUT]["slot"]), np.zeros(()))
    return np.asarray(before + call.tile_a * call.other)


def _expand(call: _Call) -> Matrix:
    assert call.a is not None
    n = int(call.step["n"])
    values, indices = call.a.reshape(-1, n), call.other.reshape(-1, n)
    return _expanded(call.step, values, indices)[: int(call.step["m"])]


def _top_k(call: _Call) -> Matrix:
    a, k = call.tile_a, int(call.parameter)
    columns = np.argsort(-a, axis=1, kind="stable")[:, :k]
    largest = np.take_along_axis(a, columns, axis=1)
    weights = np.exp(largest - largest[:, :1])
    return np.concatenate([weights / weights.sum(axis=1, keepdims=True), columns.astype(np.float64)], axis=1)


def _soft_cap(call: _Call) -> Matrix:
    return np.asarray(call.parameter * np.tanh(call.tile_a / call.parameter))


def _layer_norm(call: _Call) -> Matrix:
    x = call.tile_a
    scale = np.sqrt(x.var(axis=1, keepdims=True) + call.parameter)
    return np.asarray((x - x.mean(axis=1, keepdims=True)) / scale * call.other[0] + call.other[1])


def _rope(call: _Call) -> Matrix:
    table = call.other
    rows, half = len(table), table.shape[1] // 2
    heads = call.tile_a.reshape(rows, -1, 2 * half)
    cos, sin = table[:, None, :half], table[:, None, half:]
    low, high = heads[..., :half], heads[..., half:]
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1).reshape(rows, -1)


def _softmax(call: _Call) -> Matrix:
    scores = call.scores()
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _online_softmax(call: _Call) -> Matrix:
    scores, state = call.scores(), int(call.step["state"])
    before = _stats_before(call.b, len(scores))
    top = np.maximum(before[:, 0], scores.max(axis=1))
    finite = np.where(np.isfinite(top), top, 0)
    weights, rescale = np.exp(scores - finite[:, None]), np.exp(before[:, 0] - finite)
    sums = before[:, 1] * rescale + weights.sum(axis=1)
    call.slots[int(call.operands[B]["slot"])] = np.stack([top, sums], axis=1)
    if state in call.slots:
        call.slots[state] = call.slots[state] * rescale[:, None]
    return weights


def _scale_rows(call: _Call) -> Matrix:
    return np.asarray(call.tile_a * call.other.reshape(-1, 1))


def _moments(call: _Call) -> Matrix:
    x, before = call.tile_a, call.slots.get(int(call.operands[OUT]["slot"]))
    added = np.stack([np.full(len(x), x.shape[1]), x.sum(axis=1), (x**2).sum(axis=1)], axis=1)
    return added if before is None else before + added


def _rms_scale(call: _Call) -> Matrix:
    count, _, squares = call.slots[int(call.step["state"])].T[:, :, None]
    return np.asarray(call.tile_a / np.sqrt(squares / count + call.parameter) * call.other.reshape(1, -1))


def _layer_scale(call: _Call) -> Matrix:
    count, total, squares = call.slots[int(call.step["state"])].T[:, :, None]
    mean = total / count
    scale = np.sqrt(squares / count - mean**2 + call.parameter)
    return np.asarray((call.tile_a - mean) / scale * call.other[0] + call.other[1])


def _largest(call: _Call) -> Matrix:
    assert call.a is not None
    largest = np.abs(call.a.reshape(int(call.step["m"]), -1)).max(axis=1, keepdims=True)
    return np.where(largest == 0, 1.0, largest)


def _divide_rows(call: _Call) -> Matrix:
    return np.asarray(call.tile_a / call.other.reshape(-1, 1))


def _normalise(call: _Call) -> Matrix:
    return np.asarray(call.tile_a / call.other[:, 1:])


def _merge(call: _Call) -> Matrix:
    partial, state, target = call.tile_a, int(call.step["state"]), int(call.operands[OUT]["slot"])
    stats = call.other.reshape(len(partial), 2)
    before = _stats_before(call.slots.get(state), len(partial))
    top = np.maximum(before[:, 0], stats[:, 0])
    finite = np.where(np.isfinite(top), top, 0)
    old, new = np.exp(before[:, 0] - finite), np.exp(stats[:, 0] - finite)
    call.slots[state] = np.stack([top, before[:, 1] * old + stats[:, 1] * new], axis=1)
    return np.asarray(call.slots.get(target, np.zeros_like(partial)) * old[:, None] + partial * new[:, None])


def _stats_before(stats: Matrix | None, rows: int) -> Matrix:
    """Running (max, sum) columns; those of an empty slot are (minus infinity, 0)."""
    return np.tile((-np.inf, 0.0), (rows, 1)) if stats is None else stats


_FUNCTIONS: dict[Function, Callable[[_Call], Matrix]] = {
    Function.IDENTITY: lambda call: call.tile_a,
    Function.ADD: lambda call: call.tile_a if call.b is None else call.tile_a + call.tile_b,
    Function.GELU: _gelu,
    Function.SILU_MUL: _silu_mul,
    Function.RMS_NORM: _rms_norm,
    Function.LAYER_NORM: _layer_norm,
    Function.ROPE: _rope,
    Function.SOFTMAX: _softmax,
    Function.ONLINE_SOFTMAX: _online_softmax,
    Function.NORMALISE: _normalise,
    Function.MERGE: _merge,
    Function.ZERO: _zero,
    Function.SCALE_ROWS: _scale_rows,
    Function.LARGEST: _largest,
    Function.DIVIDE_ROWS: _divide_rows,
    Function.GELU_MUL: _gelu_mul,
    Function.SCALE: _scale,
    Function.MULTIPLY_ADD: _multiply_add,
    Function.EXPAND: _expand,
    Function.TOP_K: _top_k,
    Function.SOFT_CAP: _soft_cap,
    Function.MOMENTS: _moments,
    Function.RMS_SCALE: _rms_scale,
    Function.LAYER_SCALE: _layer_scale,
}
