"""What each kind of step computes on float64 matrices: the meaning that :mod:`kernels.replay.interpreter` gives a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.program.tile_program import TileProgram
from uarch.program.records import NONE, OUT, B, Function

Matrix = npt.NDArray[np.float64]
Slots = dict[int, Matrix]

_GELU_SCALE = float(np.sqrt(2 / np.pi))


def given(operand: Matrix | None, name: str) -> Matrix:
    """The values of an operand; ``ValueError`` if the step, which needs it, has none."""
    if operand is None:
        raise ValueError(f"a step needs operand {name} and has none")
    return operand


@dataclass(frozen=True)
class Call:
    """One execution of a vector step: its operands' values and the block's slots."""

    program: TileProgram
    step: Any
    operands: Any
    iteration: int
    a: Matrix | None
    b: Matrix | None
    slots: Slots

    @property
    def source(self) -> Matrix:
        """A as it was read."""
        return given(self.a, "A")

    @property
    def tile_a(self) -> Matrix:
        """A as ``m x n``."""
        return self.source.reshape(int(self.step["m"]), int(self.step["n"]))

    @property
    def tile_b(self) -> Matrix:
        """B as ``m x n``."""
        return self.other.reshape(int(self.step["m"]), int(self.step["n"]))

    @property
    def other(self) -> Matrix:
        """B as it was read."""
        return given(self.b, "B")

    @property
    def parameter(self) -> float:
        """The step's ``p``."""
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


def _dense_weights(step: Any, b: Matrix, slots: Slots) -> Matrix:
    """Matrix B of a matrix step with the zeros that N:M weights leave out."""
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


def multiply(step: Any, a: Matrix, b: Matrix, slots: Slots) -> Matrix:
    """A @ B of a matrix step, transposed as it says; ``slots`` hold the places of N:M weights."""
    b = _dense_weights(step, b, slots)
    m, n = int(step["m"]), int(step["n"])
    if step["group"] > 1:
        left = a.reshape(m, -1)
        return left @ b[: left.shape[1]]
    k = int(step["k"])
    left = a.reshape(k, m).T if step["transpose_a"] else a.reshape(m, k)
    right = b.reshape(n, k).T if step["transpose_b"] else b.reshape(k, n)
    return left @ right


def _zero(call: Call) -> Matrix:
    return np.zeros((int(call.step["m"]), int(call.step["n"])))


def _gelu(call: Call) -> Matrix:
    x = call.tile_a
    return np.asarray(0.5 * x * (1 + np.tanh(_GELU_SCALE * (x + 0.044715 * x**3))))


def _silu_mul(call: Call) -> Matrix:
    return np.asarray(call.tile_a / (1 + np.exp(-call.tile_a)) * call.tile_b)


def _rms_norm(call: Call) -> Matrix:
    x = call.tile_a.reshape(int(call.step["m"]), -1, call.other.size)
    scale = np.sqrt((x**2).mean(axis=2, keepdims=True) + call.parameter)
    return np.asarray(x / scale * call.other.ravel()).reshape(call.tile_a.shape)


def _gelu_mul(call: Call) -> Matrix:
    return _gelu(call) * call.tile_b


def _scale(call: Call) -> Matrix:
    a = call.tile_a
    scales = call.other.repeat(int(call.parameter), axis=0)
    return np.asarray(a * scales[: len(a)])


def _multiply_add(call: Call) -> Matrix:
    before = call.slots.get(int(call.operands[OUT]["slot"]), np.zeros(()))
    return np.asarray(before + call.tile_a * call.other)


def _expand(call: Call) -> Matrix:
    n = int(call.step["n"])
    values, indices = call.source.reshape(-1, n), call.other.reshape(-1, n)
    return _expanded(call.step, values, indices)[: int(call.step["m"])]


def _top_k(call: Call) -> Matrix:
    a, k = call.tile_a, int(call.parameter)
    columns = np.argsort(-a, axis=1, kind="stable")[:, :k]
    largest = np.take_along_axis(a, columns, axis=1)
    weights = np.exp(largest - largest[:, :1])
    return np.concatenate([weights / weights.sum(axis=1, keepdims=True), columns.astype(np.float64)], axis=1)


