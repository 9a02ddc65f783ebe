"""A register-transfer simulation of the PE grid: numbers move one register per cycle, there are no closed forms.

Read it as a description of the hardware. Two machines are enough: in :func:`_run_output_stationary` both operands move
and sums stay; in :func:`_run_weight_stationary` one operand waits in the PEs, the other moves right and sums move down.
The input-stationary array is the second machine on the transposed problem, ``C^T = B^T @ A^T``.

Every operand travels with a *token*, ``fold * stream + position``, so that the simulation can check that the two
operands which meet in a PE belong together, and that no register is overwritten while its value is still needed. A
controller that issues work too early does not get a wrong count: it gets a :class:`HazardError`.

A PE works on vectors of ``lanes`` elements per step: one lane for plain dense work, several for packed narrow types,
and for N:M sparsity the whole group of M activations, of which a weight's index selects one.

The functions are compiled for speed, and run just the same as plain Python with ``NUMBA_DISABLE_JIT=1``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.jit import kernel
from uarch.systolic import Dataflow, Drain, Feed, Overlap, SystolicArray

Integers = npt.NDArray[np.int64]

EMPTY = -1
OVERLAPS = int(Overlap.FULL)
BROADCASTS = int(Feed.BROADCAST)
SHIFTS = int(Drain.SHIFT)


class HazardError(AssertionError):
    """A register was overwritten while in use, or operands met that do not belong together."""


class Operand(NamedTuple):
    """A matrix in L1: int64 ``(rows, cols, lanes)`` of values, and of addresses (-1: padding, never read)."""

    values: Integers
    addresses: Integers


class GridRun(NamedTuple):
    """What the hardware did: the product and the counts."""

    product: Integers
    cycles: int
    a_reads: int
    b_reads: int
    partial_reads: int
    partial_writes: int
    output_writes: int


def dense_operands(a: Integers, b: Integers, k_per_step: int = 1) -> tuple[Operand, Operand]:
    """``a`` (m, k) and ``b`` (k, n) with ``k_per_step`` consecutive k in one step, zero-padded."""
    padding = -a.shape[1] % k_per_step
    steps = (a.shape[1] + padding) // k_per_step

    def split(matrix: Integers) -> Operand:
        addresses = np.arange(matrix.size).reshape(matrix.shape)
        shape = (matrix.shape[0], steps, k_per_step)
        values = np.pad(matrix, ((0, 0), (0, padding))).reshape(shape)
        return Operand(values, np.pad(addresses, ((0, 0), (0, padding)), constant_values=EMPTY).reshape(shape))

    transposed = split(np.ascontiguousarray(b.T))
    return split(a), Operand(*(np.ascontiguousarray(array.transpose(1, 0, 2)) for array in transposed))


def sparse_operands(a: Integers, b: Integers, kept: int, group: int) -> tuple[Operand, Operand]:
    """Operands for weights ``b`` with at most ``kept`` non-zeros in each ``group`` of k, column by column.

    Step ``(g, s)`` brings all activations of group g and the s-th kept weight of that group, in the lane of its index.
    """
    m, k = a.shape
    n = b.shape[1]
    slots = [(first, slot) for first in range(0, k, group) for slot in range(min(kept, k - first))]
    a_side = Operand(*(np.full((m, len(slots), group), fill, np.int64) for fill in (0, EMPTY)))
    b_side = Operand(*(np.full((len(slots), n, group), fill, np.int64) for fill in (0, EMPTY)))
    for step, (first, slot) in enumerate(slots):
        size = min(group, k - first)
        a_side.values[:, step, :size] = a[:, first : first + size]
        a_side.addresses[:, step, :size] = np.arange(m)[:, None] * k + np.arange(first, first + size)
        for column in range(n):
            weights = b[first : first + size, column]
            lane = np.argsort(weights == 0, kind="stable")[slot]  # non-zeros first, in order
            b_side.values[step, column, lane] = weights[lane]
            b_side.addresses[step, column, lane] = (first + lane) * n + column
    return a_side, b_side


def run_grid(array: SystolicArray, a: Operand, b: Operand, head_start: int = 0) -> GridRun:
    """Multiply on ``array``; each step takes one cycle here, whatever ``cycles_per_step`` says.

    Args:
        array: size, dataflow and options.
        a: operand of (m, k / lanes) steps.
        b: operand of (k / lanes, n) steps.
        head_start: cycles by which the controller starts a fold before the hardware is ready for it.

    Raises:
        HazardError: the schedule does not work on this hardware.
    """
    counts = np.zeros(6, np.int64)
    if array.dataflow == Dataflow.OS:
        product = _run_output_stationary(array, a, b, counts, head_start)
    elif array.dataflow == Dataflow.WS:
        product = _run_weight_stationary(array, a, b, counts, head_start)
    else:
        turned = [Operand(*(np.ascontiguousarray(part.transpose(1, 0, 2)) for part in side)) for side in (b, a)]
        product = _run_weight_stationary(array, turned[0], turned[1], counts, head_start).T
        counts[[1, 2]] = counts[[2, 1]]
    return GridRun(product, *(int(count) for count in counts))


CYCLES, STREAM_READS, FIXED_READS, PARTIAL_READS, PARTIAL_WRITES, OUTPUT_WRITES = range(6)


@kernel
def _fetch(
    operand: Operand, row: int, col: int, fold: int, last_fold: Integers, registers: Integers, i: int, j: int
) -> int:
    """L1 to the edge register of PE (i, j); returns the elements read. A fold reads an element once."""
    reads = 0
    for lane in range(registers.shape[2]):
        registers[i, j, lane] = 0
        if 0 <= row < operand.values.shape[0] and 0 <= col < operand.values.shape[1]:
            registers[i, j, lane] = operand.values[row, col, lane]
            address = operand.addresses[row, col, lane]
            if address != EMPTY and last_fold[address] != fold:
                last_fold[address] = fold
                reads += 1
    return reads


@kernel
def _shift_issue(issue: Integers, token: int, broadcast: bool) -> None:
    """Edge sequencers: each starts one cycle after its neighbour, or all together."""
    for i in range(issue.size - 1, 0, -1):
        issue[i] = token if broadcast else issue[i - 1]
    issue[0] = token


@kernel
def _dot(x: Integers, y: Integers, i: int, j: int) -> int:
    """What PE (i, j) multiplies and adds over its lanes in one step."""
    total = 0
    for lane in range(x.shape[2]):
        total += x[i, j, lane] * y[i, j, lane]
    return total


@kernel
def _through_pipeline(
    products: Integers, tokens: Integers, i: int, j: int, product: int, token: int
) -> tuple[int, int]:
    """Multiplier pipeline of PE (i, j), ``mac_stages - 1`` deep: what reaches the adder in this cycle."""
    for stage in range(products.shape[2]):
        products[i, j, stage], product = product, products[i, j, stage]
        tokens[i, j, stage], token = token, tokens[i, j, stage]
    return product, token


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


def _run_output_stationary(array: SystolicArray, a: Operand, b: Operand, counts: Integers, head_start: int) -> Integers:
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
            fresh = _dot(state.a, state.b, i, j)
            value, done = _through_pipeline(state.products, state.product_token, i, j, fresh, state.a_token[i, j])
            if done == EMPTY:
                continue
            state.sums[i, j] = value if done % stream == 0 else state.sums[i, j] + value
            if done % stream < stream - 1:
                continue
            if array.drain == SHIFTS:
                _os_capture(state, i, j, done // stream)
            else:
                row = done // stream % row_folds * array.rows + i
                _write(product, counts, row, done // stream // row_folds * array.cols + j, state.sums[i, j])
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
    _shift_issue(state.row_issue, token, broadcast)
    _shift_issue(state.col_issue, token, broadcast)
    for i in range(array.rows - 1, -1, -1):
        for j in range(array.cols - 1, -1, -1):
            if j > 0 and not broadcast:
                state.a[i, j] = state.a[i, j - 1]
                state.a_token[i, j] = state.a_token[i, j - 1]
            else:
                issued = state.row_issue[i]
                state.a_token[i, j] = issued
                row = issued // stream % row_folds * array.rows + i if issued != EMPTY else EMPTY
                counts[STREAM_READS] += _fetch(a, row, issued % stream, issued // stream, seen[0], state.a, i, j)
            if i > 0 and not broadcast:
                state.b[i, j] = state.b[i - 1, j]
                state.b_token[i, j] = state.b_token[i - 1, j]
            else:
                issued = state.col_issue[j]
                state.b_token[i, j] = issued
                col = issued // stream // row_folds * array.cols + j if issued != EMPTY else EMPTY
                counts[FIXED_READS] += _fetch(b, issued % stream, col, issued // stream, seen[1], state.b, i, j)


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
                _write(
                    product, counts, fold % row_folds * rows + row, fold // row_folds * cols + j, state.results[i, j]
                )
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


@kernel
def _write(product: Integers, counts: Integers, row: int, col: int, value: int) -> None:
    """A finished output goes to L1; PEs beyond the matrix have none."""
    if row < product.shape[0] and col < product.shape[1]:
        product[row, col] = value
        counts[OUTPUT_WRITES] += 1


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


def _run_weight_stationary(array: SystolicArray, x: Operand, w: Operand, counts: Integers, head_start: int) -> Integers:
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
    _shift_issue(state.row_issue, token, False)
    for i in range(array.rows):
        for j in range(array.cols - 1, -1, -1):
            if j > 0 and array.feed != BROADCASTS:
                state.x[i, j] = state.x[i, j - 1]
                state.x_token[i, j] = state.x_token[i, j - 1]
            else:
                issued = state.row_issue[i]
                state.x_token[i, j] = issued
                k = issued // stream % row_folds * array.rows + i if issued != EMPTY else EMPTY
                counts[STREAM_READS] += _fetch(x, issued % stream, k, issued // stream, seen, state.x, i, j)
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
    _shift_issue(state.col_issue, load, array.feed == BROADCASTS)
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
                counts[FIXED_READS] += _fetch(w, k, col, fold, seen, state.shadow, 0, j)


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
            fresh = _dot(state.x, state.weights, i, j)
            value, done = _through_pipeline(state.products, state.product_token, i, j, fresh, token)
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
        _write(product, counts, position, col, total)
    elif fits:
        state.accumulators[position, j] = total
    else:
        state.spilled[position, j] = total
        counts[PARTIAL_WRITES] += 1
