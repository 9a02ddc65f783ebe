"""The ``tile`` memory model in plain Python: every channel by itself, with all that it will be asked known beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby

from uarch.dram.channels.placement import channel_of
from uarch.dram.channels.tile_timing import TileTiming
from uarch.dram.controller.addresses import BANK_SHIFT

NEVER = 2**62


@dataclass(eq=False)
class Visit:
    """Bursts of a request in one channel."""

    number: int
    kind: int
    arrival_ps: int
    first: int
    count: int
    queued_ps: int = 0
    done_ps: int = -1


@dataclass
class Rows:
    """What is open in a set of banks, and its last use."""

    row: int
    run: int
    end_ps: int
    kind: int


@dataclass
class NaiveTileChannel:
    """Serves its visits."""

    timing: TileTiming
    next_refresh_ps: int
    coming: tuple[list[Visit], list[Visit]] = field(default_factory=lambda: ([], []))
    queues: tuple[list[Visit], list[Visit]] = field(default_factory=lambda: ([], []))
    open: dict[int, Rows] = field(default_factory=dict)
    now_ps: int = 0
    free_ps: int = 0
    last_kind: int = 0
    last_stack: int = 0
    mode: int = 0
    mode_ps: int = 0
    row_hits: int = 0
    row_misses: int = 0
    refreshes: int = 0

    def run(self) -> None:
        while any(self.coming) or any(self.queues):
            if not self.queues[0] and not self.queues[1]:
                self.now_ps = max(self.now_ps, min(self.next_arrival(0), self.next_arrival(1)))
            if self.now_ps >= self.next_refresh_ps:
                self.refresh()
            else:
                self.choose()

    def next_arrival(self, kind: int) -> int:
        return self.coming[kind][0].arrival_ps if self.coming[kind] else NEVER

    def refresh(self) -> None:
        self.free_ps = max(self.free_ps, self.next_refresh_ps) + self.timing.refresh_ps
        self.next_refresh_ps += self.timing.refresh_interval_ps
        self.refreshes += 1
        if self.now_ps < self.next_refresh_ps:
            self.now_ps = max(self.now_ps, self.free_ps)
        if self.timing.refresh_closes:
            self.open.clear()

    def room(self, kind: int) -> bool:
        return sum(visit.count for visit in self.queues[kind]) < self.timing.queue

    def choose(self) -> None:
        for kind in (0, 1):
            while self.next_arrival(kind) <= self.now_ps and self.room(kind):
                visit = self.coming[kind].pop(0)
                visit.queued_ps = max(visit.arrival_ps, self.mode_ps)
                self.queues[kind].append(visit)
        writes = sum(visit.count for visit in self.queues[1])
        if self.mode == 1 and writes < self.timing.low_bursts and self.queues[0]:
            self.mode, self.mode_ps = 0, self.now_ps
        elif self.mode == 0 and (writes > self.timing.high_bursts or not self.queues[0]):
            self.mode, self.mode_ps = 1, self.now_ps
        turned_ps = self.free_ps + (int(self.timing.turnaround_ps[self.mode]) if self.mode != self.last_kind else 0)
        starts = [max(turned_ps, self.now_ps, self.ready_ps(visit)) for visit in self.queues[self.mode]]
        if self.mode == 0:
            stacks = [self.timing.stacks[self.place(visit)[1]] for visit in self.queues[0]]
            other_ps = self.free_ps + self.timing.stack_ps
            starts = [
                start if stack == self.last_stack else max(start, other_ps)
                for start, stack in zip(starts, stacks, strict=True)
            ]
        start_ps = min(starts)
        if start_ps > self.now_ps:
            arrivals = [self.next_arrival(kind) for kind in (0, 1) if self.room(kind)]
            self.now_ps = min(start_ps, self.next_refresh_ps, *arrivals)
        else:
            self.serve(self.queues[self.mode].pop(starts.index(start_ps)))

    def place(self, visit: Visit) -> tuple[int, int]:
        """Numbers of the sets of rows and of banks."""
        row = (visit.first & self.timing.bursts - 1) >> self.timing.set_bits
        location, burst = 0, row << self.timing.set_bits
        for i, entries in enumerate(self.timing.locations.tolist()):
            location ^= entries[burst >> 8 * i & 0xFF]
        return row, int(self.timing.bank_sets[location >> BANK_SHIFT & 0xFFFF])

    def ready_ps(self, visit: Visit) -> int:
        row, banks = self.place(visit)
        since_ps, rows, timing = max(visit.queued_ps, self.mode_ps), self.open.get(banks), self.timing
        queue = self.queues[self.mode]
        older = any(self.place(other)[1] == banks for other in queue[: queue.index(visit)])
        if rows is not None and rows.row == row:
            closed_ps = rows.end_ps + int(timing.closing_ps[rows.kind])
            return 0 if not older or max(self.now_ps, self.free_ps) <= closed_ps else NEVER
        if older:
            return NEVER
        if rows is None:
            return since_ps + int(timing.opening_ps[0, visit.count])
        recovered_ps = rows.end_ps + int(timing.recovery_ps[rows.kind, visit.count])
        return max(since_ps + int(timing.opening_ps[1, visit.count]), recovered_ps)

    def serve(self, visit: Visit) -> None:
        row, banks = self.place(visit)
        rows, timing = self.open.get(banks), self.timing
        before = min(rows.run, (1 << timing.set_bits) - visit.count) if rows is not None and rows.row == row else 0
        after = before + visit.count
        self.free_ps = self.now_ps = self.now_ps + int(timing.run_ps[after] - timing.run_ps[before])
        self.last_kind, self.last_stack = visit.kind, int(timing.stacks[banks])
        self.open[banks] = Rows(row, after, self.free_ps, visit.kind)
        activates = min(after, timing.set_banks) - min(before, timing.set_banks)
        self.row_misses += activates
        self.row_hits += visit.count - activates
        visit.done_ps = self.free_ps + timing.pipeline_ps


class NaiveTileChannels:
    """Serves a table of requests: time, address, bytes, is a write; times not decreasing."""

    def __init__(self, timing: TileTiming, table: list[tuple[int, int, int, int]]) -> None:
        place = timing.place
        step_ps = timing.refresh_interval_ps // (place.channels // place.width)
        self.channels = [NaiveTileChannel(timing, step_ps * (c // place.width + 1)) for c in range(place.channels)]
        reads: list[Visit] = []
        for number, (now_ps, address, size_bytes, is_write) in enumerate(table):
            start, end = address, address + size_bytes
            while start < end:
                stop = min(end, start - start % place.piece_bytes + place.piece_bytes)
                c, local = (int(part) for part in channel_of(place, start))
                bursts = range(local // timing.burst_bytes, (local + stop - start - 1) // timing.burst_bytes + 1)
                for _, alike in groupby(bursts, lambda burst: burst >> timing.set_bits):
                    first, *others = alike
                    visit = Visit(number, int(is_write), now_ps, first, 1 + len(others))
                    self.channels[c].coming[visit.kind].append(visit)
                    if not is_write:
                        reads.append(visit)
                start = stop
        for channel in self.channels:
            channel.run()
        self.done_ps: dict[int, int] = {}
        for visit in reads:
            self.done_ps[visit.number] = max(self.done_ps.get(visit.number, 0), visit.done_ps + timing.latency_ps)
