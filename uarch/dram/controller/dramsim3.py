"""The second controller policy, as in DRAMsim3: a command queue for each bank, round robin over banks (jitted).

Requests wait in a read queue and a write buffer; each tick the first one whose bank has room moves into that bank's
command queue of 8. The write buffer drains when it is full, or when it holds more than 8 and all command queues are
empty. From the queues, beginning after the bank served last, the first command that is ready is issued; a precharge
only for the head of a queue, and not while the row has hits waiting and fewer than 4 accesses. A due refresh stops all
queues, and precharges bank by bank. With separate buses a second command may follow in the same tick if one of the two
is a column command and the other is not. Reads of an address that is waiting already share its data.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uarch.arrays import IntArray
from uarch.dram.controller import timing as T  # noqa: N812
from uarch.dram.controller.constraints import ready_tick, record_column_command, record_row_command
from uarch.dram.controller.state import (
    ACT,
    B_ACCESSES,
    B_BIT,
    B_ROW,
    BANK_FIELDS,
    BANKS_END,
    COMPLETION,
    FIRST_BANK,
    FORWARDED,
    HITS,
    NEVER,
    NEXT_REFRESH,
    NONE,
    NOW,
    OPEN,
    OPEN_SINCE,
    OPEN_TICKS,
    PRE,
    PRECHARGES,
    RD,
    READS,
    READY,
    REF_ALL,
    REFRESHES,
    WR,
    typed,
)
from uarch.jit import inline, kernel

COMMAND_QUEUE = 8
HITS_BEFORE_PRECHARGE = 4
DRAIN_ABOVE = 8
_READ, _WRITE = typed(0), typed(1)


class Requests(NamedTuple):
    """A request stream; all arrays have shape ``(n,)``, int64, and are indexed by tag."""

    arrival: IntArray
    is_write: IntArray
    bank: IntArray
    row: IntArray
    column: IntArray


class RoundRobinQueues(NamedTuple):
    """Requests that wait, by their tags; int64 arrays."""

    waiting: IntArray
    """Read queue and write buffer, oldest first; shape ``(2, entries)``."""
    commands: IntArray
    """Command queue of each bank, oldest first; shape ``(banks, COMMAND_QUEUE)``."""
    lengths: IntArray
    """Lengths of the command queues, shape ``(banks,)``."""
    registers: IntArray
    """Registers of the scheduler, named ``Q_*`` here; shape ``(Q_REGISTERS,)``."""
    sharing: IntArray
    """Next read that shares each read's data, or NONE; shape ``(n,)``."""


Q_READS, Q_WRITES, Q_DRAINING, Q_BANK, Q_IN_COMMANDS, Q_REFRESHING, Q_BOUND, Q_READS_OPEN = range(8)
Q_REGISTERS = 8


def new_queues(banks: int, entries: int, requests: int) -> RoundRobinQueues:
    """Empty queues for a stream of ``requests`` requests."""
    return RoundRobinQueues(
        waiting=np.zeros((2, entries), dtype=np.int64),
        commands=np.zeros((banks, COMMAND_QUEUE), dtype=np.int64),
        lengths=np.zeros(banks, dtype=np.int64),
        registers=np.zeros(Q_REGISTERS, dtype=np.int64),
        sharing=np.full(requests, NONE, dtype=np.int64),
    )


@inline
def _same_place(requests: Requests, first: int, second: int) -> bool:
    same_row = requests.bank[first] == requests.bank[second] and requests.row[first] == requests.row[second]
    return bool(same_row and requests.column[first] == requests.column[second])


@inline
def _find_waiting(queues: RoundRobinQueues, requests: Requests, tag: int, is_write: int) -> int:
    """Tag of a waiting read or write of the address of request ``tag``, or NONE."""
    for place in range(queues.registers[Q_READS + is_write]):
        other = queues.waiting[is_write, place]
        if _same_place(requests, other, tag):
            return int(other)
    bank = requests.bank[tag]
    for place in range(queues.lengths[bank]):
        other = queues.commands[bank, place]
        if requests.is_write[other] == is_write and _same_place(requests, other, tag):
            return int(other)
    return NONE


