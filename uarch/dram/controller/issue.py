"""Changes of a channel's banks and lists when a command is issued (jitted)."""

from __future__ import annotations

from uarch.arrays import IntArray
from uarch.dram.controller import timing as T  # noqa: N812
from uarch.dram.controller.constraints import record_column_command, record_row_command
from uarch.dram.controller.queues import classify, complete, lower_bound, set_member, sort_requests, unlink_entry
from uarch.dram.controller.state import (
    ACT,
    ACTIVE_READS,
    B_ACCESSES,
    B_ACTIVE,
    B_BIT,
    B_HIT,
    B_NEEDS_ROW,
    B_ROW,
    BANK_FIELDS,
    CONFLICTS,
    E_NEXT,
    E_ROW,
    E_TAG,
    E_TOUCHED,
    E_WRITE,
    FIRST_BANK,
    FREE_ENTRY,
    HITS,
    K_ACTIVE_READS,
    LAST_DATA,
    LAST_TAG,
    MISSES,
    NONE,
    O_CAP,
    OPEN,
    OPEN_SINCE,
    OPEN_TICKS,
    PRE,
    PRE_ALL,
    PRECHARGES,
    READS,
    REFRESH_BOUND,
)
from uarch.jit import inline, lowest_bit


@inline
def row_command(state: IntArray, now: int, command: int, bank: int, direction: int) -> None:
    """Issue an activate or a precharge for the bank's oldest request that needs one, or a precharge or refresh for itself.

    ``bank`` is NONE for commands to all banks, ``direction`` is NONE if the command is not for a request.
    """
    row = state[bank + B_ROW] if bank >= 0 else NONE
    entry = state[bank + B_NEEDS_ROW + direction] if direction >= 0 else NONE
    if entry >= 0:
        state[MISSES if command == ACT else CONFLICTS] += 1 - state[entry + E_TOUCHED]
        state[entry + E_TOUCHED] = 1
    if command == ACT:
        row = state[entry + E_ROW]
        unlink_entry(state, bank, direction, entry)
        state[bank + B_ACCESSES] = 0
        state[bank + B_ACTIVE] = entry
        set_member(state, ACTIVE_READS + direction, bank, command == ACT)
        if state[OPEN] == 0:
            state[OPEN_SINCE] = now
    record_row_command(state, now, command, bank, row)
    if command == ACT:
        lower_bound(state, K_ACTIVE_READS + direction, bank)
    _change_rows(state, now, command, bank, row)


@inline
def _change_rows(state: IntArray, now: int, command: int, bank: int, row: int) -> None:
    """Open or close a bank's row, or close all."""
    banks = state[OPEN] if command == PRE_ALL else 0
    if command in (ACT, PRE):
        banks = state[bank + B_BIT]
    closes = banks != 0 and command != ACT
    while banks != 0:
        place = FIRST_BANK + lowest_bit(banks) * BANK_FIELDS
        bit = state[place + B_BIT]
        banks ^= bit
        state[OPEN] ^= bit
        state[place + B_ROW] = row
        if command != ACT:
            state[place + B_ROW] = NONE
            state[PRECHARGES] += 1
        sort_requests(state, place)
        classify(state, place)
    if closes and state[OPEN] == 0:
        state[OPEN_TICKS] += now - state[OPEN_SINCE]


@inline
def access(state: IntArray, now: int, bank: int, is_active: bool, direction: int) -> None:
    """Issue the read or write of the bank's active request, or of its oldest waiting hit."""
    if is_active:
        entry = state[bank + B_ACTIVE]
        state[bank + B_ACTIVE] = NONE
        set_member(state, ACTIVE_READS + state[entry + E_WRITE], bank, not is_active)
        state[REFRESH_BOUND] = 0
    else:
        entry = state[bank + B_HIT + direction]
        following = state[entry + E_NEXT]
        while following >= 0 and state[following + E_ROW] != state[bank + B_ROW]:
            following = state[following + E_NEXT]
        state[bank + B_HIT + direction] = following
        unlink_entry(state, bank, direction, entry)
    state[HITS] += 1 - state[entry + E_TOUCHED]
    is_write = state[entry + E_WRITE]
    record_column_command(state, now, bank, is_write)
    state[READS + is_write] += 1
    if not is_write:
        state[LAST_DATA] = now + state[T.READ_LATENCY]
        state[LAST_TAG] = state[entry + E_TAG]
        complete(state, state[LAST_TAG], state[LAST_DATA])
    state[entry + E_NEXT] = state[FREE_ENTRY]
    state[FREE_ENTRY] = entry
    state[bank + B_ACCESSES] += 1
    if state[bank + B_ACCESSES] == state[O_CAP]:
        sort_requests(state, bank)
    classify(state, bank)
