"""Step times as the event loop reads them: plain tables, evaluated and integrated inside jitted code.

A step of ``D`` decodes with a mean context of ``c`` tokens, and prefills of ``P`` new tokens that together see ``pairs``
(query, key) pairs, in ``Q`` sequences in all, takes

    dense[D + P] + Q * per_sequence + decode[D](c) + prefill(P, pairs / P)

seconds, and as many joules by tables of their own; a step with both is multiplied by ``mixed_factor``. ``dense`` and
``decode`` have an entry for each whole number of rows, so that the staircase of tiles and captured graphs is kept; between
contexts all is linear, so that it is linear in the sum of contexts, and so is ``prefill`` in ``pairs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

from uarch.arrays import FloatArray, IntArray
from uarch.jit import constant, inline, sub_kernel

SECONDS = constant(0)
JOULES = constant(1)
"""Last index of all tables."""


class StepTable(NamedTuple):
    """Step times of one kind of machine; the last axis of each table is (seconds, joules)."""

    dense: FloatArray
    """``(T + 1, 2)``: work that depends on the number of new tokens alone, by that number."""
    decode: FloatArray
    """``(N + 1, C, 2)``: what decodes take beyond that, by number of sequences and knot of ``contexts``."""
    contexts: FloatArray
    """``(C,)``: mean contexts, rising."""
    prefill: FloatArray
    """``(P, X, 2)``: what prefills take beyond that, by knots of ``tokens`` and ``keys``."""
    tokens: FloatArray
    """``(P,)``: new tokens, rising."""
    keys: FloatArray
    """``(X,)``: keys that a new token sees on average, rising."""
    per_sequence: FloatArray
    """``(2,)``: of each sequence, such as its row of the LM head."""
    mixed_factor: float = 1.0
    """Factor on steps that have both prefills and decodes."""


class StepGrid(NamedTuple):
    """Tables of several kinds of machines: :class:`StepTable` with one more axis in front, knots padded with infinity."""

    dense: FloatArray
    decode: FloatArray
    contexts: FloatArray
    prefill: FloatArray
    tokens: FloatArray
    keys: FloatArray
    per_sequence: FloatArray
    mixed_factor: FloatArray
    n_knots: IntArray
    """``(G, 3)``: number of contexts, tokens and keys."""


def stack_tables(tables: Sequence[StepTable]) -> StepGrid:
    """Return the tables as one record; shorter ones are padded."""
    knots = [(len(table.contexts), len(table.tokens), len(table.keys)) for table in tables]
    return StepGrid(
        _padded([table.dense for table in tables], np.nan),
        _padded([table.decode for table in tables], np.nan),
        _padded([table.contexts for table in tables], np.inf),
        _padded([table.prefill for table in tables], np.nan),
        _padded([table.tokens for table in tables], np.inf),
        _padded([table.keys for table in tables], np.inf),
        _padded([table.per_sequence for table in tables], np.nan),
        np.array([table.mixed_factor for table in tables], np.float64),
        np.array(knots, np.int64),
    )


def _padded(arrays: list[FloatArray], value: float) -> FloatArray:
    shape = np.max([array.shape for array in arrays], axis=0)
    stacked = np.full((len(arrays), *shape), value)
    for number, array in enumerate(arrays):
        inside = tuple(slice(0, size) for size in array.shape)
        stacked[number][inside] = array
    return stacked


@inline
def cell_of(knots: FloatArray, count: int, x: float) -> int:
    """Index of the knot at or below ``x``, at most the last but one: beyond the ends the outer cells are extended."""
    low, high = 0, count - 1
    while high - low > 1:
        middle = (low + high) // 2
        if knots[middle] <= x:
            low = middle
        else:
            high = middle
    return low


@inline
def share_of(knots: FloatArray, count: int, cell: int, x: float) -> float:
    """Where ``x`` lies in a cell: 0 at its lower knot, 1 at its upper one; 0 if there is one knot only."""
    if count < 2:
        return 0.0
    return (x - knots[cell]) / (knots[cell + 1] - knots[cell])


@inline
def decode_value(grid: StepGrid, table: int, decodes: int, context: float, what: int) -> float:
    """Seconds or joules of a step of decodes alone at a mean context."""
    knots, count = grid.contexts[table], grid.n_knots[table, 0]
    cell = cell_of(knots, count, context)
    share = share_of(knots, count, cell, context)
    values = grid.decode[table, decodes]
    fixed = grid.dense[table, decodes, what] + decodes * grid.per_sequence[table, what]
    upper = min(cell + 1, count - 1)
    return fixed + (1 - share) * values[cell, what] + share * values[upper, what]


@inline
def prefill_value(grid: StepGrid, table: int, tokens: int, keys: float, what: int) -> float:
    """What prefills of so many new tokens take beyond the dense work, each token seeing ``keys`` keys on average."""
    if tokens == 0:
        return 0.0
    n_tokens, n_keys = grid.n_knots[table, 1], grid.n_knots[table, 2]
    row, column = cell_of(grid.tokens[table], n_tokens, tokens), cell_of(grid.keys[table], n_keys, keys)
    down, right = share_of(grid.tokens[table], n_tokens, row, tokens), share_of(grid.keys[table], n_keys, column, keys)
    values = grid.prefill[table]
    below, beside = min(row + 1, n_tokens - 1), min(column + 1, n_keys - 1)
    upper = (1 - right) * values[row, column, what] + right * values[row, beside, what]
    lower = (1 - right) * values[below, column, what] + right * values[below, beside, what]
    return (1 - down) * upper + down * lower


@inline
def step_value(
    grid: StepGrid, table: int, sequences: int, decodes: int, contexts: float, tokens: int, pairs: float, what: int
) -> float:
    """Seconds or joules of a step: ``contexts`` is the sum over its decodes, ``tokens`` and ``pairs`` those of its prefills."""
    if tokens == 0:
        return decode_value(grid, table, decodes, contexts / decodes, what)
    prefills = prefill_value(grid, table, tokens, pairs / tokens, what)
    fixed = grid.dense[table, tokens + decodes, what] + sequences * grid.per_sequence[table, what]
    if decodes == 0:
        return fixed + prefills
    alone = decode_value(grid, table, decodes, contexts / decodes, what)
    attention = alone - grid.dense[table, decodes, what] - decodes * grid.per_sequence[table, what]
    return (fixed + prefills + attention) * grid.mixed_factor[table]


@inline
def steps_in_cell(knots: FloatArray, count: int, cell: int, context: float, most: int) -> int:
    """How many steps, of at most ``most``, start in a cell when the context grows by 1 a step; at least 1."""
    if cell + 2 >= count:
        return most
    return max(1, min(most, int(knots[cell + 1] - context) + 1))


@inline
def slope_in(grid: StepGrid, table: int, decodes: int, cell: int, what: int) -> float:
    """Increase of a decode step by one token of mean context, in a cell."""
    if grid.n_knots[table, 0] < 2:
        return 0.0
    knots, values = grid.contexts[table], grid.decode[table, decodes]
    return (values[cell + 1, what] - values[cell, what]) / (knots[cell + 1] - knots[cell])


@sub_kernel
def run_value(grid: StepGrid, table: int, decodes: int, context: float, steps: int, added: float, what: int) -> float:
    """Sum over ``steps`` decode steps whose mean context grows by 1 each, from ``context``; each takes ``added`` more.

    Within a cell of contexts the steps are an arithmetic series, whose sum is exact.
    """
    knots, count = grid.contexts[table], grid.n_knots[table, 0]
    total, done, at = 0.0, 0, context
    while done < steps:
        cell = cell_of(knots, count, at)
        some = steps_in_cell(knots, count, cell, at, steps - done)
        first = decode_value(grid, table, decodes, at, what) + added
        total += some * first + slope_in(grid, table, decodes, cell, what) * (0.5 * some * (some - 1))
        done += some
        at = context + done
    return total


@sub_kernel
def steps_until(grid: StepGrid, table: int, decodes: int, context: float, added: float, elapsed: float) -> int:
    """Number of steps of a run, at least 1, after which ``elapsed`` seconds have passed."""
    knots, count = grid.contexts[table], grid.n_knots[table, 0]
    done, at, left = 0, context, elapsed
    while True:
        cell = cell_of(knots, count, at)
        first = decode_value(grid, table, decodes, at, SECONDS) + added
        slope = slope_in(grid, table, decodes, cell, SECONDS)
        most = steps_in_cell(knots, count, cell, at, 1 << 40)
        some = min(most, _steps_of_series(first, slope, left))
        spent = some * first + slope * (0.5 * some * (some - 1))
        done += some
        if spent >= left:
            return done
        left -= spent
        at = context + done


@inline
def _steps_of_series(first: float, slope: float, seconds: float) -> int:
    """Smallest number of terms, at least 1, of ``first + slope i`` whose sum reaches ``seconds``."""
    half = 0.5 * slope
    linear = first - half
    root = seconds / first
    if slope != 0.0:
        discriminant = linear * linear + 4 * half * seconds
        root = 2 * seconds / (linear + sqrt(discriminant)) if discriminant > 0 else root
    some = max(1, int(root))
    while some > 1 and (some - 1) * first + half * (some - 1) * (some - 2) >= seconds:
        some -= 1
    while some * first + half * some * (some - 1) < seconds and some < (1 << 40):
        some += 1
    return some