@inline
def _accept(state: IntArray, queues: RoundRobinQueues, requests: Requests, tag: int, now: int) -> bool:
    """Take a request into its queue; False if that is full."""
    is_write = requests.is_write[tag]
    length = queues.registers[Q_READS + is_write]
    if length >= queues.waiting.shape[1]:
        return False
    pending_write = _find_waiting(queues, requests, tag, _WRITE)
    if is_write or pending_write >= 0:
        state[state[COMPLETION] + tag] = now + 1
        if pending_write >= 0:
            state[FORWARDED] += 1
            return True
    else:
        queues.registers[Q_READS_OPEN] += 1
        leader = _find_waiting(queues, requests, tag, _READ)
        if leader >= 0:
            queues.sharing[tag] = queues.sharing[leader]
            queues.sharing[leader] = tag
            return True
    queues.waiting[is_write, length] = tag
    queues.registers[Q_READS + is_write] = length + 1
    return True


@inline
def _move_to_commands(queues: RoundRobinQueues, requests: Requests) -> bool:
    """Move the first request that has room in its bank's command queue; True if there was one."""
    registers = queues.registers
    if registers[Q_DRAINING] == 0:
        writes = registers[Q_WRITES]
        if writes >= queues.waiting.shape[1] or (writes > DRAIN_ABOVE and registers[Q_IN_COMMANDS] == 0):
            registers[Q_DRAINING] = writes
    kind = 1 if registers[Q_DRAINING] > 0 else 0
    for place in range(registers[Q_READS + kind]):
        tag = queues.waiting[kind, place]
        bank = requests.bank[tag]
        if queues.lengths[bank] < COMMAND_QUEUE:
            if kind:
                if registers[Q_READS_OPEN] > 0 and _find_waiting(queues, requests, tag, _READ) >= 0:
                    registers[Q_DRAINING] = 0
                    return False
                registers[Q_DRAINING] -= 1
            queues.commands[bank, queues.lengths[bank]] = tag
            queues.lengths[bank] += 1
            registers[Q_IN_COMMANDS] += 1
            registers[Q_READS + kind] -= 1
            for later in range(place, registers[Q_READS + kind]):
                queues.waiting[kind, later] = queues.waiting[kind, later + 1]
            return True
    return False


@inline
def _ready_command(
    state: IntArray, queues: RoundRobinQueues, requests: Requests, now: int, index: int, place: int
) -> int:
    """The command that an entry of a command queue needs, if it may be issued now; else NONE and a lower bound."""
    bank = FIRST_BANK + index * BANK_FIELDS
    tag = queues.commands[index, place]
    row = state[bank + B_ROW]
    if row < 0:
        command = ACT
    elif row == requests.row[tag]:
        command = RD + requests.is_write[tag]
    else:
        command = PRE
    ready = ready_tick(state, now, bank, command)
    if command == PRE:
        has_hits = False
        for later in range(place, queues.lengths[index]):
            has_hits = has_hits or requests.row[queues.commands[index, later]] == row
        if place > 0 or (has_hits and state[bank + B_ACCESSES] < HITS_BEFORE_PRECHARGE):
            ready = NEVER
    queues.registers[Q_BOUND] = min(queues.registers[Q_BOUND], ready)
    return command if ready <= now else NONE


@inline
def _issue(state: IntArray, queues: RoundRobinQueues, now: int, command: int, bank: int, row: int, tag: int) -> None:
    """Issue a command; ``bank`` is the place of its record."""
    if command in (RD, WR):
        state[HITS] += 1 if state[bank + B_ACCESSES] > 0 else 0
        state[bank + B_ACCESSES] += 1
        record_column_command(state, now, bank, command - RD)
        state[READS + command - RD] += 1
        while command == RD and tag >= 0:
            state[state[COMPLETION] + tag] = now + state[T.READ_LATENCY]
            queues.registers[Q_READS_OPEN] -= 1
            tag = queues.sharing[tag]
    else:
        record_row_command(state, now, command, bank, row)
        if command == ACT:
            state[bank + B_ROW] = row
            state[bank + B_ACCESSES] = 0
            if state[OPEN] == 0:
                state[OPEN_SINCE] = now
            state[OPEN] |= state[bank + B_BIT]
        elif command == PRE:
            state[bank + B_ROW] = NONE
            state[PRECHARGES] += 1
            state[OPEN] ^= state[bank + B_BIT]
            if state[OPEN] == 0:
                state[OPEN_TICKS] += now - state[OPEN_SINCE]


