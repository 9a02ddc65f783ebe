"""The ``tile`` fidelity: a channel serves what a granule has in a set of rows as one visit, in a time that was measured.

A channel chooses among the visits in its queues as its controller does among requests: the visit that can start first,
the oldest among equals; reads, until the write queue is filled beyond its high watermark or no read waits, then writes
down to the low one. What each choice costs was measured on the command-level model
(:mod:`uarch.dram.channels.measured_service`): a visit goes on with a run in open rows, or opens rows in closed banks, or
closes others first, which may start only a while after their last use; the bus turns round between reads and writes; a
refresh is dead time.

The channels of a group that have so far been asked for whole stripes only are in the same state, which is kept once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uarch.arrays import IntArray
from uarch.dram.channels.completions import first_completion
from uarch.dram.channels.placement import location_of, stripe_of
from uarch.dram.channels.tile_timing import TileTiming
from uarch.dram.channels.visits import (
    MOST_IDLE_TURNS,
    NO_VISIT,
    STANDSTILL,
    Waiting,
    append_visit,
    bursts_came,
    bursts_of,
    expect_read,
    give_up,
    open_waiting,
    piece_of,
    remove_visit,
)
from uarch.dram.controller.addresses import BANK_SHIFT
from uarch.events import Event
from uarch.jit import constant, inline, loop_kernel
from uarch.picoseconds import duration_ps
from uarch.program.records import NONE, StructArray
from uarch.wake_tree import NEVER, earliest_sleeper, set_wake

_NO_ROW = constant(NONE)
_READ, _WRITE = constant(0), constant(1)
_READ_BYTES, _WRITE_BYTES = int(Event.DRAM_READ_BYTES), int(Event.DRAM_WRITE_BYTES)
_ROW_HITS, _ROW_MISSES = int(Event.DRAM_ROW_HITS), int(Event.DRAM_ROW_MISSES)
_REFRESHES, _BUS_PS = int(Event.DRAM_REFRESHES), int(Event.DRAM_BUS_PS)

CHANNEL = np.dtype(
    [
        ("turn_ps", np.int64),  # when it chooses again: not before the last visit's service is over
        ("free_ps", np.int64),  # end of the last visit's service
        ("kind", np.int64),  # of the last visit
        ("stack", np.int64),  # stack ID of its banks
        ("mode", np.int64),  # 0: serves reads, 1: writes
        ("mode_ps", np.int64),  # since when
        ("next_refresh_ps", np.int64),
        ("written_ps", np.int64),  # when all writes would have been served, had there been nothing else
    ]
)
QUEUE = np.dtype(
    [
        ("next", np.int64),  # the first visit of the list that is not in the queue yet
        ("bursts", np.int64),  # of the visits in the queue
    ]
)
ROWS = np.dtype(
    [
        ("row", np.int64),  # number of the set of rows that is open in a set of banks, or NONE
        ("run", np.int64),  # bursts of it visited
        ("end_ps", np.int64),  # of the last visit
        ("kind", np.int64),
    ]
)
TARGET = np.dtype(
    [
        ("row", np.int64),  # number of the set of rows
        ("banks", np.int64),  # number of the set of banks
        ("queued_ps", np.int64),  # when the visit came into the queue
    ]
)


class TileChannels(NamedTuple):
    """Working state. Of a group whose channels are alike, only the first channel's is kept up to date."""

    channels: StructArray
    """Records ``CHANNEL``, shape ``(channels,)``."""
    rows: StructArray
    """Records ``ROWS``, shape ``(channels, sets of banks)``."""
    queues: StructArray
    """Records ``QUEUE``, shape ``(channels, 2)``."""
    targets: StructArray
    """Records ``TARGET``, one for each visit."""
    alike: IntArray
    """Whether the channels of a group have been asked for whole stripes only."""
    waiting: Waiting


def open_tile_channels(timing: TileTiming, n_fetches: int, n_stores: int = 0) -> TileChannels:
    """Idle channels with closed rows and room for ``n_fetches`` reads and as many granules as cores store at a time.

    Groups of channels refresh one after the other.
    """
    place = timing.place
    n_groups = place.channels // place.width
    channels = np.zeros(place.channels, CHANNEL)
    group = np.arange(place.channels) // place.width + 1
    channels["next_refresh_ps"] = timing.refresh_interval_ps // n_groups * group
    rows = np.zeros((place.channels, int(timing.bank_sets.max()) + 1), ROWS)
    rows["row"] = NONE
    set_bytes = timing.burst_bytes << timing.set_bits
    waiting = open_waiting(place, min(place.piece_bytes, set_bytes), n_fetches, n_stores)
    targets = np.empty(len(waiting.visits), TARGET)
    alike = np.ones(n_groups, np.int64)
    return TileChannels(channels, rows, np.zeros((place.channels, 2), QUEUE), targets, alike, waiting)


