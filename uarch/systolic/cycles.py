"""The systolic array: cycles, folds and L1 traffic of ``C[m, n] += A[m, k] @ B[k, n]`` on ``rows x cols`` PEs.

One mechanism serves every convention. A *fold* (pass) maps two of the three sizes onto rows and columns and streams the
third; every cycle count follows from four numbers of steps:

=========  ==========================================================================================================
stream     T: a PE's multiply-accumulates of one fold, one per step
chain      steps for which the vertical shift chain is busy per fold: R to shift in a stationary operand (WS, IS), R to
           shift out OS results (``Drain.SHIFT``), 0 if every PE hands over its result directly (``Drain.DIRECT``)
latency    from the first PE's first MAC to the last PE's first sum: the operand skew and the depth of the MAC pipeline
interval   from one fold's first MAC to the next one's: ``chain + stream + latency`` without overlap (SCALE-Sim's
           convention), ``max(stream, chain)`` if the shift chain is double buffered and folds go back to back
=========  ==========================================================================================================

An isolated run of F folds takes ``chain + (F - 1) * interval + stream + latency`` steps, counted from the cycle in
which the first operand enters up to and including the one in which the last result is complete. A partial fold costs a
full one, because operands and sums still cross the whole array. With ``Overlap.NONE`` this is SCALE-Sim's
``F * (R + C + T - 2)`` for OS and ``F * (2R + C + T - 2)`` for WS and IS (Samajdar et al., ISPASS 2020; version 3.0.0).
The register-transfer simulation in ``tests/oracles/pe_grid.py`` moves numbers through the grid: same counts.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from uarch.jit import inline, kernel


class Dataflow(IntEnum):
    """Operand that stays in the PEs, and thereby the mapping of m, n and k to rows, columns and time."""

    OS = 0
    """Outputs: m on rows, n on columns, k in time; sums accumulate in the PEs."""
    WS = 1
    """Weights B: k on rows, n on columns, m in time; sums flow down into accumulators below the array."""
    IS = 2
    """Inputs A: k on rows, m on columns, n in time; sums flow down as in WS."""


class Overlap(IntEnum):
    """Overlap of consecutive folds."""

    NONE = 0
    """Nothing: each fold pays load, fill and drain (SCALE-Sim's convention)."""
    FULL = 1
    """The shift chain works for the next (or last) fold while this one computes; operands follow without a gap."""


class Feed(IntEnum):
    """Way in which a streamed operand reaches the PEs of a row (and in OS, of a column)."""

    SKEWED = 0
    """Hop by hop, one PE per step."""
    BROADCAST = 1
    """All at once over a bus; sums of WS and IS still move down one row per step."""


class Drain(IntEnum):
    """Way in which the results of OS leave the PEs."""

    DIRECT = 0
    """Results leave every PE directly (SCALE-Sim's convention)."""
    SHIFT = 1
    """Down the column, one row per step."""


UNBOUNDED = 1 << 62
"""Value of an accumulator depth, or a stream length, that never limits."""

OS = int(Dataflow.OS)
WS = int(Dataflow.WS)
IS = int(Dataflow.IS)
FULL = int(Overlap.FULL)
SKEWED = int(Feed.SKEWED)
BROADCAST = int(Feed.BROADCAST)
DIRECT = int(Drain.DIRECT)
SHIFT = int(Drain.SHIFT)


class SystolicArray(NamedTuple):
    """An array and its conventions: plain integers, so that jitted code takes it as an argument.

    ``dataflow``, ``overlap``, ``feed`` and ``drain`` are codes of the enumerations above.
    ``mac_stages``        pipeline stages of a MAC, the last of which adds: a dependent MAC follows one step later.
    ``k_per_step``        products along k that a PE adds per step (2 for fp8 on an fp16 array).
    ``cycles_per_step``   cycles of a step (4 for fp32 on an fp16 array); loads, hops and MACs all slow down together.
    ``accumulator_rows``  sums that the accumulator below each column holds (WS, IS); others go to L1 between k folds.
    """

    dataflow: int
    rows: int
    cols: int
    overlap: int = int(Overlap.FULL)
    mac_stages: int = 1
    feed: int = int(Feed.SKEWED)
    drain: int = int(Drain.DIRECT)
    k_per_step: int = 1
    cycles_per_step: int = 1
    accumulator_rows: int = UNBOUNDED


class Traffic(NamedTuple):
    """Elements that cross the boundary between L1 and the array."""

    a_reads: int
    b_reads: int
    partial_reads: int
    partial_writes: int
    output_writes: int


@inline
def ceil_div(numerator: int, denominator: int) -> int:
    """Smallest integer not below numerator / denominator, for positive integers."""
    return (numerator + denominator - 1) // denominator


@inline
def mapping(dataflow: int, m: int, n: int, k: int) -> tuple[int, int, int]:
    """Sizes on array rows, on array columns and in time: SCALE-Sim's (Sr, Sc, T)."""
    if dataflow == OS:
        return m, n, k
    if dataflow == WS:
        return k, n, m
    return k, m, n


@inline
def chain_steps(dataflow: int, rows: int, drain: int) -> int:
    """Steps for which a fold needs the vertical shift chain."""
    if dataflow == OS and drain != SHIFT:
        return 0
    return rows


@inline
def latency_steps(dataflow: int, rows: int, cols: int, mac_stages: int, feed: int) -> int:
    """Steps from the first PE's first MAC to the last PE's first sum."""
    skew = rows + cols - 2
    if feed == BROADCAST:
        skew = 0 if dataflow == OS else rows - 1
    return skew + mac_stages - 1


@inline
def run_steps(folds: int, stream: int, chain: int, latency: int, overlap: int) -> int:
    """Steps of an isolated run of equal folds, from the first operand to the last result."""
    interval = max(stream, chain) if overlap == FULL else chain + stream + latency
    return chain + (folds - 1) * interval + stream + latency


@inline
def busy_cycles(dataflow: int, rows: int, cols: int, m: int, n: int, k: int) -> int:
    """Cycles that a tile occupies an array whose folds, and neighbouring tiles, go back to back.

    Skewed feed, direct drain, one MAC per PE and cycle. A tile on its own takes, from its first operand to its last
    result, ``busy_cycles + fill_drain_cycles`` with the tile's own stream length given to the latter.
    """
    on_rows, on_cols, stream = mapping(dataflow, m, n, k)
    return ceil_div(on_rows, rows) * ceil_div(on_cols, cols) * max(stream, chain_steps(dataflow, rows, DIRECT))


@inline
def fill_drain_cycles(dataflow: int, rows: int, cols: int, mac_stages: int, stream_cycles: int = UNBOUNDED) -> int:
    """Cycles that a sequence of back-to-back tiles pays once: the exposed first load, and the way of the last sum out.

    ``stream_cycles`` is the length of the last fold's stream. If it is shorter than a load, then ``busy_cycles`` has
    counted the wait for a following load that the sequence does not have; the default never is.
    """
    load = min(chain_steps(dataflow, rows, DIRECT), stream_cycles)
    return load + latency_steps(dataflow, rows, cols, mac_stages, SKEWED)


@inline
def operand_traffic(dataflow: int, rows: int, cols: int, m: int, n: int, k: int) -> tuple[int, int, int, int]:
    """Elements of A read, B read, partial sums read and outputs written, with accumulators for all sums of a fold.

    The stationary operand is read once; a streamed one once per fold of the size that it does not have.
    """
    if dataflow == OS:
        return m * k * ceil_div(n, cols), k * n * ceil_div(m, rows), 0, m * n
    if dataflow == WS:
        return m * k * ceil_div(n, cols), k * n, 0, m * n
    return m * k, k * n * ceil_div(m, cols), 0, m * n


@inline
def spilled_partials(dataflow: int, rows: int, m: int, n: int, k: int, accumulator_rows: int) -> int:
    """Partial sums that go to L1 after a k fold, and come back for the next one.

    The sums that fit stay in the accumulators through all k folds; k folds are innermost. OS never spills.
    """
    if dataflow == OS:
        return 0
    k_folds, on_cols, stream = mapping(dataflow, m, n, k)
    return (ceil_div(k_folds, rows) - 1) * on_cols * max(0, stream - accumulator_rows)


@kernel
def fold_count(array: SystolicArray, m: int, n: int, k: int) -> int:
    """Folds of an ``m x n x k`` tile."""
    on_rows, on_cols, _ = mapping(array.dataflow, m, n, ceil_div(k, array.k_per_step))
    return ceil_div(on_rows, array.rows) * ceil_div(on_cols, array.cols)


@kernel
def tile_cycles(array: SystolicArray, m: int, n: int, k: int) -> int:
    """Cycles of an isolated ``m x n x k`` tile, from its first operand to its last result."""
    _, _, stream = mapping(array.dataflow, m, n, ceil_div(k, array.k_per_step))
    chain = chain_steps(array.dataflow, array.rows, array.drain)
    latency = latency_steps(array.dataflow, array.rows, array.cols, array.mac_stages, array.feed)
    folds = fold_count(array, m, n, k)
    return array.cycles_per_step * run_steps(folds, stream, chain, latency, array.overlap)


@kernel
def tile_traffic(array: SystolicArray, m: int, n: int, k: int) -> Traffic:
    """L1 traffic of a tile, in elements, with the array's accumulators."""
    a_reads, b_reads, _, output_writes = operand_traffic(array.dataflow, array.rows, array.cols, m, n, k)
    steps = ceil_div(k, array.k_per_step)
    spilled = spilled_partials(array.dataflow, array.rows, m, n, steps, array.accumulator_rows)
    return Traffic(a_reads, b_reads, spilled, spilled, output_writes)
