"""When a command may start, and what each command forbids from then on (jitted).

Where a clock has two ticks, activates, column commands and refreshes start on the first half (odd ticks), precharges on
the second.
"""

from __future__ import annotations

from uarch.arrays import IntArray
from uarch.dram.controller import timing as T  # noqa: N812
from uarch.dram.controller.state import (
    ACT,
    ACTIVATE_TICKS,
    ACTIVATES,
    B_GROUP,
    B_INDEX,
    B_READY,
    B_ROW,
    B_STACK,
    LAST_ACTIVATES,
    LOG,
    LOG_COMMANDS,
    LOG_FIELDS,
    LOGGED,
    NONE,
    OTHER_STACKS_READY,
    RD,
    READ_STACK,
    READY,
    REF_BANK,
    WINDOW_COUNT,
)
from uarch.jit import inline

_HALF = T.NEXT_COMMANDS // 2


@inline
def bank_ready(state: IntArray, bank: int, command: int) -> int:
    """Earliest tick of a command as far as its bank, its bank group and, for reads, other stacks decide."""
    ready = max(state[bank + B_READY + command], state[state[bank + B_GROUP] + command])
    if command == RD and state[bank + B_STACK] != state[READ_STACK]:
        ready = max(ready, state[OTHER_STACKS_READY])
    return int(ready)


@inline
def on_its_half(state: IntArray, tick: int, command: int) -> int:
    """The tick itself, or the next one if the command starts on the other half of a clock."""
    return int(tick + ((tick ^ state[T.ON_FIRST_HALF + command]) & state[T.HALF_CLOCK]))


@inline
def ready_tick(state: IntArray, now: int, bank: int, command: int) -> int:
    """Earliest tick of a command, not before ``now``, as far as commands issued until now decide it."""
    return on_its_half(state, max(bank_ready(state, bank, command), state[READY + command], now), command)


@inline
def record_row_command(state: IntArray, now: int, command: int, bank: int, row: int) -> None:
    """An activate, precharge or refresh of ``bank`` (NONE: all banks) starts at tick ``now``."""
    _record(state, now, command, bank, row)
    if command in (ACT, REF_BANK):
        is_activate = command == ACT
        _count_in_windows(state, now + state[T.LAST_OF_ACTIVATE if is_activate else T.LAST_OF_REFRESH])
        state[ACTIVATES] += is_activate


@inline
def record_column_command(state: IntArray, now: int, bank: int, is_write: int) -> None:
    """A read or write of ``bank`` starts at tick ``now``."""
    _record(state, now, RD + is_write, bank, state[bank + B_ROW])
    if not is_write:
        state[READ_STACK] = state[bank + B_STACK]
        state[OTHER_STACKS_READY] = now + state[T.OTHER_STACK]


@inline
def _record(state: IntArray, now: int, command: int, bank: int, row: int) -> None:
    """Note when the commands that this one delays are ready, and log it."""
    delays = T.DELAYS + command * T.COMMAND_DELAYS
    group, every = delays + T.NEXT_COMMANDS, delays + 2 * T.NEXT_COMMANDS
    _delay(state, now, READY, every)
    _delay(state, now, READY + _HALF, every + _HALF)
    if bank >= 0:
        _delay(state, now, bank + B_READY, delays)
        _delay(state, now, bank + B_READY + _HALF, delays + _HALF)
        _delay(state, now, state[bank + B_GROUP], group)
        _delay(state, now, state[bank + B_GROUP] + _HALF, group + _HALF)
    if state[LOGGED] < state[LOG_COMMANDS]:
        line = state[LOG] + LOG_FIELDS * state[LOGGED]
        state[line] = now
        state[line + 1] = command
        state[line + 2] = state[bank + B_INDEX] if bank >= 0 else NONE
        state[line + 3] = row
    state[LOGGED] += 1


@inline
def _delay(state: IntArray, now: int, ready: int, delays: int) -> None:
    """The next commands of four kinds, no earlier than ``delays`` after ``now``; all loads come before all stores."""
    first = max(state[ready], now + state[delays])
    second = max(state[ready + 1], now + state[delays + 1])
    third = max(state[ready + 2], now + state[delays + 2])
    fourth = max(state[ready + 3], now + state[delays + 3])
    state[ready] = first
    state[ready + 1] = second
    state[ready + 2] = third
    state[ready + 3] = fourth


@inline
def _count_in_windows(state: IntArray, last_tick: int) -> None:
    """An activate, or the refresh of a bank, counts in the windows of 4 and of 32 activates, and waits for them."""
    count = state[WINDOW_COUNT]
    state[ACTIVATE_TICKS + (count & (LAST_ACTIVATES - 1))] = last_tick
    state[WINDOW_COUNT] = count + 1
    fourth_last = state[ACTIVATE_TICKS + ((count - 3) & (LAST_ACTIVATES - 1))]
    oldest = state[ACTIVATE_TICKS + ((count + 1) & (LAST_ACTIVATES - 1))]
    window = max(fourth_last + state[T.FOUR_ACTIVATES], oldest + state[T.THIRTYTWO_ACTIVATES])
    state[READY + ACT] = max(state[READY + ACT], window - state[T.LAST_OF_ACTIVATE])
    state[READY + REF_BANK] = max(state[READY + REF_BANK], window - state[T.LAST_OF_REFRESH])
