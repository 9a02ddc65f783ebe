"""What an issued command changes in a channel's banks, lists and bounds (jitted)."""

from __future__ import annotations

from uarch.dram import timing as T  # noqa: N812
from uarch.dram.constraints import after_column_command, after_row_command, column_ready
from uarch.dram.queues import classify, complete, row_changed, set_member, unlink_entry
from uarch.dram.state import (
    ACT,
    ACTIVE_BOUND,
    B_ACCESSES,
    B_ACTIVE,
    B_CONFLICT,
    B_CONFLICT_WRITES,
    B_HEAD,
    B_HIT,
    B_PRE_READY,
    B_READ_READY,
    B_ROW,
    B_WRITE_READY,
    BANK_FIELDS,
    BANKS_END,
    COLUMN_BOUND,
    COLUMN_BUS_FREE,
    CONFLICTS,
    E_NEXT,
    E_ROW,
    E_TAG,
    E_TOUCHED,
    E_WRITE,
    FCFS,
    FIRST_BANK,
    FREE_ENTRY,
    HITS,
    K_ACTIVE,
    LAST_DATA,
    LAST_TAG,
    MISSES,
    NEVER,
    NONE,
    O_CAP,
    O_CLOSED_PAGE,
    O_SCHEDULER,
    OPEN_BANKS,
    OPEN_SINCE,
    OPEN_TICKS,
    PRE,
    PRE_ALL,
    PRECHARGES,
    READ_READY,
    READS,
    REFRESH_BOUND,
    ROW_BOUND,
    ROW_BUS_FREE,
    SIZES,
    WRITE_MODE,
    IntArray,
)
from uarch.jit import inline


@inline
def command_for(state: IntArray, bank: int, direction: int) -> int:
    """Activate a closed bank; precharge an open one, for its oldest conflict or, with closed pages, for nobody."""
    if state[bank + B_ROW] < 0:
        return ACT
    conflict = state[bank + B_CONFLICT + direction]
    if conflict >= 0:
        state[CONFLICTS] += 1 - state[conflict + E_TOUCHED]
        state[conflict + E_TOUCHED] = 1
    return PRE


@inline
def row_command(state: IntArray, now: int, command: int, bank: int, direction: int) -> None:
    """Issue an activate (of the row of the bank's oldest request), a precharge or a refresh."""
    row = state[bank + B_ROW] if bank >= 0 else NONE
    if command == ACT:
        entry = state[bank + B_HEAD + direction]
        row = state[entry + E_ROW]
        state[MISSES] += 1 - state[entry + E_TOUCHED]
        state[entry + E_TOUCHED] = 1
        unlink_entry(state, bank, direction, entry)
        state[bank + B_ACCESSES] = 0
        state[bank + B_ACTIVE] = entry
        set_member(state, K_ACTIVE, bank, command == ACT)
        if state[OPEN_BANKS] == 0:
            state[OPEN_SINCE] = now
        state[OPEN_BANKS] += 1
    after_row_command(state, now, command, bank, row)
    if command == ACT:
        state[ACTIVE_BOUND] = min(state[ACTIVE_BOUND], column_ready(state, now, bank, state[entry + E_WRITE]))
    is_one = command in (ACT, PRE)
    if is_one or command == PRE_ALL:
        last = bank if is_one else state[BANKS_END] - BANK_FIELDS
        for changed in range(bank if is_one else FIRST_BANK, last + 1, BANK_FIELDS):
            if command == ACT:
                state[changed + B_ROW] = row
            elif state[changed + B_ROW] >= 0:
                state[changed + B_ROW] = NONE
                state[PRECHARGES] += 1
                state[OPEN_BANKS] -= 1
                if state[OPEN_BANKS] == 0:
                    state[OPEN_TICKS] += now - state[OPEN_SINCE]
            row_changed(state, changed)
    state[ROW_BOUND] = state[ROW_BUS_FREE]
    if command == ACT and state[bank + B_HIT + state[WRITE_MODE]] >= 0:
        state[COLUMN_BOUND] = min(state[COLUMN_BOUND], state[bank + B_READ_READY], state[bank + B_WRITE_READY])
    if state[O_SCHEDULER] == FCFS:
        state[COLUMN_BOUND] = now + 1


@inline
def access(state: IntArray, now: int, bank: int, is_active: bool, direction: int) -> None:
    """Issue the read or write of the bank's active request, or of its oldest waiting hit."""
    if is_active:
        entry = state[bank + B_ACTIVE]
        state[bank + B_ACTIVE] = NONE
        set_member(state, K_ACTIVE, bank, not is_active)
    else:
        entry = state[bank + B_HIT + direction]
        following = state[entry + E_NEXT]
        while following >= 0 and state[following + E_ROW] != state[bank + B_ROW]:
            following = state[following + E_NEXT]
        state[bank + B_HIT + direction] = following
        unlink_entry(state, bank, direction, entry)
    state[HITS] += 1 - state[entry + E_TOUCHED]
    is_write = state[entry + E_WRITE]
    after_column_command(state, now, bank, is_write)
    state[READS + is_write] += 1
    if not is_write:
        state[LAST_DATA] = now + state[T.READ_LATENCY]
        state[LAST_TAG] = state[entry + E_TAG]
        complete(state, state[LAST_TAG], state[LAST_DATA])
    state[entry + E_NEXT] = state[FREE_ENTRY]
    state[FREE_ENTRY] = entry
    state[bank + B_ACCESSES] += 1
    if state[bank + B_ACCESSES] >= state[O_CAP]:
        row_changed(state, bank)
    else:
        classify(state, bank)
    channel_ready = state[READ_READY + state[WRITE_MODE]]
    state[COLUMN_BOUND] = max(state[COLUMN_BOUND], channel_ready, state[COLUMN_BUS_FREE])
    if state[bank + B_CONFLICT] >= 0 or state[bank + B_CONFLICT_WRITES] >= 0 or state[O_CLOSED_PAGE]:
        state[ROW_BOUND] = min(state[ROW_BOUND], max(state[bank + B_PRE_READY], now + 1))
    if is_active:
        state[ACTIVE_BOUND] = state[COLUMN_BUS_FREE] if state[SIZES + K_ACTIVE] > 0 else NEVER
        state[REFRESH_BOUND] = 0
    if state[O_SCHEDULER] == FCFS:
        state[COLUMN_BOUND] = now + 1
        state[ROW_BOUND] = now