def _soft_cap(call: Call) -> Matrix:
    return np.asarray(call.parameter * np.tanh(call.tile_a / call.parameter))


def _layer_norm(call: Call) -> Matrix:
    x = call.tile_a
    scale = np.sqrt(x.var(axis=1, keepdims=True) + call.parameter)
    return np.asarray((x - x.mean(axis=1, keepdims=True)) / scale * call.other[0] + call.other[1])


def _rope(call: Call) -> Matrix:
    table = call.other
    rows, half = len(table), table.shape[1] // 2
    heads = call.tile_a.reshape(rows, -1, 2 * half)
    cos, sin = table[:, None, :half], table[:, None, half:]
    low, high = heads[..., :half], heads[..., half:]
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1).reshape(rows, -1)


def _softmax(call: Call) -> Matrix:
    scores = call.scores()
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _online_softmax(call: Call) -> Matrix:
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


def _scale_rows(call: Call) -> Matrix:
    return np.asarray(call.tile_a * call.other.reshape(-1, 1))


def _moments(call: Call) -> Matrix:
    x, before = call.tile_a, call.slots.get(int(call.operands[OUT]["slot"]))
    added = np.stack([np.full(len(x), x.shape[1]), x.sum(axis=1), (x**2).sum(axis=1)], axis=1)
    return added if before is None else before + added


def _rms_scale(call: Call) -> Matrix:
    count, _, squares = call.slots[int(call.step["state"])].T[:, :, None]
    return np.asarray(call.tile_a / np.sqrt(squares / count + call.parameter) * call.other.reshape(1, -1))


def _layer_scale(call: Call) -> Matrix:
    count, total, squares = call.slots[int(call.step["state"])].T[:, :, None]
    mean = total / count
    scale = np.sqrt(squares / count - mean**2 + call.parameter)
    return np.asarray((call.tile_a - mean) / scale * call.other[0] + call.other[1])


def _largest(call: Call) -> Matrix:
    largest = np.abs(call.source.reshape(int(call.step["m"]), -1)).max(axis=1, keepdims=True)
    return np.where(largest == 0, 1.0, largest)


def _divide_rows(call: Call) -> Matrix:
    return np.asarray(call.tile_a / call.other.reshape(-1, 1))


def _column_maximum(call: Call) -> Matrix:
    return np.asarray(call.source.reshape(-1, int(call.step["n"])).max(axis=0, keepdims=True))


def _probabilities(call: Call) -> Matrix:
    scores, stats = call.scores(), call.other.reshape(-1, 2)
    return np.asarray(np.exp(scores - stats[:, :1]) / stats[:, 1:])


def _overlap_sums(call: Call) -> Matrix:
    m, n, stride = int(call.step["m"]), int(call.step["n"]), int(call.parameter)
    sums = call.source.reshape(m, -1, call.source.shape[1]).sum(axis=1)
    overlaps = sums.shape[1] - stride * n + 1
    return np.asarray(sum(sums[:, x + y :: stride][:, :n] for x in range(stride) for y in range(overlaps)))


def _gate_rows(call: Call) -> Matrix:
    return np.asarray(call.tile_a / (1 + np.exp(-call.other.reshape(-1, 1))))


def _normalise(call: Call) -> Matrix:
    return np.asarray(call.tile_a / call.other[:, 1:])


def _merge(call: Call) -> Matrix:
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


FUNCTIONS: dict[Function, Callable[[Call], Matrix]] = {
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
    Function.POSITIVE: lambda call: np.maximum(call.tile_a, 0),
    Function.NEGATIVE: lambda call: np.minimum(call.tile_a, 0),
    Function.COLUMN_MAXIMUM: _column_maximum,
    Function.PROBABILITIES: _probabilities,
    Function.OVERLAP_SUMS: _overlap_sums,
    Function.GATE_ROWS: _gate_rows,
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
"""Function on matrices for each function of a vector step; see :class:`uarch.program.records.Function`."""
