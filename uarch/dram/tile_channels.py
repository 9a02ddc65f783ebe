"""The ``tile`` fidelity: a channel serves a granule's bursts as one visit, in a time that its model was measured to take.

Which of the measured times (:mod:`uarch.dram.service`) applies is seen visit by visit. Each channel remembers the rows
open in its banks and how long the present run in them is: a visit goes on with a run, or opens rows in closed banks, or
closes others first, which costs the more the less time has passed since their last use. Written bursts cost extra by
the share of writes in the group's recent traffic. Visits are served in order of arrival; a refresh is dead time and
closes all rows. The channels of a group that have so far served whole stripes only are in the same state, which is then
kept once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.dram.addresses import BANK_SHIFT, AddressMapping, mapping_of
from uarch.dram.completions import open_completions, push_completion
from uarch.dram.options import ControllerOptions, check_options
from uarch.dram.placement import Placement, channel_of, stripe_of
from uarch.dram.service import LARGEST_SET, MIX_STEPS, service_ticks
from uarch.dram.speed_grade import at_bandwidth
from uarch.dram.standards import Standard
from uarch.events import Event
from uarch.jit import constant, inline
from uarch.program import NONE, StructArray
from uarch.rates import duration_ps, rate_of

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_NO_ROW = constant(NONE)
_READ, _WRITE = constant(0), constant(1)
_FAR_AWAY_PS = 2**61
_SHARE_BITS = 6
SHARES = 1 << _SHARE_BITS
"""Parts in which the share of writes is told."""
RECENT_QUEUES = 2
"""Traffic by which the share of writes is judged: so many times what the write queues of a group hold."""
_READ_BYTES, _WRITE_BYTES = int(Event.DRAM_READ_BYTES), int(Event.DRAM_WRITE_BYTES)
_ROW_HITS, _ROW_MISSES = int(Event.DRAM_ROW_HITS), int(Event.DRAM_ROW_MISSES)
_REFRESHES, _BUS_PS = int(Event.DRAM_REFRESHES), int(Event.DRAM_BUS_PS)

CHANNEL = np.dtype(
    [
        ("free_ps", np.int64),  # when all that it was asked for has been served
        ("written_ps", np.int64),  # when all writes would have been, had there been nothing else
        ("next_refresh_ps", np.int64),
        ("late_row", np.int64),  # the rows that the last visit had to wait for, or NONE
    ]
)
ROWS = np.dtype(
    [
        ("row", np.int64),  # number of the set of rows that is open in a set of banks, or NONE
        ("run", np.int64),  # bursts of it visited
        ("end_ps", np.int64),  # of the last visit
    ]
)
GROUP = np.dtype(
    [
        ("alike", np.int64),  # whether its channels have served whole stripes only
        ("visited", np.int64),  # bursts visited recently, how many of them were written, and rows opened for them
        ("written", np.int64),
        ("opened", np.int64),
    ]
)


class TileTiming(NamedTuple):
    """Constants of the model; times in picoseconds, arrays int64 and indexed by bursts unless they say otherwise."""

    place: Placement
    locations: IntArray
    """Of :meth:`uarch.dram.addresses.AddressMapping.tables`."""
    bank_sets: IntArray
    """Set of banks by bank."""
    set_bits: int
    """Bits of a burst's index within a set of rows."""
    set_banks: int
    bursts: int
    """Bursts of a channel: a power of two."""
    burst_bytes: int
    byte: int
    """Rate of one channel's data bus: see :mod:`uarch.rates`."""
    run_ps: IntArray
    conflict_ps: IntArray
    open_ps: IntArray
    closed_ps: IntArray
    other_open_ps: IntArray
    write_ps: IntArray
    """Of a written burst beyond a read one, by share of writes (in 64ths) and by run."""
    pipeline_ps: int
    """From the end of a visit's service to its last data."""
    write_queue_ps: int
    """Time of as many bursts as the write queue holds."""
    recent_bursts: int
    """Of a group, by which its traffic is judged."""
    refresh_ps: int
    refresh_interval_ps: int
    latency_ps: int
    """Controller and interconnect, beyond the DRAM's own timing."""

    @property
    def units(self) -> int:
        """Independent channels."""
        return self.place.channels


