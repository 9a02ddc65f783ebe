"""Refreshes of all banks or of one bank at a time: what a due refresh needs, and what follows it (jitted)."""

from __future__ import annotations

from uarch.dram import timing as T  # noqa: N812
from uarch.dram.constraints import precharge_ready
from uarch.dram.state import (
    B_ACTIVE,
    B_PRE_READY,
    B_REF_READY,
    B_ROW,
    BANK_FIELDS,
    BANKS_END,
    COLUMN_BOUND,
    FIRST_BANK,
    K_ACTIVE,
    NEVER,
    NONE,
    O_REFRESH,
    OPEN_BANKS,
    PRE,
    PRE_ALL,
    PRE_READY,
    REF_ALL,
    REF_BANK,
    REF_READY,
    REFPB_READY,
    REFRESH_ALL,
    REFRESH_BANK,
    REFRESH_BOUND,
    REFRESHES,
    REFRESHES_DUE,
    ROW_BOUND,
    ROW_BUS_FREE,
    SIZES,
    IntArray,
)
from uarch.jit import inline


@inline
def refresh_command(state: IntArray, now: int) -> int:
    """The command that the due refresh needs, if it is ready; else NONE, and a new bound."""
    is_all = state[O_REFRESH] == REFRESH_ALL
    bank = state[REFRESH_BANK]
    ready = max(now, state[ROW_BUS_FREE])
    if is_all and state[OPEN_BANKS] > 0:
        command = PRE_ALL
        ready = max(ready, state[PRE_READY])
        if not state[T.PREAB_IGNORES_ROWS]:
            for other in range(FIRST_BANK, state[BANKS_END], BANK_FIELDS):
                ready = max(ready, state[other + B_PRE_READY])
        ready += ready & state[T.HALF_CLOCK]
        blocked = state[SIZES + K_ACTIVE] > 0
    elif not is_all and state[bank + B_ROW] >= 0:
        command = PRE
        ready = precharge_ready(state, now, bank)
        blocked = state[bank + B_ACTIVE] >= 0
    else:
        command = REF_ALL if is_all else REF_BANK
        ready = max(ready, state[REF_READY] if is_all else max(state[bank + B_REF_READY], state[REFPB_READY]))
        ready += (1 - ready) & state[T.HALF_CLOCK]
        blocked = False
    state[REFRESH_BOUND] = NEVER if blocked else ready
    return NONE if blocked or ready > now else command


@inline
def refresh_issued(state: IntArray) -> None:
    """Count a refresh, and go on to the next bank."""
    state[REFRESHES] += 1
    state[REFRESHES_DUE] -= 1
    state[ROW_BOUND] = 0
    state[COLUMN_BOUND] = 0
    following = state[REFRESH_BANK] + BANK_FIELDS
    state[REFRESH_BANK] = following if following < state[BANKS_END] else FIRST_BANK
