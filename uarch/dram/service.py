"""How long a channel takes for each pattern of access, measured by running its command-level model.

The ``tile`` fidelity serves *visits*, the bursts that a granule has in one channel, and its patterns are made of

- the *run*: how many consecutive bursts of a set of open rows are visited before another one is opened,
- where the next row lies: in other banks than the last, or in the same, whose row must be closed first,
- the share of writes among what the channel serves, between which and reads the bus turns round,
- load: a visit to an idle channel with the row open, the banks closed, or another row open; under load visits queue.

Times are measured with the queues full and without refresh, whose dead time is measured by itself. Results are kept in
memory and on disk, under a key of the standard, its clock, the mapping and the model's sources.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.dram.addresses import AddressMapping
from uarch.dram.options import ControllerOptions, RefreshMode
from uarch.dram.standards import Standard
from uarch.jit import cache_directory

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

MIX_STEPS = 8
"""Shares of writes are told apart in eighths."""
LARGEST_SET = 512
_WINDOW = 1024
_BURSTS = 8192
"""Bursts of a measurement: long enough for its start and end not to matter."""
_SHORTEST_STREAM = 512
_REFRESHES = 24
_PAUSE_TICKS = 100_000
_SEED = 1
_FARTHEST = 64


class ServiceTicks(NamedTuple):
    """Measured times in ticks of the standard; float64."""

    run: FloatArray
    """Shape ``(set + 1,)``: the first n bursts of a set of rows that has to be opened, its banks having been left before."""
    conflict: FloatArray
    """Shape ``(set + 1,)``: what is added if the run before was in other rows of the same banks."""
    open_latency: FloatArray
    """Shape ``(set + 1,)``: of a visit of n bursts to an idle channel whose rows are open; from arrival to the last data."""
    closed_latency: FloatArray
    conflict_latency: FloatArray
    write: FloatArray
    """Shape ``(MIX_STEPS + 1, set + 1)``: what a written burst takes more than a read one, by share of writes and run."""
    refresh: float
    """Dead time of a refresh, reopening of rows included; 0 without refresh."""


def service_ticks(
    standard: Standard, mapping: str, options: ControllerOptions, visit_bursts: int, write_delay: int
) -> ServiceTicks:
    """Times of a standard under an address mapping.

    Writes come ``visit_bursts`` at a time, ``write_delay`` ticks after the reads whose data push them out of a cache.

    Raises :class:`InputError` if the mapping does not fit the standard.
    """
    return _service_ticks(standard.model_dump_json(), mapping, options, visit_bursts, write_delay)


@lru_cache(maxsize=256)
def _service_ticks(
    standard_text: str, mapping: str, options: ControllerOptions, visit_bursts: int, write_delay: int
) -> ServiceTicks:
    key = json.dumps([standard_text, mapping, options.model_dump_json(), visit_bursts, write_delay])
    path = cache_directory() / f"dram-service-{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    known = _read(path)
    if known is None:
        bench = _Bench(Standard.model_validate_json(standard_text), mapping, options, write_delay)
        known = bench.measure(visit_bursts)
        _write(path, known)
    return known


def _read(path: Path) -> ServiceTicks | None:
    try:
        fields: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    refresh = fields.pop("refresh")
    return ServiceTicks(refresh=refresh, **{name: np.array(values) for name, values in fields.items()})


def _write(path: Path, ticks: ServiceTicks) -> None:
    text = json.dumps({k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in ticks._asdict().items()})
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).replace(path)


def _conflict(excess: float, run: float, sets: int) -> float:
    """What a run waits after the last one in its banks, if runs in rows at random take ``excess`` more than others.

    The banks of a run were used last d runs ago with probability (1 - 1/sets)^d / sets, and d runs are less to wait.
    """
    if sets == 1 or excess <= 0:
        return 0.0
    weights = (1 - 1 / sets) ** np.arange(_FARTHEST) / sets
    wait = 0.0
    for nearest in range(1, _FARTHEST + 1):  # as many terms as are positive
        used = weights[:nearest]
        wait = float((excess + run * (used * np.arange(nearest)).sum()) / used.sum())
        if wait <= nearest * run:
            break
    return wait


class _Bench:
    """One channel, and streams that show one cost each."""

    def __init__(self, standard: Standard, mapping: str, options: ControllerOptions, write_delay: int) -> None:
        self.standard = standard
        self.options = options
        self.write_delay = write_delay
        self.mapping = AddressMapping(standard, mapping)
        bits, bank_sets = self.mapping.row_sets(LARGEST_SET)
        self.set_bursts = 1 << bits
        count = standard.capacity_bytes // standard.burst_bytes >> bits
        first = np.arange(min(count, 1 << 14), dtype=np.int64) * self.set_bursts
        of_set = bank_sets[self.mapping.locate(first * standard.burst_bytes).bank]
        self.first = first
        self.rows_of = [first[of_set == number] for number in range(int(bank_sets.max()) + 1)]
        """First bursts of sets of rows, by set of banks."""

    def measure(self, visit_bursts: int) -> ServiceTicks:
        sizes = [1 << k for k in range(self.set_bursts.bit_length())]
        runs = np.array([self.per_run(size, self.rows_in_turn) for size in sizes])
        at_random = np.array([self.per_run(size, self.rows_at_random) for size in sizes])
        sets = len(self.rows_of)
        conflicts = [_conflict(excess, run, sets) for excess, run in zip(at_random - runs, runs, strict=True)]
        latencies = [[self.latency(kind, size) for size in sizes] for kind in ("open", "closed", "conflict")]
        index = np.arange(self.set_bursts + 1)

        def interpolated(values: npt.ArrayLike, at_zero: float) -> FloatArray:
            measured: FloatArray = np.interp(index, [0, *sizes], [at_zero, *np.asarray(values)])
            return measured

        writes = [
            interpolated(excess, excess[0])
            for share in range(1, MIX_STEPS + 1)
            for excess in [[self.write_excess(share, size, visit_bursts) for size in sizes]]
        ]
        return ServiceTicks(
            run=interpolated(np.maximum.accumulate(runs), 0.0),
            conflict=interpolated(np.maximum(conflicts, 0.0), 0.0),
            open_latency=interpolated(latencies[0], latencies[0][0]),
            closed_latency=interpolated(latencies[1], latencies[1][0]),
            conflict_latency=interpolated(latencies[2], latencies[2][0]),
            write=np.maximum([writes[0], *writes], 0.0),
            refresh=self.refresh_ticks(),
        )

    def rows_in_turn(self, count: int) -> IntArray:
        """First bursts of sets of rows, each in the set of banks after that of the last."""
        sets = len(self.rows_of)
        return np.array([self.rows_of[i % sets][i // sets % len(self.rows_of[i % sets])] for i in range(count)])

    def rows_at_random(self, count: int) -> IntArray:
        """First bursts of sets of rows drawn at random."""
        return np.random.default_rng(_SEED).choice(self.first, count)

    def per_run(self, size: int, rows: Callable[[int], IntArray]) -> float:
        """Ticks of a run of ``size`` bursts in a stream of such runs."""
        starts = rows(max(_SHORTEST_STREAM, _BURSTS // size))
        return self.steady((starts[:, np.newaxis] + np.arange(size)).ravel()) * size

    def latency(self, kind: str, size: int) -> float:
        """Ticks from the arrival of a visit of ``size`` bursts at an idle channel to its last data."""
        rows = self.rows_of[0]
        state = self.new_state("none")
        if kind != "closed":
            before = rows[0] if kind == "open" else rows[1]
            self.serve(before + np.arange(self.set_bursts), state=state)
        return self.serve(rows[0] + np.arange(size), state=state)

    def write_excess(self, share: int, size: int, visit_bursts: int) -> float:
        """Ticks of a written burst beyond those of a read one, if ``share`` eighths of the visits are writes.

        Reads are runs of ``size`` bursts, writes runs of whole sets, which caches evict in order, in rows drawn at random.
        """
        visits = 2 * _BURSTS // visit_bursts
        is_write = np.diff(np.arange(visits + 1) * share // MIX_STEPS)
        bursts = np.empty((visits, visit_bursts), dtype=np.int64)
        generator = np.random.default_rng(_SEED)
        for kind, run in ((0, size), (1, self.set_bursts)):
            wanted = int((is_write == kind).sum()) * visit_bursts
            starts = generator.choice(self.first, -(-wanted // run))
            of_kind = (starts[:, np.newaxis] + np.arange(run)).ravel()[:wanted]
            bursts[is_write == kind] = of_kind.reshape(-1, visit_bursts)
        mixed = self.serve(bursts.ravel(), np.repeat(is_write, visit_bursts))
        return (mixed - self.serve(bursts.ravel())) / (int(is_write.sum()) * visit_bursts)

    def refresh_ticks(self) -> float:
        """Ticks that a refresh costs a sequential stream of reads."""
        from uarch.dram.state import REFRESHES

        refresh = self.options.refresh
        if refresh == "none":
            return 0.0
        timing, organisation = self.standard.timing, self.standard.organisation
        interval = timing.nREFI if refresh == "all" else timing.nREFIpb * 8
        count = _REFRESHES * interval // max(timing.nBL, timing.nCCD_S)
        bursts = np.arange(count, dtype=np.int64) % (self.standard.capacity_bytes // organisation.burst_bytes)
        state = self.new_state(refresh)
        with_refresh = self.serve(bursts, state=state)
        return max(0.0, (with_refresh - self.serve(bursts)) / max(1, int(state[REFRESHES])))

    def steady(self, bursts: IntArray, is_write: IntArray | None = None) -> float:
        """Ticks of a burst of a stream, once it is under way."""
        half = len(bursts) // 2
        all_ticks = self.serve(bursts, is_write)
        return (all_ticks - self.serve(bursts[:half], None if is_write is None else is_write[:half])) / (
            len(bursts) - half
        )

    def new_state(self, refresh: RefreshMode) -> IntArray:
        from uarch.dram.state import new_channel

        return new_channel(self.standard, self.options.model_copy(update={"refresh": refresh}), tags=0)

    def serve(self, bursts: IntArray, is_write: IntArray | None = None, state: IntArray | None = None) -> float:
        """Ticks from the first request to the last data of a stream of bursts, after a pause if the channel was used."""
        from uarch.dram.saturate import serve
        from uarch.dram.state import NOW

        state = self.new_state("none") if state is None else state
        if state[NOW] > 0:
            state[NOW] += _PAUSE_TICKS
        start = int(state[NOW])
        location = self.mapping.locate(bursts * self.standard.burst_bytes)
        written = np.zeros(len(bursts), dtype=np.int64) if is_write is None else is_write
        reads, writes = np.flatnonzero(written == 0), np.flatnonzero(written)
        issued_at = np.zeros(len(reads) + 1, dtype=np.int64)
        end = serve(state, *location, reads, writes, _WINDOW, self.write_delay, issued_at)
        return float(end - start)
