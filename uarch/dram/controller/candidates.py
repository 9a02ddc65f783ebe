"""Choice of the request that goes next: searches over the banks that have a candidate for a kind of command (jitted).

A search leaves, in the bound of its kind, the tick at which the first of the candidates that it did not choose can be
ready, as far as their banks decide it.
"""

from __future__ import annotations

from uarch.arrays import IntArray
from uarch.dram.controller.constraints import bank_ready, on_its_half
from uarch.dram.controller.state import (
    ACTIVE_READS,
    ACTIVE_WRITES,
    B_ACTIVE,
    B_BIT,
    B_HEAD,
    B_HIT,
    B_NEEDS_ROW,
    BANK_FIELDS,
    BANKS_END,
    BOUNDS,
    E_SEQUENCE,
    FCFS,
    FIRST_BANK,
    HIT,
    HIT_TO_WRITES,
    K_ACT,
    K_ACTIVE_READS,
    K_ACTIVE_WRITES,
    K_HIT,
    K_PRE,
    K_UNUSED,
    NEVER,
    NONE,
    O_CLOSED_PAGE,
    O_SCHEDULER,
    OPEN,
    READY,
    ROW_NEEDED,
    ROW_TO_WRITES,
    UNUSED,
)
from uarch.jit import inline, lowest_bit


@inline
def oldest_active(state: IntArray, now: int) -> int:
    """Bank of the oldest active request that is ready, or NONE."""
    read = _search(state, now, K_ACTIVE_READS, state[ACTIVE_READS], B_ACTIVE)
    write = _search(state, now, K_ACTIVE_WRITES, state[ACTIVE_WRITES], B_ACTIVE)
    return _older(state, read, K_ACTIVE_READS, write, K_ACTIVE_WRITES, B_ACTIVE)


@inline
def oldest_hit(state: IntArray, now: int, direction: int) -> int:
    """Bank of the oldest waiting hit that is ready, or NONE."""
    banks = _eligible(state, state[HIT + direction], B_HIT, direction)
    return _search(state, now, K_HIT + HIT_TO_WRITES * direction, banks, B_HIT + direction)


@inline
def oldest_without_row(state: IntArray, now: int, direction: int) -> int:
    """Bank of the oldest request whose activate or precharge is ready, or NONE."""
    banks = _eligible(state, state[ROW_NEEDED + direction], B_NEEDS_ROW, direction)
    activate, precharge = K_ACT + ROW_TO_WRITES * direction, K_PRE + ROW_TO_WRITES * direction
    closed = _search(state, now, activate, banks & ~state[OPEN], B_NEEDS_ROW + direction)
    opened = _search(state, now, precharge, banks & state[OPEN], B_NEEDS_ROW + direction)
    return _older(state, closed, activate, opened, precharge, B_NEEDS_ROW + direction)


@inline
def unused_row(state: IntArray, now: int) -> int:
    """First bank, if pages are to be closed, whose row no waiting request hits, if its precharge is ready, or NONE."""
    return _search(state, now, K_UNUSED, state[UNUSED], NONE) if state[O_CLOSED_PAGE] else NONE


@inline
def _eligible(state: IntArray, banks: int, field: int, direction: int) -> int:
    """Banks of a set whose candidate may go first: with FCFS, if it is the oldest request of its queue."""
    if state[O_SCHEDULER] != FCFS:
        return banks
    oldest, oldest_sequence = NONE, NEVER
    for bank in range(FIRST_BANK, state[BANKS_END], BANK_FIELDS):
        head = state[bank + B_HEAD + direction]
        if head >= 0 and state[head + E_SEQUENCE] < oldest_sequence:
            oldest, oldest_sequence = bank, state[head + E_SEQUENCE]
    if oldest < 0 or state[oldest + field + direction] != state[oldest + B_HEAD + direction]:
        return 0
    return int(banks & state[oldest + B_BIT])


@inline
def _search(state: IntArray, now: int, kind: int, banks: int, field: int) -> int:
    """Bank of the oldest candidate of a kind that is ready, or NONE."""
    command = kind & 3
    if max(state[BOUNDS + kind], state[READY + command]) > now or on_its_half(state, now, command) > now:
        return NONE
    return _oldest_ready(state, now, kind, banks, field)


@inline
def _oldest_ready(state: IntArray, now: int, kind: int, banks: int, field: int) -> int:
    """Ready bank whose request (in ``field``) is oldest; the first one if ``field`` is NONE."""
    best, best_sequence, best_ready, bound = NONE, NEVER, NEVER, NEVER
    while banks != 0:
        bank = FIRST_BANK + lowest_bit(banks) * BANK_FIELDS
        banks ^= state[bank + B_BIT]
        ready = bank_ready(state, bank, kind & 3)
        sequence = bank if field < 0 else state[state[bank + field] + E_SEQUENCE]
        is_best = ready <= now and sequence < best_sequence
        bound = min(bound, best_ready if is_best else ready)
        best_ready = ready if is_best else best_ready
        best_sequence = sequence if is_best else best_sequence
        best = bank if is_best else best
    state[BOUNDS + kind] = bound
    return best


@inline
def _older(state: IntArray, first: int, first_kind: int, second: int, second_kind: int, field: int) -> int:
    """Bank of two chosen ones whose request is older; the other one stays a candidate."""
    if first < 0 or second < 0:
        return max(first, second)
    if state[state[first + field] + E_SEQUENCE] < state[state[second + field] + E_SEQUENCE]:
        state[BOUNDS + second_kind] = 0
        return first
    state[BOUNDS + first_kind] = 0
    return second
