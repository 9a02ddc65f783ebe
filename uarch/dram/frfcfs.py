"""The FR-FCFS controller of one channel, event by event (jitted): ``enqueue``, ``next_event``, ``step``.

Rules, found by comparison with Ramulator 2.1 (see the README): each tick may issue one column and one row command where
the standard has separate buses, one command otherwise. The oldest request whose next command is ready goes first. A
request that opens a row leaves its queue for the active set, which goes before all others and keeps its row open. A due
refresh stops everything but the active set. Writes are served in bursts between two watermarks.

``*_BOUND`` registers hold a tick before which no candidate of a kind can be ready, so that ticks without a decision
are skipped: every event lowers the bound of what it may make ready, a search that finds nothing raises it.

Numba compiles a function together with all that it calls, so each large function has one caller and one place there.
"""

from __future__ import annotations

from uarch.dram import timing as T  # noqa: N812
from uarch.dram.candidates import best_column, best_row, is_row_command_older, oldest_sequence
from uarch.dram.issue import access, command_for, row_command
from uarch.dram.queues import append_entry, classify, complete
from uarch.dram.refresh import refresh_command, refresh_issued
from uarch.dram.state import (
    ACT_READY,
    ACTIVE_BOUND,
    B_ACCESSES,
    B_ACT_READY,
    B_CONFLICT,
    B_HEAD,
    B_HEAD_WRITES,
    B_HIT,
    B_PRE_READY,
    B_READ_READY,
    B_ROW,
    BANK_FIELDS,
    BOUND,
    COLUMN_BOUND,
    E_COLUMN,
    E_NEXT,
    E_ROW,
    E_SEQUENCE,
    E_TAG,
    E_TOUCHED,
    E_WRITE,
    FIRST_BANK,
    FORWARDED,
    K_ACTIVE,
    K_COLUMN,
    NEXT_REFRESH,
    NONE,
    NOW,
    O_CAP,
    O_HIGH_PERCENT,
    O_LOW_PERCENT,
    O_READ_QUEUE,
    O_REFRESH,
    O_WRITE_QUEUE,
    READS_WAITING,
    REF_ALL,
    REF_BANK,
    REFRESH_ALL,
    REFRESH_BANK,
    REFRESH_BOUND,
    REFRESHES_DUE,
    ROW_BOUND,
    SEQUENCE,
    SIZES_CHANGED,
    WRITE_MODE,
    WRITES_WAITING,
    IntArray,
    typed,
)
from uarch.jit import inline, loop_kernel

REFUSED, QUEUED, FORWARDED_AT_ONCE = typed(0), typed(1), typed(2)


@inline
def _choose_mode(state: IntArray) -> int:
    """Switch between serving reads (0) and serving writes (1) if the watermarks say so."""
    percent = state[WRITES_WAITING] * 100
    reads = state[READS_WAITING]
    if state[WRITE_MODE]:
        change = percent < state[O_LOW_PERCENT] * state[O_WRITE_QUEUE] and reads != 0
    else:
        change = percent > state[O_HIGH_PERCENT] * state[O_WRITE_QUEUE] or reads == 0
    if change:
        state[WRITE_MODE] = 1 - state[WRITE_MODE]
        state[COLUMN_BOUND] = 0
        state[ROW_BOUND] = 0
    return int(state[WRITE_MODE])