@inline
def _refresh(state: IntArray, queues: RoundRobinQueues, now: int) -> int:
    """Issue a precharge or the refresh if one is ready; returns the command, or NONE."""
    for bank in range(FIRST_BANK, state[BANKS_END], BANK_FIELDS):
        if state[bank + B_ROW] >= 0:
            ready = ready_tick(state, now, bank, PRE)
            queues.registers[Q_BOUND] = min(queues.registers[Q_BOUND], ready)
            if ready <= now:
                _issue(state, queues, now, PRE, bank, state[bank + B_ROW], NONE)
                return PRE
    if state[OPEN] != 0:
        return NONE
    queues.registers[Q_BOUND] = min(queues.registers[Q_BOUND], max(now, state[READY + REF_ALL]))
    if state[READY + REF_ALL] > now:
        return NONE
    _issue(state, queues, now, REF_ALL, NONE, NONE, NONE)
    state[REFRESHES] += 1
    queues.registers[Q_REFRESHING] = 0
    return REF_ALL


@inline
def _round_robin(state: IntArray, queues: RoundRobinQueues, requests: Requests, now: int, first: int) -> int:
    """Issue the next ready command of the command queues; returns it, or NONE.

    After ``first``, a command of the same tick (NONE: there was none), only a command for the other bus is issued.
    """
    registers = queues.registers
    if registers[Q_REFRESHING]:
        return NONE
    banks = len(queues.lengths)
    for _ in range(banks):
        registers[Q_BANK] = registers[Q_BANK] + 1 if registers[Q_BANK] + 1 < banks else 0
        index = registers[Q_BANK]
        for place in range(queues.lengths[index]):
            command = _ready_command(state, queues, requests, now, index, place)
            if command >= 0:
                is_column = command in (RD, WR)
                if first >= 0 and is_column == (first in (RD, WR)):
                    return NONE
                tag = queues.commands[index, place]
                bank = FIRST_BANK + index * BANK_FIELDS
                row = state[bank + B_ROW] if command == PRE else requests.row[tag]
                _issue(state, queues, now, command, bank, row, tag)
                if is_column:
                    queues.lengths[index] -= 1
                    registers[Q_IN_COMMANDS] -= 1
                    for later in range(place, queues.lengths[index]):
                        queues.commands[index, later] = queues.commands[index, later + 1]
                return command
    return NONE


@kernel
def replay_round_robin(
    state: IntArray, queues: RoundRobinQueues, requests: Requests, offers_per_tick: int, accepted: IntArray
) -> None:
    """Offer requests in order from tick 1 on, each until it is accepted; then run until all reads have their data.

    ``state`` is a new channel with one tag for each request; writes the tick of acceptance to ``accepted``.
    """
    registers = queues.registers
    count = len(requests.arrival)
    now = state[NOW]
    request = 0
    while request < count or registers[Q_READS_OPEN] > 0:
        now += 1
        offered = 0
        refused = False
        while request < count and offered < offers_per_tick and requests.arrival[request] <= now and not refused:
            refused = not _accept(state, queues, requests, request, now)
            if not refused:
                accepted[request] = now
                request += 1
                offered += 1
        if now == state[NEXT_REFRESH]:
            state[NEXT_REFRESH] += state[T.REFRESH_INTERVAL]
            registers[Q_REFRESHING] = 1
        registers[Q_BOUND] = state[NEXT_REFRESH]
        command = _refresh(state, queues, now) if registers[Q_REFRESHING] else NONE
        if command < 0:
            command = _round_robin(state, queues, requests, now, NONE)
        if command >= 0 and state[T.SEPARATE_BUSES]:
            _round_robin(state, queues, requests, now, command)
        moved = _move_to_commands(queues, requests)
        if command < 0 and not moved and offered == 0:
            if request < count and not refused:
                registers[Q_BOUND] = min(registers[Q_BOUND], requests.arrival[request])
            now = max(now, registers[Q_BOUND] - 1)
    state[NOW] = now
