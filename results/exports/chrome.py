"""Traces as trace events in JSON, for Perfetto (https://ui.perfetto.dev) and chrome://tracing.

Format: "Trace Event Format", Google. A process is a chip; its threads are the layers, the ops and, where a timeline was
recorded, the units of each core. Times (``ts``, ``dur``) are microseconds of simulated time; a cycle of the tensor clock
is ``otherData.microseconds_per_cycle[pid]``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from typing import IO, Any

import numpy as np

from results.plots.selection import run_name
from results.trace.schema import CAUSE_FIELDS, STALL_CAUSES, TIMELINE_TRACKS, Table, text
from results.trace.trace import Trace

Event = dict[str, Any]
Intervals = Callable[[], Iterable[Table]]
"""Opens a timeline, part by part."""

_LAYERS, _OPS, _CORES = 1, 2, 10
"""Numbers of the threads; those of the cores' tracks begin at ``_CORES``."""
_PS_PER_MICROSECOND = 1e6
_ARGUMENTS = ("kind", "shape", "bound_by")
_NUMBERS = ("flops", "dram_read_bytes", "dram_write_bytes", "l2_bytes", "link_bytes", "utilization")


def write(file: IO[str], traces: Sequence[Trace], timelines: Sequence[Intervals] = ()) -> int:
    """Write one JSON object with the events of all traces, each a process; returns the number of events.

    ``timelines``: of each trace, if they are wanted; they are read op by op.
    """
    rates = [1e6 / float(trace.rollup["clock_hz"]) for trace in traces]
    other = {"time": "microseconds of simulated time since the start of the run", "microseconds_per_cycle": rates}
    file.write(f'{{"displayTimeUnit": "ns", "otherData": {json.dumps(other)}, "traceEvents": [')
    count = 0
    for pid, trace in enumerate(traces):
        for event in _events(pid, trace, timelines[pid]() if timelines else ()):
            file.write(",\n" if count else "\n")
            file.write(json.dumps(event, allow_nan=False))
            count += 1
    file.write("\n]}\n")
    return count


def _events(pid: int, trace: Trace, timeline: Iterable[Table]) -> Iterator[Event]:
    yield _named("process_name", run_name(trace), pid)
    for tid, name in ((_LAYERS, "layers"), (_OPS, "ops")):
        yield _named("thread_name", name, pid, tid)
        yield {"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid}}
    starts = np.concatenate(([0.0], np.cumsum(trace.layers["seconds"]))) * 1e6
    yield from _layer_events(pid, trace.layers, starts)
    for index, (name, row) in enumerate(zip(text(trace.layers["name"]), trace.layers, strict=True)):
        yield _span(pid, _OPS, name, starts[index], starts[index + 1], _arguments(row))
        yield from _counters(pid, row, float(starts[index]))
    yield from _counters(pid, np.zeros(1, trace.layers.dtype)[0], float(starts[-1]))
    yield from _core_events(pid, timeline, starts, text(trace.layers["name"]))


def _named(kind: str, name: str, pid: int, tid: int = 0) -> Event:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}


def _span(pid: int, tid: int, name: str, start: float, end: float, arguments: Event | None = None) -> Event:
    """A complete event from ``start`` to ``end``, in microseconds; six digits are picoseconds."""
    ts, stop = round(float(start), 6), round(float(end), 6)
    event: Event = {"ph": "X", "name": name, "cat": "sim", "pid": pid, "tid": tid, "ts": ts, "dur": round(stop - ts, 6)}
    return event | ({"args": arguments} if arguments else {})


def _layer_events(pid: int, layers: Table, starts: Any) -> Iterator[Event]:
    """One span for each run of ops of one layer."""
    numbers = layers["layer"]
    cuts = np.concatenate(([0], np.flatnonzero(np.diff(numbers)) + 1, [len(numbers)]))
    for first, end in pairwise(cuts.tolist()):
        name = f"layer {numbers[first]}" if numbers[first] >= 0 else "outside the layers"
        yield _span(pid, _LAYERS, name, starts[first], starts[end])