class TileChannels(NamedTuple):
    """Working state."""

    channels: StructArray
    """Of ``CHANNEL``; of a group whose channels are alike, only the first is kept up to date."""
    rows: StructArray
    """Of ``ROWS``, shape ``(channels, sets of banks)``; likewise."""
    groups: StructArray
    """Of ``GROUP``."""
    completions: StructArray


def lower_tile_channels(
    standard: Standard,
    place: Placement,
    *,
    mapping: str,
    options: ControllerOptions,
    bytes_per_second: float,
    latency_ps: int,
) -> TileTiming:
    """Channels of a standard that move ``bytes_per_second`` each; ``mapping`` may be ``interleaved``.

    Raises :class:`InputError` if the standard does not have the mapping or the refresh.
    """
    check_options(standard, options)
    grade, tick = at_bandwidth(standard, bytes_per_second)
    text = mapping_of(grade, mapping)
    address_mapping = AddressMapping(grade, text)
    set_bits, bank_sets = address_mapping.row_sets(LARGEST_SET)
    visit_bursts = min(1 << set_bits, max(1, place.piece_bytes // grade.burst_bytes))
    timing = grade.timing
    write_delay = (timing.nCL + timing.nBL) * grade.command_bus.ticks_per_clock + (latency_ps << 20) // tick
    ticks = service_ticks(grade, text, options, visit_bursts, write_delay)
    interval = {"all": timing.nREFI, "bank": timing.nREFIpb, "none": 0}[options.refresh]
    ps = tick / 2**20

    def picoseconds(values: FloatArray) -> IntArray:
        rounded: IntArray = np.round(values * ps).astype(np.int64)
        return rounded

    run_ps, open_ps = picoseconds(ticks.run), picoseconds(ticks.open_latency)
    return TileTiming(
        place=place,
        locations=address_mapping.tables(),
        bank_sets=bank_sets,
        set_bits=set_bits,
        set_banks=grade.banks // (int(bank_sets.max()) + 1),
        bursts=grade.capacity_bytes // grade.burst_bytes,
        burst_bytes=grade.burst_bytes,
        byte=rate_of(bytes_per_second),
        run_ps=run_ps,
        conflict_ps=picoseconds(ticks.conflict),
        open_ps=open_ps,
        closed_ps=picoseconds(ticks.closed_latency),
        other_open_ps=picoseconds(ticks.conflict_latency),
        write_ps=picoseconds(_by_share(ticks.write)),
        pipeline_ps=int(open_ps[-1] - run_ps[-1]),
        write_queue_ps=int(run_ps[-1]) * options.queue >> set_bits,
        recent_bursts=RECENT_QUEUES * options.queue * place.width,
        refresh_ps=round(ticks.refresh * ps),
        refresh_interval_ps=round(interval * grade.command_bus.ticks_per_clock * ps) if interval else _FAR_AWAY_PS,
        latency_ps=latency_ps,
    )


def _by_share(measured: FloatArray) -> FloatArray:
    """Rows interpolated between eighths, for shares of writes in units of 2^-_SHARE_BITS."""
    place = np.linspace(0.0, MIX_STEPS, SHARES + 1)
    below: IntArray = np.minimum(place.astype(np.int64), MIX_STEPS - 1)
    above = (place - below)[:, np.newaxis]
    mixed: FloatArray = (1 - above) * measured[below] + above * measured[below + 1]
    return mixed


def open_tile_channels(timing: TileTiming, n_fetches: int) -> TileChannels:
    """Idle channels with closed rows and room for ``n_fetches`` reads; groups of channels refresh one after the other."""
    place = timing.place
    n_groups = place.channels // place.width
    channels = np.zeros(place.channels, CHANNEL)
    channels["late_row"] = NONE
    group = np.arange(place.channels) // place.width + 1
    channels["next_refresh_ps"] = timing.refresh_interval_ps // n_groups * group
    rows = np.zeros((place.channels, int(timing.bank_sets.max()) + 1), ROWS)
    rows["row"] = NONE
    groups = np.zeros(n_groups, GROUP)
    groups["alike"] = 1
    return TileChannels(channels, rows, groups, open_completions(n_fetches))


@inline
def enqueue_read_visits(
    dram: TileChannels, timing: TileTiming, fetch: int, address: int, size_bytes: int, now_ps: int, events: IntArray
) -> None:
    """Ask for a granule or a part of it under a number."""
    done_ps, _ = _serve(dram, timing, _READ, address, size_bytes, now_ps, events)
    events[_READ_BYTES] += size_bytes
    push_completion(dram.completions, done_ps + timing.latency_ps, fetch)


@inline
def enqueue_write_visits(
    dram: TileChannels, timing: TileTiming, address: int, size_bytes: int, now_ps: int, events: IntArray
) -> int:
    """Hand over a dirty granule; returns when the write queues have room, if their channels write at full rate."""
    _, taken_ps = _serve(dram, timing, _WRITE, address, size_bytes, now_ps, events)
    events[_WRITE_BYTES] += size_bytes
    return taken_ps


@inline
def _serve(
    dram: TileChannels, timing: TileTiming, kind: int, address: int, size_bytes: int, now_ps: int, events: IntArray
) -> tuple[int, int]:
    """Visit all channels that hold a part of a request; returns the last data, and room in all write queues."""
    place = timing.place
    stripe_bytes = place.piece_bytes * place.width
    done_ps, taken_ps, offset = now_ps, now_ps, 0
    while offset < size_bytes:
        start = address + offset
        is_whole = start % stripe_bytes == 0 and size_bytes - offset >= stripe_bytes
        if is_whole:
            channel, _, number = stripe_of(place, start)
            local, moved, last = number * place.piece_bytes, stripe_bytes, channel + place.width
            if dram.groups[channel // place.width]["alike"]:
                last = channel + 1
        else:
            channel, local = channel_of(place, start)
            moved, last = min(size_bytes - offset, place.piece_bytes - start % place.piece_bytes), channel + 1
            _tell_apart(dram, place, channel // place.width)
        group = dram.groups[channel // place.width]
        if group["visited"] > timing.recent_bursts:
            group["visited"] >>= 1
            group["written"] >>= 1
            group["opened"] >>= 1
        excess = _write_excess(timing, group) if kind == _WRITE else 0
        first = local // timing.burst_bytes
        piece_bytes = place.piece_bytes if is_whole else moved
        count = (local + piece_bytes - 1) // timing.burst_bytes - first + 1
        times = place.width // (last - channel) if is_whole else 1
        group["written"] += kind * count * times * (last - channel)
        events[_BUS_PS] += times * (last - channel) * duration_ps(count * timing.burst_bytes, timing.byte)
        for c in range(channel, last):
            done_ps = max(done_ps, _visit(dram, timing, c, first, count, excess * count, times, now_ps, events))
            if kind == _WRITE:
                written = dram.channels[c]
                burst_ps = duration_ps(count * timing.burst_bytes, timing.byte)
                written["written_ps"] = max(written["written_ps"], now_ps) + burst_ps
                taken_ps = max(taken_ps, written["written_ps"] - timing.write_queue_ps)
        offset += moved
    return done_ps, taken_ps


@inline
def _write_excess(timing: TileTiming, group: StructArray) -> int:
    """Picoseconds that a written burst takes more than a read one, from the group's recent traffic."""
    share = (group["written"] << _SHARE_BITS) // (group["visited"] + 1)
    run = min(group["visited"] // (group["opened"] + 1), 1 << timing.set_bits)
    return int(timing.write_ps[share, run])


@inline
def _visit(
    dram: TileChannels,
    timing: TileTiming,
    c: int,
    first: int,
    count: int,
    excess_ps: int,
    times: int,
    now_ps: int,
    events: IntArray,
) -> int:
    """Serve ``count`` bursts of a channel from burst ``first`` on; returns the time of the last data.

    ``times`` is the number of channels that do the same.
    """
    channel = dram.channels[c]
    if max(now_ps, channel["free_ps"]) >= channel["next_refresh_ps"]:
        _refresh(dram, timing, c, times, now_ps, events)
    row = (first & (timing.bursts - 1)) >> timing.set_bits
    rows = dram.rows[c, timing.bank_sets[_bank_of(timing, row << timing.set_bits)]]
    start_ps = max(now_ps, channel["free_ps"])
    before, late_row = 0, _NO_ROW
    if rows["row"] == row:
        before = min(rows["run"], (1 << timing.set_bits) - count)
        latency_ps = timing.open_ps[count]
        if channel["late_row"] == row:
            late_row = row
            start_ps += timing.conflict_ps[before + count] - timing.conflict_ps[before]
    elif rows["row"] == _NO_ROW:
        latency_ps = timing.closed_ps[count]
    else:
        latency_ps = timing.other_open_ps[count]
        ready_ps = rows["end_ps"] + timing.conflict_ps[count]
        if ready_ps > start_ps:
            start_ps = ready_ps
            late_row = row
    after = before + count
    group = dram.groups[c // timing.place.width]
    group["visited"] += times * count
    group["opened"] += times if before == 0 else 0
    activates = min(after, timing.set_banks) - min(before, timing.set_banks)
    events[_ROW_MISSES] += times * activates
    events[_ROW_HITS] += times * (count - activates)
    end_ps = start_ps + timing.run_ps[after] - timing.run_ps[before] + excess_ps
    rows["row"] = row
    rows["run"] = after
    rows["end_ps"] = end_ps
    channel["late_row"] = late_row
    channel["free_ps"] = end_ps
    return int(max(end_ps + timing.pipeline_ps, now_ps + latency_ps))


@inline
def _bank_of(timing: TileTiming, burst: int) -> int:
    location = 0
    for i in range(len(timing.locations)):
        location ^= timing.locations[i, (burst >> (8 * i)) & 0xFF]
    return (location >> BANK_SHIFT) & 0xFFFF


@inline
def _tell_apart(dram: TileChannels, place: Placement, group: int) -> None:
    """From now on the channels of a group have states of their own."""
    if dram.groups[group]["alike"]:
        dram.groups[group]["alike"] = 0
        first = group * place.width
        for c in range(first + 1, first + place.width):
            dram.channels[c] = dram.channels[first]
            for i in range(dram.rows.shape[1]):
                dram.rows[c, i] = dram.rows[first, i]


@inline
def _refresh(dram: TileChannels, timing: TileTiming, c: int, times: int, now_ps: int, events: IntArray) -> None:
    """Refreshes that are due: of those that fell into an idle gap only the last can delay anything."""
    channel = dram.channels[c]
    count = (max(now_ps, channel["free_ps"]) - channel["next_refresh_ps"]) // timing.refresh_interval_ps + 1
    last_ps = channel["next_refresh_ps"] + (count - 1) * timing.refresh_interval_ps
    channel["free_ps"] = max(channel["free_ps"], last_ps) + timing.refresh_ps
    channel["next_refresh_ps"] = last_ps + timing.refresh_interval_ps
    channel["late_row"] = _NO_ROW
    for i in range(dram.rows.shape[1]):
        dram.rows[c, i]["row"] = _NO_ROW
    events[_REFRESHES] += times * count
