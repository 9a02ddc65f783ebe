"""The FR-FCFS controller of one channel, event by event (jitted): ``enqueue``, ``next_event``, ``step``.

Rules, found by comparison with Ramulator 2.1 (see the README): each tick may issue one column and one row command where
the standard has separate buses, one command otherwise. The oldest request whose next command is ready goes first. A
request that opens a row leaves its queue for the active set, which goes before all others and keeps its row open. A due
refresh stops everything but the active set. Writes are served in bursts between two watermarks.

Searches are skipped while the bound of their kind says that no candidate can be ready, and so are ticks without a decision.

Numba compiles a function together with all that it calls, so each large function has one caller and one place there.
"""

from __future__ import annotations

from uarch.arrays import IntArray
from uarch.dram.controller import timing as T  # noqa: N812
from uarch.dram.controller.candidates import oldest_active, oldest_hit, oldest_without_row, unused_row
from uarch.dram.controller.constraints import on_its_half
from uarch.dram.controller.issue import access, row_command
from uarch.dram.controller.queues import append_entry, complete, note_newest
from uarch.dram.controller.refresh import refresh_command, refresh_issued
from uarch.dram.controller.state import (
    ACT,
    B_HEAD_WRITES,
    B_HIT,
    B_NEEDS_ROW,
    B_ROW,
    BANK_FIELDS,
    BOUNDS,
    E_COLUMN,
    E_NEXT,
    E_ROW,
    E_SEQUENCE,
    E_TAG,
    E_TOUCHED,
    E_WRITE,
    FIRST_BANK,
    FORWARDED,
    HIT_TO_WRITES,
    K_ACT,
    K_ACTIVE_READS,
    K_ACTIVE_WRITES,
    K_HIT,
    K_PRE,
    K_UNUSED,
    NEXT_REFRESH,
    NONE,
    NOW,
    O_HIGH_PERCENT,
    O_LOW_PERCENT,
    O_READ_QUEUE,
    O_REFRESH,
    O_WRITE_QUEUE,
    PRE,
    READS_WAITING,
    READY,
    REF_ALL,
    REF_BANK,
    REFRESH_ALL,
    REFRESH_BANK,
    REFRESH_BOUND,
    REFRESHES_DUE,
    ROW_TO_WRITES,
    SEQUENCE,
    WRITE_MODE,
    WRITES_WAITING,
    typed,
)
from uarch.jit import inline, sub_kernel

REFUSED, QUEUED, FORWARDED_AT_ONCE = typed(0), typed(1), typed(2)


@inline
def _set_tick(state: IntArray, now: int) -> None:
    """Go on to a tick, at which a refresh may fall due."""
    state[NOW] = now
    if now == state[NEXT_REFRESH]:
        state[REFRESHES_DUE] += 1
        state[NEXT_REFRESH] += state[T.REFRESH_INTERVAL + state[O_REFRESH] - REFRESH_ALL]
        state[REFRESH_BOUND] = 0


@inline
def _changes_mode(state: IntArray) -> bool:
    """True if the watermarks say that the controller switches between serving reads and serving writes."""
    percent = state[WRITES_WAITING] * 100
    if state[WRITE_MODE]:
        return bool(percent < state[O_LOW_PERCENT] * state[O_WRITE_QUEUE] and state[READS_WAITING] != 0)
    return bool(percent > state[O_HIGH_PERCENT] * state[O_WRITE_QUEUE] or state[READS_WAITING] == 0)


@inline
def _is_older(state: IntArray, row: int, column: int, direction: int) -> bool:
    """True if the request that needs a row command in one bank is older than the waiting hit of another."""
    request, hit = state[row + B_NEEDS_ROW + direction], state[column + B_HIT + direction]
    return bool(state[request + E_SEQUENCE] < state[hit + E_SEQUENCE])


@sub_kernel
def step(state: IntArray, now: int) -> None:
    """Issue what the controller issues at tick ``now``: a column command and a row command, or one of the two.

    ``now`` is later than the present tick and not later than :func:`next_event`, and becomes the present tick.
    """
    _set_tick(state, now)
    separate = state[T.SEPARATE_BUSES] > 0
    refreshing = state[REFRESHES_DUE] > 0
    row, command = NONE, NONE
    mode = state[WRITE_MODE]
    column = oldest_active(state, now)
    is_active = column >= 0
    if not is_active and not refreshing:
        mode ^= _changes_mode(state)
        state[WRITE_MODE] = mode
        column = oldest_hit(state, now, mode)
        if column >= 0 and not separate:
            row = oldest_without_row(state, now, mode)
            if row >= 0 and _is_older(state, row, column, mode):
                column = NONE
                state[BOUNDS + K_HIT + HIT_TO_WRITES * mode] = 0
            elif row >= 0:
                row = NONE
                state[BOUNDS + K_ACT + ROW_TO_WRITES * mode] = 0
                state[BOUNDS + K_PRE + ROW_TO_WRITES * mode] = 0
    if column >= 0:
        access(state, now, column, is_active, mode)
        if not separate:
            return
    if refreshing:
        mode = NONE
        if now >= state[REFRESH_BOUND]:
            command = refresh_command(state, now)
            row = state[REFRESH_BANK] if state[O_REFRESH] != REFRESH_ALL else NONE
    else:
        mode ^= _changes_mode(state)
        state[WRITE_MODE] = mode
        if row < 0:
            row = oldest_without_row(state, now, mode)
        if row < 0:
            row = unused_row(state, now)
        if row >= 0:
            command = ACT if state[row + B_ROW] < 0 else PRE
    if command >= 0:
        row_command(state, now, command, row, mode)
        if command in (REF_ALL, REF_BANK):
            refresh_issued(state)


@inline
def _earliest(state: IntArray, kind: int) -> int:
    """Earliest tick after the present one at which a candidate of a kind can be ready."""
    command = kind & 3
    return on_its_half(state, max(state[BOUNDS + kind], state[READY + command], state[NOW] + 1), command)


@sub_kernel
def next_event(state: IntArray) -> int:
    """Tick, after the present one, at which the controller may do something; at most NEVER."""
    event = min(state[NEXT_REFRESH], _earliest(state, K_ACTIVE_READS), _earliest(state, K_ACTIVE_WRITES))
    if state[REFRESHES_DUE] > 0:
        return int(min(event, max(state[REFRESH_BOUND], state[NOW] + 1)))
    if _changes_mode(state):
        return int(state[NOW] + 1)
    mode = state[WRITE_MODE]
    event = min(event, _earliest(state, K_ACT + ROW_TO_WRITES * mode), _earliest(state, K_PRE + ROW_TO_WRITES * mode))
    return int(min(event, _earliest(state, K_HIT + HIT_TO_WRITES * mode), _earliest(state, K_UNUSED)))


@sub_kernel
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
    note_newest(state, bank, direction, entry)
    return QUEUED
