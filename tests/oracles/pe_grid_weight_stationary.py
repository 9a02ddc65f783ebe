"""The weight-stationary grid: weights wait in the PEs, activations move right, partial sums move down."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.oracles.pe_registers import (
    CYCLES,
    EMPTY,
    FIXED_READS,
    PARTIAL_READS,
    PARTIAL_WRITES,
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
from uarch.systolic.cycles import Feed, Overlap, SystolicArray

OVERLAPS = int(Overlap.FULL)
BROADCASTS = int(Feed.BROADCAST)


class _WeightStationary(NamedTuple):
    """Registers, int64 and (R, C) unless said otherwise; tokens and folds are -1 where a register is empty."""

    row_issue: Integers  # (R,) tokens of the stream at the left edge
    col_issue: Integers  # (C,) tokens of weight loads at the top edge
    x: Integers  # (R, C, lanes), moving right
    x_token: Integers
    weights: Integers  # (R, C, lanes), in use
    weight_fold: Integers
    shadow: Integers  # (R, C, lanes), moving down until it is in its row
    shadow_fold: Integers
    shadow_row: Integers  # where the weight belongs
    products: Integers  # (R, C, mac_stages - 1)
    product_token: Integers  # (R, C, mac_stages - 1)
    sums: Integers  # partial sums, moving down
    sum_token: Integers
    accumulators: Integers  # (accumulator rows, C), below the array
    spilled: Integers  # (T, C), in L1


def run_weight_stationary(array: SystolicArray, x: Operand, w: Operand, counts: Integers, head_start: int) -> Integers:
    """``x`` (T, k, lanes) streams, ``w`` (k, columns, lanes) stays: returns their product (T, columns)."""
    grid = (array.rows, array.cols)
    lanes = x.values.shape[2]
    deep = (*grid, array.mac_stages - 1)
    stream = x.values.shape[0]
    state = _WeightStationary(
        row_issue=np.full(array.rows, EMPTY),
        col_issue=np.full(array.cols, EMPTY),
        x=np.zeros((*grid, lanes), np.int64),
        x_token=np.full(grid, EMPTY),
        weights=np.zeros((*grid, lanes), np.int64),
        weight_fold=np.full(grid, EMPTY),
        shadow=np.zeros((*grid, lanes), np.int64),
        shadow_fold=np.full(grid, EMPTY),
        shadow_row=np.full(grid, EMPTY),
        products=np.zeros(deep, np.int64),
        product_token=np.full(deep, EMPTY),
        sums=np.zeros(grid, np.int64),
        sum_token=np.full(grid, EMPTY),
        accumulators=np.zeros((min(stream, array.accumulator_rows), array.cols), np.int64),
        spilled=np.zeros((stream, array.cols), np.int64),
    )
    product = np.zeros((stream, w.values.shape[1]), np.int64)
    seen = (np.full(x.values.size, EMPTY), np.full(w.values.size, EMPTY))
    _ws_clock(array, x, w, state, seen, product, counts, head_start)
    return product


@kernel
def _ws_clock(
    array: SystolicArray,
    x: Operand,
    w: Operand,
    state: _WeightStationary,
    seen: tuple[Integers, Integers],
    product: Integers,
    counts: Integers,
    head_start: int,
) -> None:
    """The controller: per cycle one token of the stream and one of the weight load, until the last sum has left.

    Load tokens count ``fold * rows + q``. A fold streams when all its loads are issued; the next load follows at once
    behind the first operand, which makes the shadow registers free (or waits until the grid is empty).
    """
    stream = x.values.shape[0]
    row_folds = -(-x.values.shape[1] // array.rows)
    folds = row_folds * -(-product.shape[1] // array.cols)
    left, next_token, next_load, cycle = 0, 0, 0, 0
    while left < folds * stream * array.cols:
        token, load = EMPTY, EMPTY
        if next_token < folds * stream:
            loaded = next_load >= (next_token // stream + 1) * array.rows - head_start
            if next_token % stream > 0 or loaded:
                token = next_token
                next_token += 1
        if next_load < folds * array.rows:
            fold = next_load // array.rows
            shadow_is_free = next_token > (fold - 1) * stream
            grid_is_empty = left == fold * stream * array.cols
            if next_load % array.rows > 0 or (shadow_is_free if array.overlap == OVERLAPS else grid_is_empty):
                load = next_load
                next_load += 1
        _ws_latch(array, x, state, seen[0], counts, token, row_folds)
        _ws_shift_weights(array, w, state, seen[1], counts, load, row_folds)
        left += _ws_multiply(array, state, product, counts, stream, row_folds)
        cycle += 1
    counts[CYCLES] = cycle


@kernel
def _ws_latch(
    array: SystolicArray,
    x: Operand,
    state: _WeightStationary,
    seen: Integers,
    counts: Integers,
    token: int,
    row_folds: int,
) -> None:
    """The stream moves right; the first operand of a fold puts the shadow weight to work."""
    stream = x.values.shape[0]
    shift_issue(state.row_issue, token, False)
    for i in range(array.rows):
        for j in range(array.cols - 1, -1, -1):
            if j > 0 and array.feed != BROADCASTS:
                state.x[i, j] = state.x[i, j - 1]
                state.x_token[i, j] = state.x_token[i, j - 1]
            else:
                issued = state.row_issue[i]
                state.x_token[i, j] = issued
                k = issued // stream % row_folds * array.rows + i if issued != EMPTY else EMPTY
                counts[STREAM_READS] += fetch(x, issued % stream, k, issued // stream, seen, state.x, i, j)
            arrived = state.x_token[i, j]
            if arrived != EMPTY and arrived % stream == 0:
                if state.shadow_row[i, j] != i or state.shadow_fold[i, j] != arrived // stream:
                    raise HazardError
                state.weights[i, j] = state.shadow[i, j]
                state.weight_fold[i, j] = state.shadow_fold[i, j]
                state.shadow_row[i, j] = EMPTY


@kernel
def _ws_shift_weights(
    array: SystolicArray,
    w: Operand,
    state: _WeightStationary,
    seen: Integers,
    counts: Integers,
    load: int,
    row_folds: int,
) -> None:
    """Shadow weights move down to their row, the bottom row's first; columns start with the stream's skew."""
    rows, cols = array.rows, array.cols
    shift_issue(state.col_issue, load, array.feed == BROADCASTS)
    for j in range(cols):
        for i in range(rows - 1, -1, -1):
            if i > 0:
                if state.shadow_row[i - 1, j] < i:
                    continue
                if state.shadow_row[i, j] != EMPTY:
                    raise HazardError
                state.shadow[i, j] = state.shadow[i - 1, j]
                state.shadow_fold[i, j] = state.shadow_fold[i - 1, j]
                state.shadow_row[i, j] = state.shadow_row[i - 1, j]
                state.shadow_row[i - 1, j] = EMPTY
            elif state.col_issue[j] != EMPTY:
                if state.shadow_row[0, j] != EMPTY:
                    raise HazardError
                fold, row = state.col_issue[j] // rows, rows - 1 - state.col_issue[j] % rows
                state.shadow_fold[0, j] = fold
                state.shadow_row[0, j] = row
                k, col = fold % row_folds * rows + row, fold // row_folds * cols + j
                counts[FIXED_READS] += fetch(w, k, col, fold, seen, state.shadow, 0, j)


@kernel
def _ws_multiply(
    array: SystolicArray,
    state: _WeightStationary,
    product: Integers,
    counts: Integers,
    stream: int,
    row_folds: int,
) -> int:
    """Each PE adds its product to the sum from above; returns how many sums left at the bottom."""
    left = 0
    for i in range(array.rows - 1, -1, -1):
        for j in range(array.cols):
            token = state.x_token[i, j]
            if token != EMPTY and state.weight_fold[i, j] != token // stream:
                raise HazardError
            fresh = dot(state.x, state.weights, i, j)
            value, done = through_pipeline(state.products, state.product_token, i, j, fresh, token)
            above, above_token = (state.sums[i - 1, j], state.sum_token[i - 1, j]) if i > 0 else (0, done)
            if done != above_token:
                raise HazardError
            state.sums[i, j] = above + value
            state.sum_token[i, j] = done
            if i == array.rows - 1 and done != EMPTY:
                _ws_accumulate(state, product, counts, j, done // stream, done % stream, row_folds)
                left += 1
    return left


@kernel
def _ws_accumulate(
    state: _WeightStationary,
    product: Integers,
    counts: Integers,
    j: int,
    fold: int,
    position: int,
    row_folds: int,
) -> None:
    """Below column j: add to the sum of earlier k folds, which waits in an accumulator or else in L1."""
    k_fold = fold % row_folds
    col = fold // row_folds * state.sums.shape[1] + j
    if col >= product.shape[1]:
        return
    fits = position < state.accumulators.shape[0]
    total = state.sums[state.sums.shape[0] - 1, j]
    if k_fold > 0:
        total += state.accumulators[position, j] if fits else state.spilled[position, j]
        counts[PARTIAL_READS] += not fits
    if k_fold == row_folds - 1:
        write(product, counts, position, col, total)
    elif fits:
        state.accumulators[position, j] = total
    else:
        state.spilled[position, j] = total
        counts[PARTIAL_WRITES] += 1
