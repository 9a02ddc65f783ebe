"""The output-stationary grid: A moves right, B moves down, sums stay in the PEs until they are complete."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.oracles.pe_registers import (
    CYCLES,
    EMPTY,
    FIXED_READS,
    STREAM_READS,
    HazardError,
    Integers,
    Operand,
    dot,
    fetch,
    shift_issue,
    through_pipeline,
    write,
)
from uarch.jit import kernel
from uarch.systolic.cycles import Drain, Feed, Overlap, SystolicArray

OVERLAPS = int(Overlap.FULL)
BROADCASTS = int(Feed.BROADCAST)
SHIFTS = int(Drain.SHIFT)


class _OutputStationary(NamedTuple):
    """Registers, int64 and (R, C) unless said otherwise; tokens and folds are -1 where a register is empty."""

    row_issue: Integers  # (R,) tokens at the left edge
    col_issue: Integers  # (C,) tokens at the top edge
    a: Integers  # (R, C, lanes), moving right
    b: Integers  # (R, C, lanes), moving down
    a_token: Integers
    b_token: Integers
    products: Integers  # (R, C, mac_stages - 1)
    product_token: Integers  # (R, C, mac_stages - 1)
    sums: Integers
    results: Integers  # chain in which results move down
    result_fold: Integers
    result_row: Integers  # the row where the result was made
    result_moves: Integers


def run_output_stationary(array: SystolicArray, a: Operand, b: Operand, counts: Integers, head_start: int) -> Integers:
    grid = (array.rows, array.cols)
    lanes = a.values.shape[2]
    deep = (*grid, array.mac_stages - 1)
    state = _OutputStationary(
        row_issue=np.full(array.rows, EMPTY),
        col_issue=np.full(array.cols, EMPTY),
        a=np.zeros((*grid, lanes), np.int64),
        b=np.zeros((*grid, lanes), np.int64),
        a_token=np.full(grid, EMPTY),
        b_token=np.full(grid, EMPTY),
        products=np.zeros(deep, np.int64),
        product_token=np.full(deep, EMPTY),
        sums=np.zeros(grid, np.int64),
        results=np.zeros(grid, np.int64),
        result_fold=np.full(grid, EMPTY),
        result_row=np.full(grid, EMPTY),
        result_moves=np.zeros(grid, np.int64),
    )
    product = np.zeros((a.values.shape[0], b.values.shape[1]), np.int64)
    seen = (np.full(a.values.size, EMPTY), np.full(b.values.size, EMPTY))
    _os_clock(array, a, b, state, seen, product, counts, head_start)
    return product


@kernel
def _os_clock(
    array: SystolicArray,
    a: Operand,
    b: Operand,
    state: _OutputStationary,
    seen: tuple[Integers, Integers],
    product: Integers,
    counts: Integers,
    head_start: int,
) -> None:
    """The controller: issues one token per cycle at the corner until the last result has left."""
    stream = a.values.shape[1]
    row_folds = -(-product.shape[0] // array.rows)
    folds = row_folds * -(-product.shape[1] // array.cols)
    results_per_fold = array.rows * array.cols
    left, next_token, last_start, cycle = 0, 0, -array.rows, 0
    while left < folds * results_per_fold:
        token = EMPTY
        if next_token < folds * stream:
            starts_fold = next_token % stream == 0
            chain_is_free = array.drain != SHIFTS or cycle - last_start >= array.rows - head_start
            grid_is_empty = left == next_token // stream * results_per_fold
            if not starts_fold or (chain_is_free if array.overlap == OVERLAPS else grid_is_empty):
                token = next_token
                next_token += 1
                if starts_fold:
                    last_start = cycle
        left += _os_cycle(array, a, b, state, seen, product, counts, token, row_folds)
        cycle += 1
    counts[CYCLES] = cycle


@kernel
def _os_cycle(
    array: SystolicArray,
    a: Operand,
    b: Operand,
    state: _OutputStationary,
    seen: tuple[Integers, Integers],
    product: Integers,
    counts: Integers,
    token: int,
    row_folds: int,
) -> int:
    """One clock edge; returns how many results left the array."""
    stream = a.values.shape[1]
    _os_latch(array, a, b, state, seen, counts, token, row_folds)
    left = _os_shift_results(state, product, counts, row_folds)
    for i in range(array.rows):
        for j in range(array.cols):
            if state.a_token[i, j] != state.b_token[i, j]:
                raise HazardError
            fresh = dot(state.a, state.b, i, j)
            value, done = through_pipeline(state.products, state.product_token, i, j, fresh, state.a_token[i, j])
            if done == EMPTY:
                continue
            state.sums[i, j] = value if done % stream == 0 else state.sums[i, j] + value
            if done % stream < stream - 1:
                continue
            if array.drain == SHIFTS:
                _os_capture(state, i, j, done // stream)
            else:
                row = done // stream % row_folds * array.rows + i
                write(product, counts, row, done // stream // row_folds * array.cols + j, state.sums[i, j])
                left += 1
    _os_release_columns(state)
    return left


@kernel
def _os_latch(
    array: SystolicArray,
    a: Operand,
    b: Operand,
    state: _OutputStationary,
    seen: tuple[Integers, Integers],
    counts: Integers,
    token: int,
    row_folds: int,
) -> None:
    """Operands move one PE on; far ends first, so that each register takes its neighbour's old value."""
    broadcast = array.feed == BROADCASTS
    stream = a.values.shape[1]
    shift_issue(state.row_issue, token, broadcast)
    shift_issue(state.col_issue, token, broadcast)
    for i in range(array.rows - 1, -1, -1):
        for j in range(array.cols - 1, -1, -1):
            if j > 0 and not broadcast:
                state.a[i, j] = state.a[i, j - 1]
                state.a_token[i, j] = state.a_token[i, j - 1]
            else:
                issued = state.row_issue[i]
                state.a_token[i, j] = issued
                row = issued // stream % row_folds * array.rows + i if issued != EMPTY else EMPTY
                counts[STREAM_READS] += fetch(a, row, issued % stream, issued // stream, seen[0], state.a, i, j)
            if i > 0 and not broadcast:
                state.b[i, j] = state.b[i - 1, j]
                state.b_token[i, j] = state.b_token[i - 1, j]
            else:
                issued = state.col_issue[j]
                state.b_token[i, j] = issued
                col = issued // stream // row_folds * array.cols + j if issued != EMPTY else EMPTY
                counts[FIXED_READS] += fetch(b, issued % stream, col, issued // stream, seen[1], state.b, i, j)


@kernel
def _os_capture(state: _OutputStationary, i: int, j: int, fold: int) -> None:
    if state.result_fold[i, j] != EMPTY:
        raise HazardError
    state.results[i, j] = state.sums[i, j]
    state.result_fold[i, j] = fold
    state.result_row[i, j] = i
    state.result_moves[i, j] = 0


@kernel
def _os_release_columns(state: _OutputStationary) -> None:
    """A column's results start to move when its bottom PE has delivered its own."""
    rows, cols = state.results.shape
    for j in range(cols):
        fold = state.result_fold[rows - 1, j]
        if fold != EMPTY and state.result_row[rows - 1, j] == rows - 1:
            for i in range(rows):
                if state.result_fold[i, j] == fold:
                    state.result_moves[i, j] = 1


@kernel
def _os_shift_results(state: _OutputStationary, product: Integers, counts: Integers, row_folds: int) -> int:
    rows, cols = state.results.shape
    left = 0
    for i in range(rows - 1, -1, -1):
        for j in range(cols):
            if state.result_fold[i, j] == EMPTY or not state.result_moves[i, j]:
                continue
            fold, row = state.result_fold[i, j], state.result_row[i, j]
            if i == rows - 1:
                write(product, counts, fold % row_folds * rows + row, fold // row_folds * cols + j, state.results[i, j])
                left += 1
            else:
                if state.result_fold[i + 1, j] != EMPTY:
                    raise HazardError
                state.results[i + 1, j] = state.results[i, j]
                state.result_fold[i + 1, j] = fold
                state.result_row[i + 1, j] = row
                state.result_moves[i + 1, j] = 1
            state.result_fold[i, j] = EMPTY
    return left
