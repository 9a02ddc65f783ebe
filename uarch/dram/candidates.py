"""Which request goes next: searches over the banks that have a candidate for a kind of command (jitted).

A search that finds nothing ready leaves the tick at which the first candidate can be ready in a ``*_BOUND`` register.
"""

from __future__ import annotations

from uarch.dram.constraints import activate_ready, column_ready, precharge_ready
from uarch.dram.options import MAX_BANKS
from uarch.dram.state import (
    ACT_READY,
    B_ACTIVE,
    B_CONFLICT,
    B_HEAD,
    B_HIT,
    BANK_FIELDS,
    BANKS_END,
    BOUND,
    E_SEQUENCE,
    E_WRITE,
    FCFS,
    FIRST_BANK,
    FRFCFS_ROWHIT,
    K_ACT,
    K_ACTIVE,
    K_CLOSE,
    K_COLUMN,
    K_PRE,
    MEMBERS,
    NEVER,
    NONE,
    O_CLOSED_PAGE,
    O_SCHEDULER,
    ROW_BOUND,
    ROW_BUS_FREE,
    ROW_SEQUENCE,
    SEQUENCE,
    SIZES,
    IntArray,
)
from uarch.jit import inline


@inline
def oldest_sequence(state: IntArray, direction: int) -> int:
    """Sequence number of the oldest request of a queue, for FCFS; NONE if every request may go first."""
    if state[O_SCHEDULER] != FCFS:
        return NONE
    oldest = state[SEQUENCE]
    for bank in range(FIRST_BANK, state[BANKS_END], BANK_FIELDS):
        head = state[bank + B_HEAD + direction]
        if head >= 0:
            oldest = min(oldest, state[head + E_SEQUENCE])
    return int(oldest)


@inline
def best_column(state: IntArray, now: int, first_kind: int, only: int) -> int:
    """Bank of the oldest active request (``first_kind`` is K_ACTIVE) or waiting hit that is ready, or NONE.

    ``state[BOUND]`` is the tick at which the first of them is ready.
    """
    best, best_sequence, bound = NONE, NEVER, NEVER
    active = first_kind == K_ACTIVE
    direction = first_kind - K_COLUMN
    for place in range(MEMBERS + first_kind * MAX_BANKS, MEMBERS + first_kind * MAX_BANKS + state[SIZES + first_kind]):
        bank = state[place]
        entry = state[bank + B_ACTIVE] if active else state[bank + B_HIT + direction]
        sequence = state[entry + E_SEQUENCE]
        if only < 0 or sequence == only:
            ready = column_ready(state, now, bank, state[entry + E_WRITE])
            bound = min(bound, ready)
            if ready <= now and sequence < best_sequence:
                best, best_sequence = bank, sequence
    state[BOUND] = bound
    return best


@inline
def best_row(state: IntArray, now: int, direction: int, only: int) -> int:
    """Bank of the oldest request whose activate or precharge is ready, or NONE and a new bound.

    With closed pages, if no request is ready, the first bank whose row no waiting request hits.
    """
    best, best_sequence, bound = NONE, NEVER, NEVER
    hold = state[O_SCHEDULER] == FRFCFS_ROWHIT
    any_bank = max(state[ACT_READY], state[ROW_BUS_FREE])
    activates = state[SIZES + K_ACT + direction]
    if any_bank > now and activates > 0:
        bound = any_bank
        activates = 0
    first = MEMBERS + (K_ACT + direction) * MAX_BANKS
    for place in range(first, first + activates):
        bank = state[place]
        sequence = state[state[bank + B_HEAD + direction] + E_SEQUENCE]
        if only < 0 or sequence == only:
            ready = activate_ready(state, now, bank)
            bound = min(bound, ready)
            if ready <= now and sequence < best_sequence:
                best, best_sequence = bank, sequence
    first = MEMBERS + (K_PRE + direction) * MAX_BANKS
    for place in range(first, first + state[SIZES + K_PRE + direction]):
        bank = state[place]
        sequence = state[state[bank + B_CONFLICT + direction] + E_SEQUENCE]
        hit = state[bank + B_HIT + direction]
        is_held = hold and hit >= 0 and state[hit + E_SEQUENCE] < sequence
        if not is_held and (only < 0 or sequence == only):
            ready = precharge_ready(state, now, bank)
            bound = min(bound, ready)
            if ready <= now and sequence < best_sequence:
                best, best_sequence = bank, sequence
    if state[O_CLOSED_PAGE] and best < 0:
        first = MEMBERS + K_CLOSE * MAX_BANKS
        for place in range(first, first + state[SIZES + K_CLOSE]):
            ready = precharge_ready(state, now, state[place])
            bound = min(bound, ready)
            if ready <= now and (best < 0 or state[place] < best):
                best = state[place]
    state[ROW_BOUND] = bound
    state[ROW_SEQUENCE] = best_sequence
    return best


@inline
def is_row_command_older(state: IntArray, now: int, column: int, direction: int) -> bool:
    """True if a request older than the waiting hit of bank ``column`` has its activate or precharge ready."""
    if now < state[ROW_BOUND]:
        return False
    row = best_row(state, now, direction, oldest_sequence(state, direction))
    return bool(row >= 0 and state[ROW_SEQUENCE] < state[state[column + B_HIT + direction] + E_SEQUENCE])