def _arguments(row: Any) -> Event:
    """What a click on an op shows."""
    shown: Event = {name: row[name].decode() for name in _ARGUMENTS}
    shown |= {name: float(row[name]) for name in _NUMBERS}
    return shown | {field: round(float(row[field]), 3) for field in CAUSE_FIELDS}


def _counters(pid: int, row: Any, ts: float) -> Iterator[Event]:
    """Mean rates of an op as the values of counters from its start on."""
    seconds = float(row["seconds"])
    accesses = float(row["l2_hits"] + row["l2_misses"])
    values = {
        "DRAM (GB/s)": {
            "read": _rate(row["dram_read_bytes"], seconds),
            "write": _rate(row["dram_write_bytes"], seconds),
        },
        "L2 (GB/s)": {"moved": _rate(row["l2_bytes"], seconds)},
        "link (GB/s)": {"received": _rate(row["link_bytes"], seconds)},
        "L2 hits (%)": {"hits": round(100 * float(row["l2_hits"]) / accesses, 3) if accesses else 0.0},
    }
    for name, series in values.items():
        yield {"ph": "C", "name": name, "pid": pid, "tid": 0, "ts": round(ts, 6), "args": series}


def _rate(n_bytes: Any, seconds: float) -> float:
    return round(float(n_bytes) / seconds * 1e-9, 6) if seconds else 0.0


def _core_events(pid: int, timeline: Iterable[Table], starts: Any, names: Sequence[str]) -> Iterator[Event]:
    """Spans of the cores' tracks; what overlaps on one track goes to several threads."""
    threads: dict[tuple[int, int, int], int] = {}
    for rows in _by_op(timeline):
        op = int(rows["op"][0])
        free: dict[tuple[int, int], list[tuple[int, int]]] = {}
        used: dict[tuple[int, int], int] = {}
        for row in rows[np.argsort(rows["start_ps"], kind="stable")].tolist():
            _, core, block, track, cause, start_ps, end_ps, size_bytes = row
            lane = _lane(free.setdefault((core, track), []), used, (core, track), start_ps, end_ps)
            tid = threads.get((core, track, lane), _CORES + len(threads))
            if tid == _CORES + len(threads):
                threads[core, track, lane] = tid
                yield _named("thread_name", _track_name(core, track, lane), pid, tid)
                place = {"sort_index": _CORES + (core << 14) + (track << 10) + lane}
                yield {"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": place}
            name = STALL_CAUSES[cause] if TIMELINE_TRACKS[track] == "core" else f"block {block}"
            arguments: Event = {"op": names[op]} | ({"bytes": size_bytes} if size_bytes else {})
            start, end = (float(starts[op]) + ps / _PS_PER_MICROSECOND for ps in (start_ps, end_ps))
            yield _span(pid, tid, name, start, end, arguments)


def _track_name(core: int, track: int, lane: int) -> str:
    name = TIMELINE_TRACKS[track]
    shown = f"core {core}" if name == "core" else f"core {core} {name}"
    return f"{shown} {lane}" if lane else shown


def _lane(
    free: list[tuple[int, int]], used: dict[tuple[int, int], int], key: tuple[int, int], start: int, end: int
) -> int:
    """The lane that has been free longest, or a new one; ``free`` is a heap of (end of its last interval, lane)."""
    if free and free[0][0] <= start:
        _, lane = heappop(free)
    else:
        lane = used.get(key, 0)
        used[key] = lane + 1
    heappush(free, (end, lane))
    return lane


def _by_op(timeline: Iterable[Table]) -> Iterator[Table]:
    """The rows of one op at a time."""
    kept: list[Table] = []
    for part in timeline:
        cuts = np.flatnonzero(np.diff(part["op"])) + 1
        for piece in np.split(part, cuts):
            if kept and len(piece) and kept[0]["op"][0] != piece["op"][0]:
                yield np.concatenate(kept)
                kept = []
            if len(piece):
                kept.append(piece)
    if kept:
        yield np.concatenate(kept)
