"""The ``burst`` fidelity: every burst goes through the command-level controller of its channel (jitted).

Visits (:mod:`uarch.dram.channels.visits`) wait until the controller's queue has room for their bursts. A channel
may lie behind the engine's clock; a request to it carries the tick of its arrival.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uarch.arrays import IntArray
from uarch.dram.channels.completions import first_completion
from uarch.dram.channels.placement import Placement, location_of
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
from uarch.dram.controller import timing as T  # noqa: N812
from uarch.dram.controller.addresses import BANK_SHIFT, ROW_SHIFT, AddressMapping
from uarch.dram.controller.frfcfs import FORWARDED_AT_ONCE, enqueue, next_event, step
from uarch.dram.controller.options import ControllerOptions, check_options
from uarch.dram.controller.state import (
    ACTIVATES,
    ACTIVE_READS,
    ACTIVE_WRITES,
    HITS,
    LAST_DATA,
    LAST_TAG,
    NEXT_REFRESH,
    NOW,
    O_READ_QUEUE,
    O_WRITE_QUEUE,
    READS,
    READS_WAITING,
    REFRESHES,
    WRITES,
    WRITES_WAITING,
    new_channel,
    typed,
)
from uarch.dram.standards.speed_grade import at_bandwidth
from uarch.dram.standards.standard import Standard
from uarch.events import Event
from uarch.jit import inline, sub_kernel
from uarch.picoseconds import duration_ps, rate_of, whole_units
from uarch.wake_tree import NEVER, earliest_sleeper, set_wake

_FRACTION_BITS = 20
_READ, _WRITE = typed(0), typed(1)
_READ_BYTES, _WRITE_BYTES = int(Event.DRAM_READ_BYTES), int(Event.DRAM_WRITE_BYTES)
_ROW_HITS, _ROW_MISSES = int(Event.DRAM_ROW_HITS), int(Event.DRAM_ROW_MISSES)
_REFRESHES, _BUS_PS = int(Event.DRAM_REFRESHES), int(Event.DRAM_BUS_PS)


class BurstTiming(NamedTuple):
    """Constants of the ``burst`` fidelity for one chip."""

    place: Placement
    idle_channel: IntArray
    """State of an idle channel, from :func:`uarch.dram.controller.state.new_channel`."""
    locations: IntArray
    """Location of each burst: see :meth:`uarch.dram.controller.addresses.AddressMapping.tables`."""
    bursts: int
    """Number of bursts of a channel, a power of two."""
    burst_bytes: int
    tick: int
    """Rate of the controller's ticks: see :mod:`uarch.picoseconds`."""
    byte: int
    """Rate of one channel's data bus."""
    latency_ps: int
    """Controller and interconnect, beyond the DRAM's own timing."""
    lookahead_ps: int
    """No read completes earlier than this after it was asked for."""

    @property
    def units(self) -> int:
        """Number of independent channels."""
        return self.place.channels


class BurstChannels(NamedTuple):
    """Working state of all channels at ``burst`` fidelity."""

    states: IntArray
    """State of each channel's controller, shape ``(channels, places)``."""
    waiting: Waiting


def lower_burst_channels(
    standard: Standard,
    place: Placement,
    *,
    mapping: str,
    options: ControllerOptions,
    bytes_per_second: float,
    latency_ps: int,
) -> BurstTiming:
    """Channels of a standard that move ``bytes_per_second`` each; ``mapping`` may be ``interleaved``.

    Raises :class:`InputError` if the standard does not have the mapping or the refresh.
    """
    check_options(standard, options)
    grade, tick = at_bandwidth(standard, bytes_per_second, options.refresh)
    idle_channel = new_channel(grade, options, tags=0)
    first_data = int(idle_channel[T.READ_LATENCY]) - 1  # rounding of arrivals and completions to ticks
    return BurstTiming(
        place=place,
        idle_channel=idle_channel,
        locations=AddressMapping(grade, mapping).tables(),
        bursts=grade.capacity_bytes // grade.burst_bytes,
        burst_bytes=grade.burst_bytes,
        tick=tick,
        byte=rate_of(bytes_per_second),
        latency_ps=latency_ps,
        lookahead_ps=latency_ps + (first_data * tick >> _FRACTION_BITS),
    )


def open_burst_channels(timing: BurstTiming, n_fetches: int, n_stores: int = 0) -> BurstChannels:
    """Idle channels with room for ``n_fetches`` reads and as many granules as cores store at a time.

    Groups of channels refresh one after the other.
    """
    channels, width = timing.place.channels, timing.place.width
    states = np.repeat(timing.idle_channel[np.newaxis], channels, axis=0)
    group = np.arange(channels) // width + 1
    if states[0, NEXT_REFRESH] < NEVER // 4:
        states[:, NEXT_REFRESH] = group * states[:, NEXT_REFRESH] // (channels // width)
    return BurstChannels(states, open_waiting(timing.place, timing.place.piece_bytes, n_fetches, n_stores))


@inline
def enqueue_read_bursts(
    dram: BurstChannels, timing: BurstTiming, fetch: int, address: int, size_bytes: int, now_ps: int, events: IntArray
) -> None:
    """Ask for a granule or a part of it under a number; its completion appears in :func:`next_burst_completion`."""
    expect_read(dram.waiting, fetch, now_ps)
    pending, offset = dram.waiting.pending[fetch], 0
    while offset < size_bytes:
        channel, local, piece_bytes = piece_of(timing.place, address + offset, size_bytes - offset)
        pending["bursts"] += _append(dram, timing, channel, _READ, fetch, local, piece_bytes, now_ps)
        offset += piece_bytes
    events[_READ_BYTES] += size_bytes


