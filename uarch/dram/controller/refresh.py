"""Refreshes of all banks or of one bank at a time: what a due refresh needs, and what follows it (jitted)."""

from __future__ import annotations

from uarch.arrays import IntArray
from uarch.dram.controller.constraints import ready_tick
from uarch.dram.controller.state import (
    ACTIVE_READS,
    ACTIVE_WRITES,
    B_ACTIVE,
    B_ROW,
    BANK_FIELDS,
    BANKS_END,
    FIRST_BANK,
    NEVER,
    NONE,
    O_REFRESH,
    OPEN,
    PRE,
    PRE_ALL,
    REF_ALL,
    REF_BANK,
    REFRESH_ALL,
    REFRESH_BANK,
    REFRESH_BOUND,
    REFRESHES,
    REFRESHES_DUE,
)
from uarch.jit import inline


@inline
def refresh_command(state: IntArray, now: int) -> int:
    """The command that the due refresh needs, if it is ready; else NONE, and a new bound."""
    bank = state[REFRESH_BANK]
    if state[O_REFRESH] == REFRESH_ALL:
        command = PRE_ALL if state[OPEN] != 0 else REF_ALL
        blocked = state[ACTIVE_READS] | state[ACTIVE_WRITES] != 0
    else:
        command = PRE if state[bank + B_ROW] >= 0 else REF_BANK
        blocked = state[bank + B_ACTIVE] >= 0
    ready = NEVER if blocked else ready_tick(state, now, bank, command)
    state[REFRESH_BOUND] = ready
    return NONE if ready > now else command


@inline
def refresh_issued(state: IntArray) -> None:
    """Count a refresh, and go on to the next bank."""
    state[REFRESHES] += 1
    state[REFRESHES_DUE] -= 1
    following = state[REFRESH_BANK] + BANK_FIELDS
    state[REFRESH_BANK] = following if following < state[BANKS_END] else FIRST_BANK
