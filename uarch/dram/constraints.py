"""When a command may start, and what each command forbids from then on (jitted).

Each ``*_ready`` function gives the earliest tick, not before ``now``, as far as commands issued until now decide it;
each ``after_*`` function records a command that starts at tick ``now``. Where a clock has two ticks, activates, column
commands and refreshes start on the first half (odd ticks), precharges on the second.
"""

from __future__ import annotations

from uarch.dram import timing as T  # noqa: N812
from uarch.dram.state import (
    ACT,
    ACT_READY,
    ACTIVATE_TICKS,
    ACTIVATES,
    B_ACT_READY,
    B_GROUP,
    B_INDEX,
    B_PRE_READY,
    B_READ_READY,
    B_REF_READY,
    B_ROW,
    B_STACK,
    B_WRITE_READY,
    COLUMN_BUS_FREE,
    G_ACT_READY,
    G_READ_READY,
    G_WRITE_READY,
    LAST_ACTIVATES,
    LOG,
    LOG_COMMANDS,
    LOG_FIELDS,
    LOGGED,
    NONE,
    PRE,
    PRE_ALL,
    PRE_READY,
    RD,
    READ_READY,
    REF_ALL,
    REF_BANK,
    REF_READY,
    REFPB_READY,
    ROW_BUS_FREE,
    STACKS,
    STACKS_END,
    WINDOW_COUNT,
    WRITE_READY,
    IntArray,
)
from uarch.jit import inline


@inline
def activate_ready(state: IntArray, now: int, bank: int) -> int:
    """Earliest tick of an activate in ``bank``."""
    ready = max(state[ACT_READY], state[ROW_BUS_FREE], now)
    ready = max(ready, state[bank + B_ACT_READY], state[state[bank + B_GROUP] + G_ACT_READY])
    return int(ready + ((1 - ready) & state[T.HALF_CLOCK]))


@inline
def precharge_ready(state: IntArray, now: int, bank: int) -> int:
    """Earliest tick of a precharge of ``bank``."""
    ready = max(state[bank + B_PRE_READY], state[PRE_READY], state[ROW_BUS_FREE], now)
    return int(ready + (ready & state[T.HALF_CLOCK]))


@inline
def column_ready(state: IntArray, now: int, bank: int, is_write: int) -> int:
    """Earliest tick of a read or write in ``bank``."""
    group = state[bank + B_GROUP] + is_write
    ready = max(state[bank + B_READ_READY + is_write], state[group + G_READ_READY], state[READ_READY + is_write])
    ready = max(ready, state[COLUMN_BUS_FREE], now)
    if not is_write:
        ready = max(ready, state[state[bank + B_STACK]])
    return int(ready + ((1 - ready) & state[T.HALF_CLOCK]))


