"""The ``tile`` memory model in plain Python: every channel with a state of its own, one refresh and one piece at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from uarch.dram.addresses import BANK_SHIFT
from uarch.dram.placement import channel_of
from uarch.dram.tile_channels import SHARES, TileTiming
from uarch.rates import duration_ps


@dataclass
class Rows:
    """The rows that are open in a set of banks."""

    row: int
    run: int
    end_ps: int


@dataclass
class Channel:
    """When it is free, and what is open."""

    next_refresh_ps: int
    free_ps: int = 0
    written_ps: int = 0
    late_row: int | None = None
    open: dict[int, Rows] = field(default_factory=dict)


@dataclass
class Group:
    """Recent traffic."""

    visited: int = 0
    written: int = 0
    opened: int = 0


class NaiveTileChannels:
    """Serves reads and writes in the order of the calls, whose times must not decrease."""

    def __init__(self, timing: TileTiming) -> None:
        self.timing = timing
        place = timing.place
        groups = place.channels // place.width
        step_ps = timing.refresh_interval_ps // groups
        self.channels = [Channel(step_ps * (c // place.width + 1)) for c in range(place.channels)]
        self.groups = [Group() for _ in range(groups)]
        self.row_hits = self.row_misses = self.refreshes = 0

    def access(self, address: int, size_bytes: int, now_ps: int, is_write: bool) -> tuple[int, int]:
        """Time of the last data, controller included, and when the write queues have room."""
        timing, place = self.timing, self.timing.place
        stripe_bytes = place.piece_bytes * place.width
        done_ps, taken_ps, start, end = now_ps, now_ps, address, address + size_bytes
        while start < end:
            whole = start % stripe_bytes == 0 and end - start >= stripe_bytes
            stop = start + stripe_bytes if whole else min(end, start - start % place.piece_bytes + place.piece_bytes)
            first_channel = int(channel_of(place, start)[0])
            group = self.groups[first_channel // place.width]
            if group.visited > timing.recent_bursts:
                group.visited, group.written, group.opened = group.visited // 2, group.written // 2, group.opened // 2
            excess_ps = 0
            if is_write:
                share = group.written * SHARES // (group.visited + 1)
                run = min(group.visited // (group.opened + 1), 1 << timing.set_bits)
                excess_ps = int(timing.write_ps[share, run])
            for piece in range(start, stop, place.piece_bytes):
                length = min(stop, piece - piece % place.piece_bytes + place.piece_bytes) - piece
                c, local = (int(part) for part in channel_of(place, piece))
                first = local // timing.burst_bytes
                count = (local + length - 1) // timing.burst_bytes - first + 1
                group.written += count * is_write
                visit_ps = self._visit(self.channels[c], group, first, count, excess_ps * count, now_ps)
                done_ps = max(done_ps, visit_ps)
                if is_write:
                    burst_ps = int(duration_ps(count * timing.burst_bytes, timing.byte))
                    channel = self.channels[c]
                    channel.written_ps = max(channel.written_ps, now_ps) + burst_ps
                    taken_ps = max(taken_ps, channel.written_ps - timing.write_queue_ps)
            start = stop
        return done_ps + timing.latency_ps, taken_ps

    def _visit(self, channel: Channel, group: Group, first: int, count: int, excess_ps: int, now_ps: int) -> int:
        timing = self.timing
        while max(now_ps, channel.free_ps) >= channel.next_refresh_ps:
            self._refresh(channel)
        row = (first & timing.bursts - 1) >> timing.set_bits
        banks = self._bank_set(row << timing.set_bits)
        opened = channel.open.get(banks)
        start_ps = max(now_ps, channel.free_ps)
        before, late = 0, False
        if opened is None:
            latency_ps = timing.closed_ps[count]
        elif opened.row == row:
            latency_ps = timing.open_ps[count]
            before = min(opened.run, (1 << timing.set_bits) - count)
            if channel.late_row == row:
                late = True
                start_ps += int(timing.conflict_ps[before + count] - timing.conflict_ps[before])
        else:
            latency_ps = timing.other_open_ps[count]
            ready_ps = opened.end_ps + int(timing.conflict_ps[count])
            late = ready_ps > start_ps
            start_ps = max(start_ps, ready_ps)
        after = before + count
        activates = min(after, timing.set_banks) - min(before, timing.set_banks)
        self.row_misses += activates
        self.row_hits += count - activates
        group.visited += count
        group.opened += before == 0
        end_ps = start_ps + int(timing.run_ps[after] - timing.run_ps[before]) + excess_ps
        channel.open[banks] = Rows(row, after, end_ps)
        channel.late_row = row if late else None
        channel.free_ps = end_ps
        return max(end_ps + timing.pipeline_ps, now_ps + int(latency_ps))

    def _bank_set(self, burst: int) -> int:
        location = 0
        for i, entries in enumerate(self.timing.locations.tolist()):
            location ^= entries[burst >> 8 * i & 0xFF]
        return int(self.timing.bank_sets[location >> BANK_SHIFT & 0xFFFF])

    def _refresh(self, channel: Channel) -> None:
        channel.free_ps = max(channel.free_ps, channel.next_refresh_ps) + self.timing.refresh_ps
        channel.next_refresh_ps += self.timing.refresh_interval_ps
        channel.late_row = None
        channel.open.clear()
        self.refreshes += 1
