"""One channel's state: a flat int64 array that the jitted controllers read and write, and the names of its places.

Registers, timing constants (:mod:`uarch.dram.controller.timing`) and options stand at fixed places, then come records: bank
groups, sets of banks, banks, waiting requests, and last what the channel reports: completion by tag and a command log.
Kernels name a bank, a group or a request by the place of its record, so that a field is ``state[bank + B_ROW]``.

A bank keeps its waiting reads and writes (direction 0 and 1) in two lists in order of age, and remembers in each the
oldest request that hits the open row and the oldest one that needs a row command. For each kind of candidate command there
is a set of the banks that have one, and a *bound*: a tick before which none of them can be ready.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from uarch.arrays import IntArray
from uarch.dram.controller import timing as T  # noqa: N812
from uarch.dram.controller.options import MAX_BANKS, ControllerOptions
from uarch.dram.standards.standard import Standard


def typed(value: int) -> int:
    """A constant that Numba types as int64 and not as a literal, for which it would compile a callee anew."""
    return cast("int", np.int64(value))


NONE = typed(-1)
NEVER = typed(2**61)
ACT, PRE, RD, WR, REF_ALL, PRE_ALL, REF_BANK = map(typed, range(7))
COMMANDS = T.COMMANDS
LOG_FIELDS = 4

# Registers.
(NOW, SEQUENCE, WRITE_MODE, READS_WAITING, WRITES_WAITING, FREE_ENTRY, READ_STACK, OTHER_STACKS_READY, NEXT_REFRESH,
 REFRESHES_DUE, REFRESH_BANK, REFRESH_BOUND, OPEN_SINCE, OPEN_TICKS, HITS, MISSES, CONFLICTS, ACTIVATES, PRECHARGES,
 REFRESHES, READS, WRITES, FORWARDED, LAST_DATA, LAST_TAG, LOGGED, BANKS_END, COMPLETION, LOG, LOG_COMMANDS,
 WINDOW_COUNT) = range(31)  # fmt: skip

# Sets of banks, a bit each: open ones, and those with a request that needs a row command, that hits the open row (each for
# reads and for writes), whose row was opened for it (a read, a write), and those that may be closed.
OPEN, ROW_NEEDED, ROW_NEEDED_WRITES, HIT, HIT_WRITES, ACTIVE_READS, ACTIVE_WRITES, UNUSED = range(40, 48)

# Bounds by kind of candidate; the command is the kind modulo 4. Kinds for reads, then for writes (so much higher: row commands
# and hits), unused rows and active ones.
BOUNDS = 48
ROW_TO_WRITES, HIT_TO_WRITES = 4, 5
(K_ACT, K_PRE, K_HIT, _, K_ACT_WRITES, K_PRE_WRITES, _, K_HIT_WRITES, _, K_UNUSED, K_ACTIVE_READS,
 K_ACTIVE_WRITES) = map(typed, range(12))  # fmt: skip

# Earliest tick of the next command, by command, as far as the whole channel decides it.
READY = 96

# Options, from ControllerOptions.lowered().
OPTIONS = 112
(O_READ_QUEUE, O_WRITE_QUEUE, O_HIGH_PERCENT, O_LOW_PERCENT, O_SCHEDULER, O_CLOSED_PAGE, O_CAP,
 O_REFRESH) = range(OPTIONS, OPTIONS + 8)  # fmt: skip
FRFCFS_ROWHIT, FRFCFS, FCFS = range(3)
NO_REFRESH, REFRESH_ALL, REFRESH_BANKS = range(3)

# Last ticks of the last commands that count in the windows of activates: a ring, indexed by WINDOW_COUNT modulo its size.
ACTIVATE_TICKS = 320
LAST_ACTIVATES = 32

# Bank groups: earliest tick of the next command, by command.
GROUPS = ACTIVATE_TICKS + LAST_ACTIVATES

# Banks.
FIRST_BANK = GROUPS + MAX_BANKS * T.NEXT_COMMANDS
BANK_FIELDS = 32
B_READY = 0
(B_ROW, B_ACCESSES, B_ACTIVE, B_GROUP, B_STACK, B_INDEX, B_BIT, B_HEAD, B_HEAD_WRITES, B_TAIL, B_TAIL_WRITES, B_HIT,
 B_HIT_WRITES, B_NEEDS_ROW, B_NEEDS_ROW_WRITES) = range(8, 23)  # fmt: skip

# Waiting requests.
ENTRIES = FIRST_BANK + MAX_BANKS * BANK_FIELDS
ENTRY_FIELDS = 8
E_NEXT, E_PREVIOUS, E_ROW, E_SEQUENCE, E_TAG, E_TOUCHED, E_WRITE, E_COLUMN = range(8)


def new_channel(standard: Standard, options: ControllerOptions, tags: int, log_commands: int = 0) -> IntArray:
    """State of an idle channel at tick 0; shape ``(places,)``. It keeps the completions of tags below ``tags``."""
    banks = standard.banks
    entries = 2 * options.queue + banks
    completion = ENTRIES + entries * ENTRY_FIELDS
    log = completion + tags
    state = np.zeros(log + log_commands * LOG_FIELDS, dtype=np.int64)
    T.lower_timing(state, standard, command_buses=options.scheduler != "dramsim3")
    state[OPTIONS : OPTIONS + 8] = options.lowered()
    state[ACTIVATE_TICKS : ACTIVATE_TICKS + LAST_ACTIVATES] = -NEVER
    state[BANKS_END] = FIRST_BANK + banks * BANK_FIELDS
    state[[COMPLETION, LOG, LOG_COMMANDS]] = completion, log, log_commands
    state[completion:log] = NONE
    state[BOUNDS : BOUNDS + 12] = NEVER
    state[NEXT_REFRESH] = _first_refresh(state)
    state[REFRESH_BANK] = FIRST_BANK
    _fill_records(state, banks, entries)
    return state


def _fill_records(state: IntArray, banks: int, entries: int) -> None:
    """Banks know their group, stack ID and index and are closed and empty; free entries are linked."""
    table = state[FIRST_BANK : FIRST_BANK + banks * BANK_FIELDS].reshape(banks, BANK_FIELDS)
    index = np.arange(banks)
    table[:, [B_ROW, B_ACTIVE, *range(B_HEAD, B_NEEDS_ROW_WRITES + 1)]] = NONE
    table[:, B_INDEX] = index
    table[:, B_BIT] = np.left_shift(1, index)
    table[:, B_GROUP] = GROUPS + T.NEXT_COMMANDS * (index // state[T.BANKS_PER_GROUP])
    table[:, B_STACK] = index // state[T.BANKS_PER_STACK]
    places = ENTRIES + ENTRY_FIELDS * np.arange(entries, dtype=np.int64)
    state[places[:-1] + E_NEXT] = places[1:]
    state[places[-1] + E_NEXT] = NONE
    state[FREE_ENTRY] = ENTRIES


def completion_ticks(state: IntArray) -> IntArray:
    """Tick of the last data of each read, of the acceptance of each write, by tag; NONE before. A view."""
    return state[state[COMPLETION] : state[LOG]]


def command_log(state: IntArray) -> IntArray:
    """Commands so far, as many as had room: tick, command, bank index (NONE: all) and row; shape ``(commands, 4)``."""
    stored = min(state[LOGGED], state[LOG_COMMANDS])
    return state[state[LOG] : state[LOG] + stored * LOG_FIELDS].reshape(stored, LOG_FIELDS)


def _first_refresh(state: IntArray) -> int:
    if state[O_REFRESH] == REFRESH_ALL:
        return int(state[T.REFRESH_INTERVAL])
    if state[O_REFRESH] == REFRESH_BANKS:
        return int(state[T.BANK_REFRESH_INTERVAL])
    return NEVER