@inline
def enqueue_read_visits(
    dram: TileChannels, timing: TileTiming, fetch: int, address: int, size_bytes: int, now_ps: int, events: IntArray
) -> None:
    """Ask for a granule or a part of it under a number; its completion appears in :func:`next_tile_completion`."""
    expect_read(dram.waiting, fetch, now_ps)
    _ask(dram, timing, _READ, fetch, address, size_bytes, now_ps)
    events[_READ_BYTES] += size_bytes


@inline
def enqueue_write_visits(
    dram: TileChannels, timing: TileTiming, address: int, size_bytes: int, now_ps: int, events: IntArray
) -> int:
    """Hand over a dirty granule; returns when the write queues have room, if their channels write at full rate."""
    taken_ps = _ask(dram, timing, _WRITE, 0, address, size_bytes, now_ps)
    events[_WRITE_BYTES] += size_bytes
    return taken_ps


@inline
def next_tile_completion(dram: TileChannels, timing: TileTiming, before_ps: int, events: IntArray) -> int:
    """Time of the next read completion, or NEVER; exact if it is not after ``before_ps``."""
    if dram.waiting.due[1] < min(first_completion(dram.waiting.completions), before_ps):
        _catch_up(dram, timing, before_ps, events)
    return first_completion(dram.waiting.completions)


@loop_kernel
def _catch_up(dram: TileChannels, timing: TileTiming, before_ps: int, events: IntArray) -> None:
    """Simulate channels until none can complete a read before ``before_ps`` and before the first known completion."""
    turns, served = 0, events[_BUS_PS]
    while dram.waiting.due[1] < min(first_completion(dram.waiting.completions), before_ps):
        channel = earliest_sleeper(dram.waiting.due)
        _simulate(dram, timing, channel, dram.waiting.due[1], events)
        turns = turns + 1 if events[_BUS_PS] == served else 0
        served = events[_BUS_PS]
        if turns > MOST_IDLE_TURNS:
            give_up(dram.waiting, STANDSTILL)
            return


