"""How long a channel takes for each pattern of access, measured by running its command-level model.

The ``tile`` fidelity serves *visits*, the bursts that a granule has in one channel, and chooses among those that wait as
the controller does among requests. What it needs to know is

- the *run*: how many consecutive bursts of a set of open rows are visited before another one is opened,
- how long it takes to open rows, in closed banks or in banks with other rows, and how long after the last read or write
  of those banks at the earliest,
- how long the bus takes to turn round between reads and writes.

Times are measured with the queues full and without refresh, whose dead time is measured by itself. Results are kept in
memory and on disk, under a key of the standard, its clock, the mapping, the options and the model's sources.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.arrays import FloatArray, IntArray
from uarch.dram.controller.addresses import AddressMapping
from uarch.dram.controller.options import ControllerOptions, RefreshMode
from uarch.dram.standards.standard import Standard
from uarch.errors import InputError, InternalError
from uarch.files.derived import Arrays, array_store, checked

LARGEST_SET = 512
"""Most bursts that count as one set of rows."""
_BURSTS = 8192
"""Number of bursts of a measurement, large enough for its start and end not to matter."""
_SHORTEST_STREAM = 512
_MOST_BURSTS = 1 << 20
"""Most bursts of a measurement of refreshes, unless three of them are farther apart: memories far above their standard."""
_REFRESHES = 24
_PAUSE_TICKS = 100_000


class ServiceTicks(NamedTuple):
    """Measured times in ticks of the standard; float64."""

    run: FloatArray
    """Time of the first n bursts of a set of rows that has to be opened and whose banks are idle; shape ``(set + 1,)``."""
    opening: FloatArray
    """Time from a visit of n bursts to an idle channel to the beginning of its run; shape ``(2, set + 1)``.

    The first row holds if the banks are closed, the second if they have other rows open.
    """
    recovery: FloatArray
    """Time from the end of a run of n bursts to one in other rows of its banks; shape ``(2, set + 1)``: reads, writes."""
    turnaround: FloatArray
    """Dead time of the bus from writes to reads, and from reads to writes; shape ``(2,)``."""
    pipeline: float
    """Time from the end of the last read command's turn on the data bus to its last data."""
    refresh: float
    """Dead time of a refresh, reopening of rows included; 0 without refresh."""


def service_ticks(standard: Standard, mapping: str, options: ControllerOptions) -> ServiceTicks:
    """Times of a standard under an address mapping and a controller.

    Raises :class:`InputError` if the mapping does not fit the standard.
    """
    return _service_ticks(standard.model_dump_json(), mapping, options)


@lru_cache(maxsize=256)
def _service_ticks(standard_text: str, mapping: str, options: ControllerOptions) -> ServiceTicks:
    key = _SERVICE.key(standard_text, mapping, options)
    known = _SERVICE.recall(key)
    if known is None:
        known = measurer(Standard.model_validate_json(standard_text), mapping, options)
        _SERVICE.remember(key, known)
    return known


def _to_arrays(ticks: ServiceTicks) -> Arrays:
    return {name: np.asarray(value, np.float64) for name, value in ticks._asdict().items()}


def _from_arrays(arrays: Arrays) -> ServiceTicks:
    run = checked(arrays["run"], np.float64, (None,))
    return ServiceTicks(
        run=run,
        opening=checked(arrays["opening"], np.float64, (2, len(run))),
        recovery=checked(arrays["recovery"], np.float64, (2, len(run))),
        turnaround=checked(arrays["turnaround"], np.float64, (2,)),
        pipeline=float(checked(arrays["pipeline"], np.float64, ())),
        refresh=float(checked(arrays["refresh"], np.float64, ())),
    )


_SERVICE = array_store("dram-service", _to_arrays, _from_arrays, "uarch", remembers=False)


def measure(standard: Standard, mapping: str, options: ControllerOptions) -> ServiceTicks:
    """Measure all times of a standard under an address mapping and a controller: a second of compiled code."""
    return _Bench(standard, mapping, options).measure()