@loop_kernel
def step(state: IntArray, now: int) -> None:
    """What the controller does at tick ``now``: a column command and a row command, or one of the two.

    ``now`` is later than the present tick and not later than :func:`next_event`, and becomes the present tick.
    """
    state[NOW] = now
    state[SIZES_CHANGED] = 0
    if now == state[NEXT_REFRESH]:
        state[REFRESHES_DUE] += 1
        state[NEXT_REFRESH] += state[T.REFRESH_INTERVAL + state[O_REFRESH] - REFRESH_ALL]
        state[REFRESH_BOUND] = 0
    separate = state[T.SEPARATE_BUSES] > 0
    refresh = state[REFRESHES_DUE] > 0
    active, column, row, command = NONE, NONE, NONE, NONE
    mode = state[WRITE_MODE]
    if now >= state[ACTIVE_BOUND]:
        active = best_column(state, now, K_ACTIVE, NONE)
        state[ACTIVE_BOUND] = state[BOUND]
        column = active
    if column < 0 and not refresh:
        mode = _choose_mode(state)
        if now >= state[COLUMN_BOUND]:
            column = best_column(state, now, K_COLUMN + mode, oldest_sequence(state, mode))
            state[COLUMN_BOUND] = state[BOUND]
            if column >= 0 and not separate and is_row_command_older(state, now, column, mode):
                column = NONE
    if column >= 0:
        access(state, now, column, active >= 0, mode)
        if not separate:
            return
    row = NONE
    if refresh:
        if now >= state[REFRESH_BOUND]:
            command = refresh_command(state, now)
            row = state[REFRESH_BANK] if state[O_REFRESH] != REFRESH_ALL else NONE
    else:
        mode = _choose_mode(state)
        if now >= state[ROW_BOUND]:
            row = best_row(state, now, mode, oldest_sequence(state, mode))
        if row >= 0:
            command = command_for(state, row, mode)
    if command >= 0:
        row_command(state, now, command, row, mode)
        if command in (REF_ALL, REF_BANK):
            refresh_issued(state)


@loop_kernel
def next_event(state: IntArray) -> int:
    """Tick, after the present one, at which the controller may do something; at most NEVER."""
    after = state[NOW] + 1
    if state[SIZES_CHANGED]:
        return int(after)
    event = min(state[NEXT_REFRESH], state[ACTIVE_BOUND])
    if state[REFRESHES_DUE] > 0:
        event = min(event, state[REFRESH_BOUND])
        return int(max(event, after))
    event = min(event, state[COLUMN_BOUND], state[ROW_BOUND])
    return int(max(event, after))


@loop_kernel
def enqueue(state: IntArray, tag: int, is_write: int, bank_index: int, row: int, column: int) -> int:
    """Offer a request at the present tick; the controller sees it from the next tick on.

    Returns REFUSED if its queue is full, FORWARDED_AT_ONCE for a read of what waits to be written, which is answered in
    one tick, else QUEUED. The completion of ``tag`` becomes the tick of a read's last data when its command is issued;
    that of a write is the present tick.
    """
    bank = FIRST_BANK + bank_index * BANK_FIELDS
    direction = 1 if is_write else 0
    if direction == 0:
        waiting = state[bank + B_HEAD_WRITES]
        while waiting >= 0:
            if state[waiting + E_ROW] == row and state[waiting + E_COLUMN] == column:
                state[FORWARDED] += 1
                complete(state, tag, state[NOW] + 1)
                return FORWARDED_AT_ONCE
            waiting = state[waiting + E_NEXT]
    if state[READS_WAITING + direction] >= state[O_READ_QUEUE + direction]:
        return REFUSED
    entry = append_entry(state, bank, direction)
    state[entry + E_ROW] = row
    state[entry + E_COLUMN] = column
    state[entry + E_TAG] = tag
    state[entry + E_WRITE] = direction
    state[entry + E_SEQUENCE] = state[SEQUENCE]
    state[entry + E_TOUCHED] = 0
    state[SEQUENCE] += 1
    if direction:
        complete(state, tag, state[NOW])
    open_row = state[bank + B_ROW]
    is_hit = open_row == row and state[bank + B_ACCESSES] < state[O_CAP]
    if open_row < 0:
        is_new = state[bank + B_HEAD + direction] == entry
        if is_new:
            state[ROW_BOUND] = min(state[ROW_BOUND], max(state[bank + B_ACT_READY], state[ACT_READY]))
    else:
        first_of = bank + direction + (B_HIT if is_hit else B_CONFLICT)
        is_new = state[first_of] < 0
        if is_new:
            state[first_of] = entry
            if is_hit:
                state[COLUMN_BOUND] = min(state[COLUMN_BOUND], state[bank + B_READ_READY + direction])
            else:
                state[ROW_BOUND] = min(state[ROW_BOUND], state[bank + B_PRE_READY])
    if is_new:
        classify(state, bank)
    return QUEUED