@inline
def _ask(
    dram: TileChannels, timing: TileTiming, kind: int, fetch: int, address: int, size_bytes: int, now_ps: int
) -> int:
    """Let visits of all channels that hold a part of a request wait; returns when the write queues have room for it."""
    place = timing.place
    stripe_bytes = place.piece_bytes * place.width
    offset, taken_ps = 0, now_ps
    while offset < size_bytes:
        start = address + offset
        if start % stripe_bytes == 0 and size_bytes - offset >= stripe_bytes:
            channel, _, number = stripe_of(place, start)
            end = channel + (1 if dram.alike[channel // place.width] else place.width)
            local, piece_bytes, moved = number * place.piece_bytes, place.piece_bytes, stripe_bytes
        else:
            channel, local, piece_bytes = piece_of(place, start, size_bytes - offset)
            end, moved = channel + 1, piece_bytes
            if dram.alike[channel // place.width]:
                _tell_apart(dram, timing, channel // place.width)
        first = local // timing.burst_bytes
        end_burst = first + bursts_of(local, piece_bytes, timing.burst_bytes)
        while first < end_burst:
            count = min(end_burst, ((first >> timing.set_bits) + 1) << timing.set_bits) - first
            visited_ps = _visit(dram, timing, kind, fetch, channel, end, first, count, now_ps)
            taken_ps = max(taken_ps, visited_ps)
            first += count
        offset += moved
    return taken_ps


@inline
def _visit(
    dram: TileChannels,
    timing: TileTiming,
    kind: int,
    fetch: int,
    channel: int,
    end: int,
    first: int,
    count: int,
    now_ps: int,
) -> int:
    """Let bursts of one set of rows wait in each channel up to ``end``; returns when the write queues have room for them."""
    taken_ps = now_ps
    row = (first & (timing.bursts - 1)) >> timing.set_bits
    bank = (location_of(timing.locations, row << timing.set_bits) >> BANK_SHIFT) & 0xFFFF
    banks = timing.bank_sets[bank]
    for c in range(channel, end):
        visit = append_visit(dram.waiting, c, kind, fetch, first, count, now_ps)
        target, queue = dram.targets[visit], dram.queues[c, kind]
        target["row"] = row
        target["banks"] = banks
        if queue["next"] == NO_VISIT:
            queue["next"] = visit
        if kind == _WRITE:
            written = dram.channels[c]
            burst_ps = duration_ps(count * timing.burst_bytes, timing.byte)
            written["written_ps"] = max(written["written_ps"], now_ps) + burst_ps
            taken_ps = max(taken_ps, written["written_ps"] - timing.write_queue_ps)
        _look_again(dram, timing, c, now_ps)
    if kind == _READ:
        dram.waiting.pending[fetch]["bursts"] += count * (end - channel)
    return taken_ps


@inline
def _look_again(dram: TileChannels, timing: TileTiming, c: int, now_ps: int) -> None:
    """A channel that waits for rows to be opened, or for anything to do, may have something to do at once."""
    channel, due = dram.channels[c], dram.waiting.due
    at_once_ps = max(channel["free_ps"], now_ps)
    channel["turn_ps"] = min(channel["turn_ps"], at_once_ps)
    if due[len(due) // 2 + c] > at_once_ps + timing.lookahead_ps:
        set_wake(due, c, at_once_ps + timing.lookahead_ps)


@inline
def _simulate(dram: TileChannels, timing: TileTiming, c: int, now_ps: int, events: IntArray) -> None:
    """Let a channel make all choices until the present, and say when it must be looked at again."""
    place, channel = timing.place, dram.channels[c]
    times = place.width if dram.alike[c // place.width] else 1
    reads, writes = dram.queues[c, _READ], dram.queues[c, _WRITE]
    while True:
        turn_ps = channel["turn_ps"]
        if reads["bursts"] + writes["bursts"] == 0:
            turn_ps = max(turn_ps, min(_next_arrival(dram, c, _READ), _next_arrival(dram, c, _WRITE)))
        if turn_ps > now_ps:
            break
        channel["turn_ps"] = turn_ps
        if turn_ps >= channel["next_refresh_ps"]:
            _refresh(dram, timing, c, times, events)
            continue
        _admit(dram, timing, c, _READ)
        _admit(dram, timing, c, _WRITE)
        _choose_mode(timing, channel, reads["bursts"], writes["bursts"])
        _choose(dram, timing, c, times, events)
    set_wake(dram.waiting.due, c, turn_ps + timing.lookahead_ps if turn_ps < NEVER else NEVER)


@inline
def _next_arrival(dram: TileChannels, c: int, kind: int) -> int:
    """Arrival of the first visit that is not in the queue yet, or NEVER."""
    number = dram.queues[c, kind]["next"]
    return int(dram.waiting.visits[number]["arrival"]) if number != NO_VISIT else NEVER


@inline
def _admit(dram: TileChannels, timing: TileTiming, c: int, kind: int) -> None:
    """Take visits that have arrived into the queue while it has room for a burst."""
    queue, turn_ps = dram.queues[c, kind], dram.channels[c]["turn_ps"]
    number = queue["next"]
    while number != NO_VISIT and queue["bursts"] < timing.queue:
        visit = dram.waiting.visits[number]
        if visit["arrival"] > turn_ps:
            break
        dram.targets[number]["queued_ps"] = max(visit["arrival"], dram.channels[c]["mode_ps"])
        queue["bursts"] += visit["count"]
        number = visit["next"]
    queue["next"] = number


@inline
def _choose_mode(timing: TileTiming, channel: StructArray, reads: int, writes: int) -> None:
    """Switch between reads and writes if the watermarks say so."""
    if channel["mode"] == _WRITE:
        change = writes < timing.low_bursts and reads > 0
    else:
        change = writes > timing.high_bursts or reads == 0
    if change:
        channel["mode"] = 1 - channel["mode"]
        channel["mode_ps"] = channel["turn_ps"]


@inline
def _choose(dram: TileChannels, timing: TileTiming, c: int, times: int, events: IntArray) -> None:
    """Serve the visit that can start first, or wait until one can."""
    channel = dram.channels[c]
    kind, turn_ps = channel["mode"], channel["turn_ps"]
    queue_end = dram.queues[c, kind]["next"]
    turnaround_ps = timing.turnaround_ps[kind] if kind != channel["kind"] else 0
    free_ps = max(channel["free_ps"] + turnaround_ps, turn_ps)
    best, before_best, best_ps = NO_VISIT, NO_VISIT, NEVER
    previous, number = NO_VISIT, dram.waiting.lists[c, kind]["first"]
    sets_seen = 0
    while number != queue_end and best_ps > free_ps:
        banks = dram.targets[number]["banks"]
        start_ps = max(free_ps, _ready(dram, timing, c, number, sets_seen & (1 << banks)))
        if kind == _READ and timing.stacks[banks] != channel["stack"]:
            start_ps = max(start_ps, channel["free_ps"] + timing.stack_ps)
        sets_seen |= 1 << banks
        if start_ps < best_ps:
            best, before_best, best_ps = number, previous, start_ps
        previous, number = number, dram.waiting.visits[number]["next"]
    if best_ps > turn_ps:  # what arrives in the meantime may go first
        for other in range(2):
            if dram.queues[c, other]["bursts"] < timing.queue:
                best_ps = min(best_ps, _next_arrival(dram, c, other))
        channel["turn_ps"] = min(best_ps, channel["next_refresh_ps"])
    else:
        _serve(dram, timing, c, kind, best, before_best, times, events)


@inline
def _ready(dram: TileChannels, timing: TileTiming, c: int, number: int, is_second: int) -> int:
    """When the rows of a visit are open, at the earliest; ``is_second``: an older visit waits for the same banks.

    Open rows are kept for a younger visit only if it follows before they can be closed for the older one.
    """
    target, count = dram.targets[number], dram.waiting.visits[number]["count"]
    rows, channel = dram.rows[c, target["banks"]], dram.channels[c]
    is_open = rows["row"] == target["row"]
    if is_open and not is_second:
        return 0
    since_ps = max(target["queued_ps"], channel["mode_ps"])
    if rows["row"] == _NO_ROW:
        return NEVER if is_second else int(since_ps + timing.opening_ps[0, count])
    recovered_ps = rows["end_ps"] + timing.recovery_ps[rows["kind"], count]
    if is_open:
        closed_ps = rows["end_ps"] + timing.closing_ps[rows["kind"]]
        return 0 if max(channel["turn_ps"], channel["free_ps"]) <= closed_ps else NEVER
    return NEVER if is_second else int(max(since_ps + timing.opening_ps[1, count], recovered_ps))


@inline
def _serve(
    dram: TileChannels,
    timing: TileTiming,
    c: int,
    kind: int,
    number: int,
    previous: int,
    times: int,
    events: IntArray,
) -> None:
    """Serve a visit from the channel's turn on; ``times`` is the number of channels that do the same."""
    channel, visit, target = dram.channels[c], dram.waiting.visits[number], dram.targets[number]
    rows, count = dram.rows[c, target["banks"]], visit["count"]
    before = min(rows["run"], (1 << timing.set_bits) - count) if rows["row"] == target["row"] else 0
    after = before + count
    end_ps = channel["turn_ps"] + timing.run_ps[after] - timing.run_ps[before]
    rows["row"] = target["row"]
    rows["run"] = after
    rows["end_ps"] = end_ps
    rows["kind"] = kind
    channel["turn_ps"] = end_ps
    channel["free_ps"] = end_ps
    channel["kind"] = kind
    channel["stack"] = timing.stacks[target["banks"]]
    activates = min(after, timing.set_banks) - min(before, timing.set_banks)
    events[_ROW_MISSES] += times * activates
    events[_ROW_HITS] += times * (count - activates)
    events[_BUS_PS] += times * duration_ps(count * timing.burst_bytes, timing.byte)
    dram.waiting.lists[c, kind]["bursts"] -= count
    dram.queues[c, kind]["bursts"] -= count
    remove_visit(dram.waiting, c, kind, previous, number)
    if kind == _READ:
        bursts_came(dram.waiting, visit["fetch"], count, end_ps + timing.pipeline_ps, timing.latency_ps)


@inline
def _refresh(dram: TileChannels, timing: TileTiming, c: int, times: int, events: IntArray) -> None:
    """Refreshes that are due: of those that fell into an idle gap only the last can delay anything."""
    channel = dram.channels[c]
    count = (channel["turn_ps"] - channel["next_refresh_ps"]) // timing.refresh_interval_ps + 1
    last_ps = channel["next_refresh_ps"] + (count - 1) * timing.refresh_interval_ps
    channel["free_ps"] = max(channel["free_ps"], last_ps) + timing.refresh_ps
    channel["turn_ps"] = max(channel["turn_ps"], channel["free_ps"])
    channel["next_refresh_ps"] = last_ps + timing.refresh_interval_ps
    if timing.refresh_closes:
        for i in range(dram.rows.shape[1]):
            dram.rows[c, i]["row"] = _NO_ROW
    events[_REFRESHES] += times * count


@loop_kernel
def _tell_apart(dram: TileChannels, timing: TileTiming, group: int) -> None:
    """Give the channels of a group states of their own from now on."""
    dram.alike[group] = 0
    first, due, waiting = group * timing.place.width, dram.waiting.due, dram.waiting
    for c in range(first + 1, first + timing.place.width):
        dram.channels[c] = dram.channels[first]
        for i in range(dram.rows.shape[1]):
            dram.rows[c, i] = dram.rows[first, i]
        for kind in range(2):
            queue, own = dram.queues[first, kind], dram.queues[c, kind]
            own["bursts"] = queue["bursts"]
            number = waiting.lists[first, kind]["first"]
            while number != NO_VISIT:
                visit = waiting.visits[number]
                fetch, count = visit["fetch"], visit["count"]
                copy = append_visit(waiting, c, kind, fetch, visit["burst"], count, visit["arrival"])
                dram.targets[copy] = dram.targets[number]
                if queue["next"] == number:
                    own["next"] = copy
                if kind == _READ:
                    waiting.pending[fetch]["bursts"] += count
                number = visit["next"]
        set_wake(due, c, due[len(due) // 2 + first])