@inline
def after_row_command(state: IntArray, now: int, command: int, bank: int, row: int) -> None:
    """Record an activate, precharge or refresh of ``bank`` (NONE: all banks): its bus, and the log."""
    bus_free = now + (state[T.ACT_TICKS] if command == ACT else state[T.PRE_TICKS])
    state[ROW_BUS_FREE] = bus_free
    if not state[T.SEPARATE_BUSES]:
        state[COLUMN_BUS_FREE] = bus_free
    if command == ACT:
        state[bank + B_READ_READY] = now + state[T.ACT_RD]
        state[bank + B_WRITE_READY] = now + state[T.ACT_WR]
        state[bank + B_PRE_READY] = now + state[T.ACT_PRE]
        state[bank + B_ACT_READY] = now + state[T.ACT_ACT_BANK]
        state[bank + B_REF_READY] = max(state[bank + B_REF_READY], now + state[T.ACT_REF])
        state[state[bank + B_GROUP] + G_ACT_READY] = now + state[T.ACT_ACT_GROUP]
        state[REF_READY] = max(state[REF_READY], now + state[T.ACT_REF])
        state[ACT_READY] = max(state[ACT_READY], now + state[T.ACT_ACT])
        state[ACTIVATES] += 1
    elif command == PRE:
        state[bank + B_ACT_READY] = max(state[bank + B_ACT_READY], now + state[T.PRE_ACT])
        state[bank + B_REF_READY] = max(state[bank + B_REF_READY], now + state[T.PRE_REF])
        state[PRE_READY] = now + state[T.PRE_PRE]
        state[REF_READY] = max(state[REF_READY], now + state[T.PRE_REF])
    elif command == PRE_ALL:
        state[ACT_READY] = max(state[ACT_READY], now + state[T.PRE_ACT])
        state[REF_READY] = max(state[REF_READY], now + state[T.PRE_REF])
    elif command == REF_ALL:
        state[ACT_READY] = max(state[ACT_READY], now + state[T.REF_ACT])
        state[REF_READY] = max(state[REF_READY], now + state[T.REF_REF])
    else:
        state[bank + B_ACT_READY] = max(state[bank + B_ACT_READY], now + state[T.REFPB_ACT_BANK])
        state[bank + B_REF_READY] = now + state[T.REFPB_REFPB_BANK]
        state[REFPB_READY] = now + state[T.REFPB_REFPB]
    if command in (ACT, REF_BANK):
        _count_in_windows(state, now)
    _log(state, now, command, bank, row)


@inline
def _count_in_windows(state: IntArray, now: int) -> None:
    """An activate, or the refresh of a bank, counts in the windows of 4 and of 32 activates."""
    count = state[WINDOW_COUNT]
    state[ACTIVATE_TICKS + (count & (LAST_ACTIVATES - 1))] = now
    state[WINDOW_COUNT] = count + 1
    fourth_last = state[ACTIVATE_TICKS + ((count - 3) & (LAST_ACTIVATES - 1))]
    oldest = state[ACTIVATE_TICKS + ((count + 1) & (LAST_ACTIVATES - 1))]
    window = max(fourth_last + state[T.FOUR_ACTIVATES], oldest + state[T.THIRTYTWO_ACTIVATES])
    state[ACT_READY] = max(state[ACT_READY], window)


@inline
def after_column_command(state: IntArray, now: int, bank: int, is_write: int) -> None:
    """Record a read or write of ``bank``."""
    bus_free = now + state[T.COLUMN_TICKS]
    state[COLUMN_BUS_FREE] = bus_free
    if not state[T.SEPARATE_BUSES]:
        state[ROW_BUS_FREE] = bus_free
    group = state[bank + B_GROUP]
    reads = now + state[T.RD_RD + is_write]
    reads_of_group = now + state[T.RD_RD_GROUP + is_write]
    state[READ_READY] = max(state[READ_READY], reads)
    state[WRITE_READY] = max(state[WRITE_READY], now + state[T.RD_WR + is_write])
    state[group + G_READ_READY] = max(state[group + G_READ_READY], reads_of_group)
    state[group + G_WRITE_READY] = max(state[group + G_WRITE_READY], now + state[T.RD_WR_GROUP + is_write])
    state[bank + B_PRE_READY] = max(state[bank + B_PRE_READY], now + state[T.RD_PRE + is_write])
    if not is_write:
        for stack in range(STACKS, state[STACKS_END]):
            if stack != state[bank + B_STACK]:
                state[stack] = now + state[T.RD_RD_STACK]
    _log(state, now, RD + is_write, bank, state[bank + B_ROW])


@inline
def _log(state: IntArray, now: int, command: int, bank: int, row: int) -> None:
    """Append to the command log if there is room; count in any case."""
    if state[LOGGED] < state[LOG_COMMANDS]:
        line = state[LOG] + LOG_FIELDS * state[LOGGED]
        state[line] = now
        state[line + 1] = command
        state[line + 2] = state[bank + B_INDEX] if bank >= 0 else NONE
        state[line + 3] = row
    state[LOGGED] += 1