measurer: Callable[[Standard, str, ControllerOptions], ServiceTicks] = measure
"""Function that :func:`service_ticks` calls for times that are not kept.

Without compiled code :func:`measure` takes minutes, and a caller may set a function that lets another process measure.
"""


class _Bench:
    """One channel, and streams that show one cost each."""

    def __init__(self, standard: Standard, mapping: str, options: ControllerOptions) -> None:
        self.standard = standard
        self.options = options
        timing = standard.timing
        self.burst_ticks = max(timing.nBL, timing.nCCD_S) * standard.command_bus.ticks_per_clock
        """Ticks for which a burst occupies the data bus."""
        self.mapping = AddressMapping(standard, mapping)
        bits, bank_sets = self.mapping.row_sets(LARGEST_SET)
        self.set_bursts = 1 << bits
        count = standard.capacity_bytes // standard.burst_bytes >> bits
        first = np.arange(min(count, 1 << 14), dtype=np.int64) * self.set_bursts
        self.rows_of = self.by_set(first, bank_sets)
        if any(len(rows) < 2 for rows in self.rows_of):  # a mapping with bits of banks far up
            self.rows_of = self.by_set(np.arange(count, dtype=np.int64) * self.set_bursts, bank_sets)
        if any(len(rows) < 2 for rows in self.rows_of):
            raise InputError(
                f"memory.mapping = {mapping!r}: {standard.name} has fewer than 2 rows in a bank; at least 2 are needed"
            )
        """Numbers of the first bursts of sets of rows, by set of banks."""

    def by_set(self, first: IntArray, bank_sets: IntArray) -> list[IntArray]:
        """First bursts of sets of rows, by set of banks."""
        of_set = bank_sets[self.mapping.locate(first * self.standard.burst_bytes).bank]
        return [first[of_set == number] for number in range(int(bank_sets.max()) + 1)]

    def measure(self) -> ServiceTicks:
        """All times, at runs of powers of two and interpolated between them."""
        sizes = [1 << k for k in range(self.set_bursts.bit_length())]
        index = np.arange(self.set_bursts + 1)

        def interpolated(values: npt.ArrayLike, at_zero: float) -> FloatArray:
            measured: FloatArray = np.interp(index, [0, *sizes], [at_zero, *np.asarray(values)])
            return measured

        runs = np.maximum.accumulate([self.per_run(size, self.rows_in_turn) for size in sizes])
        opened, closed, other = ([self.latency(kind, size) for size in sizes] for kind in ("open", "closed", "other"))
        pipeline = opened[-1] - self.set_bursts * self.burst_ticks
        openings = [latencies - runs - pipeline for latencies in (closed, other)]
        recoveries = [
            np.maximum([self.per_run(size, self.rows_of_one_set, written) for size in sizes] - runs, 0.0)
            for written in (False, True)
        ]
        return ServiceTicks(
            run=interpolated(runs, 0.0),
            opening=np.array([interpolated(ticks, ticks[0]) for ticks in openings]),
            recovery=np.array([interpolated(ticks, ticks[0]) for ticks in recoveries]),
            turnaround=self.turnaround(),
            pipeline=pipeline,
            refresh=self.refresh_ticks(),
        )

    def rows_in_turn(self, count: int) -> IntArray:
        """First bursts of sets of rows, each in the set of banks after that of the last."""
        sets = len(self.rows_of)
        return np.array([self.rows_of[i % sets][i // sets % len(self.rows_of[i % sets])] for i in range(count)])

    def rows_of_one_set(self, count: int) -> IntArray:
        """First bursts of sets of rows, all in the same set of banks."""
        return np.resize(self.rows_of[0], count)

    def per_run(self, size: int, rows: Callable[[int], IntArray], written: bool = False) -> float:
        """Ticks of a run of ``size`` bursts in a stream of such runs, once it is under way."""
        starts = rows(max(_SHORTEST_STREAM, _BURSTS // size))
        bursts = (starts[:, np.newaxis] + np.arange(size)).ravel()
        half = len(bursts) // 2
        kinds = np.full(len(bursts), int(written))
        return (self.serve(bursts, kinds) - self.serve(bursts[:half], kinds[:half])) / (len(bursts) - half) * size

    def latency(self, kind: str, size: int) -> float:
        """Ticks from the arrival of a visit of ``size`` bursts at an idle channel to its last data."""
        rows = self.rows_of[0]
        state = self.new_state("none")
        if kind != "closed":
            before = rows[0] if kind == "open" else rows[1]
            self.serve(before + np.arange(self.set_bursts), state=state)
        return self.serve(rows[0] + np.arange(size), state=state)

    def turnaround(self) -> FloatArray:
        """Ticks that the bus rests when it turns round, in a stream of reads and writes of open rows."""
        from uarch.dram.controller.state import RD, WR, command_log

        half = max(1, self.set_bursts // 2)
        index = np.arange(
            max(_BURSTS, 8 * self.options.queue)
        )  # more writes than the queue takes before it must serve them
        bursts = self.rows_of[0][0] + index // 2 % half + half * (index % 2)
        state = self.new_state("none", log_commands=4 * len(index))
        self.serve(bursts, index % 2, state)
        commands = command_log(state)
        commands = commands[(commands[:, 1] == RD) | (commands[:, 1] == WR)]
        gaps, after = np.diff(commands[:, 0]), commands[1:, 1]
        turns = np.diff(commands[:, 1]) != 0
        timing, per_clock = self.standard.timing, self.standard.command_bus.ticks_per_clock
        # Where the queues are so short that one kind is served to its end first, the least that the standard allows.
        least = {RD: (timing.nCWL + timing.nBL + timing.nWTR_S) * per_clock, WR: timing.nRTW * per_clock}
        turned = [gaps[turns & (after == kind)] for kind in (RD, WR)]
        distances = [np.median(each) if len(each) else least[kind] for each, kind in zip(turned, (RD, WR), strict=True)]
        return np.array(distances) - self.burst_ticks

    def refresh_ticks(self) -> float:
        """Ticks that a refresh costs a sequential stream of reads."""
        from uarch.dram.controller.state import REFRESHES

        refresh = self.options.refresh
        if refresh == "none":
            return 0.0
        timing, organisation = self.standard.timing, self.standard.organisation
        interval = timing.nREFI if refresh == "all" else timing.nREFIpb * 8
        burst = max(timing.nBL, timing.nCCD_S)
        count = max(min(_REFRESHES * interval // burst, _MOST_BURSTS), 3 * interval // burst)
        bursts = np.arange(count, dtype=np.int64) % (self.standard.capacity_bytes // organisation.burst_bytes)
        state = self.new_state(refresh)
        with_refresh = self.serve(bursts, state=state)
        return max(0.0, (with_refresh - self.serve(bursts)) / max(1, int(state[REFRESHES])))

    def new_state(self, refresh: RefreshMode, log_commands: int = 0) -> IntArray:
        """An idle channel."""
        from uarch.dram.controller.state import new_channel

        options = self.options.model_copy(update={"refresh": refresh})
        return new_channel(self.standard, options, tags=0, log_commands=log_commands)

    def serve(self, bursts: IntArray, is_write: IntArray | None = None, state: IntArray | None = None) -> float:
        """Ticks from the first request to the last data of a stream of bursts, after a pause if the channel was used."""
        from uarch.dram.channels.saturated_stream import serve
        from uarch.dram.controller.state import NOW

        state = self.new_state("none") if state is None else state
        if state[NOW] > 0:
            state[NOW] += _PAUSE_TICKS
        start = int(state[NOW])
        location = self.mapping.locate(bursts * self.standard.burst_bytes)
        written = np.zeros(len(bursts), dtype=np.int64) if is_write is None else is_write
        reads, writes = np.flatnonzero(written == 0), np.flatnonzero(written)
        end = serve(state, *location, reads, writes)
        if end < 0:
            raise InternalError(
                f"{self.standard.name}: a controller with {self.options!r} does not serve {len(bursts)} bursts"
            )
        return float(end - start)