@inline
def enqueue_write_bursts(
    dram: BurstChannels, timing: BurstTiming, address: int, size_bytes: int, now_ps: int, events: IntArray
) -> int:
    """Hand over a dirty granule; returns when the write queues have room, if their channels write at full rate."""
    taken_ps = now_ps
    offset = 0
    while offset < size_bytes:
        channel, local, piece_bytes = piece_of(timing.place, address + offset, size_bytes - offset)
        _append(dram, timing, channel, _WRITE, 0, local, piece_bytes, now_ps)
        excess = dram.waiting.lists[channel, _WRITE]["bursts"] - dram.states[channel, O_WRITE_QUEUE]
        if excess > 0:
            taken_ps = max(taken_ps, now_ps + duration_ps(excess * timing.burst_bytes, timing.byte))
        offset += piece_bytes
    events[_WRITE_BYTES] += size_bytes
    return taken_ps


@inline
def next_burst_completion(dram: BurstChannels, timing: BurstTiming, before_ps: int, events: IntArray) -> int:
    """Time of the next read completion, or NEVER; exact if it is not after ``before_ps``."""
    _catch_up(dram, timing, before_ps, events)
    return first_completion(dram.waiting.completions)


@sub_kernel
def _catch_up(dram: BurstChannels, timing: BurstTiming, before_ps: int, events: IntArray) -> None:
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
def _append(
    dram: BurstChannels, timing: BurstTiming, channel: int, kind: int, fetch: int, local: int, size: int, now_ps: int
) -> int:
    """Let a visit wait; returns its bursts."""
    count = bursts_of(local, size, timing.burst_bytes)
    tick = whole_units(now_ps, timing.tick)
    tick += tick * timing.tick != now_ps << _FRACTION_BITS  # equal or less than a tick apart, also where both overflow
    append_visit(dram.waiting, channel, kind, fetch, local // timing.burst_bytes, count, tick)
    due = dram.waiting.due
    if due[len(due) // 2 + channel] == NEVER:
        set_wake(due, channel, now_ps + timing.lookahead_ps)
    return count


@inline
def _simulate(dram: BurstChannels, timing: BurstTiming, channel: int, now_ps: int, events: IntArray) -> None:
    """Bring a channel up to the present, and say when it must be looked at again."""
    state = dram.states[channel]
    until = whole_units(now_ps, timing.tick)
    activates, hits, refreshes = state[ACTIVATES], state[HITS], state[REFRESHES]
    accesses, reads = state[READS] + state[WRITES], state[READS]
    while True:
        arrival = min(_admit(dram, timing, state, channel, _READ), _admit(dram, timing, state, channel, _WRITE))
        event = next_event(state)
        if min(arrival, event) > until:
            break
        if arrival < event:
            state[NOW] = arrival
        else:
            step(state, event)
            if state[READS] != reads:
                reads = state[READS]
                _burst_done(dram, timing, state[LAST_TAG], state[LAST_DATA])
    state[NOW] = until
    events[_ROW_MISSES] += state[ACTIVATES] - activates
    events[_ROW_HITS] += state[HITS] - hits
    events[_REFRESHES] += state[REFRESHES] - refreshes
    bursts = state[READS] + state[WRITES] - accesses
    events[_BUS_PS] += duration_ps(bursts * timing.burst_bytes, timing.byte)
    waiting = state[READS_WAITING] | state[WRITES_WAITING] | state[ACTIVE_READS] | state[ACTIVE_WRITES]
    waiting |= dram.waiting.lists[channel, _READ]["bursts"] | dram.waiting.lists[channel, _WRITE]["bursts"]
    set_wake(dram.waiting.due, channel, now_ps + timing.lookahead_ps if waiting != 0 else NEVER)


@inline
def _admit(dram: BurstChannels, timing: BurstTiming, state: IntArray, channel: int, kind: int) -> int:
    """Hand bursts that have arrived to the controller; returns when the next one arrives, NEVER if none can be taken."""
    line = dram.waiting.lists[channel, kind]
    number = line["first"]
    while number != NO_VISIT and state[READS_WAITING + kind] < state[O_READ_QUEUE + kind]:
        visit = dram.waiting.visits[number]
        if visit["arrival"] > state[NOW]:
            return int(visit["arrival"])
        burst = visit["burst"] & (timing.bursts - 1)
        location = location_of(timing.locations, burst)
        row, bank = location >> ROW_SHIFT, (location >> BANK_SHIFT) & 0xFFFF
        taken = enqueue(state, visit["fetch"], kind, bank, row, location & 0xFFFF)
        if taken == FORWARDED_AT_ONCE:  # as late as a row hit: no answer may come before the lookahead is over
            _burst_done(dram, timing, visit["fetch"], state[NOW] + state[T.READ_LATENCY])
        visit["burst"] += 1
        visit["count"] -= 1
        line["bursts"] -= 1
        if visit["count"] == 0:
            remove_visit(dram.waiting, channel, kind, NO_VISIT, number)
            number = line["first"]
    return NEVER


@inline
def _burst_done(dram: BurstChannels, timing: BurstTiming, fetch: int, tick: int) -> None:
    """A burst has come."""
    bursts_came(dram.waiting, fetch, 1, duration_ps(tick, timing.tick), timing.latency_ps)
