"""From the engine's recordings to the timeline of a trace."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from results.trace.schema import STALL_CAUSES, TIMELINE_DTYPE, TIMELINE_TRACKS, Table
from uarch.engine.execute import ENGINE_FIDELITIES
from uarch.engine.recorder import Track
from uarch.errors import InputError, must_be
from uarch.events import CAUSES
from uarch.program.records import StructArray

Sink = Callable[[Table], None]
"""Takes rows of ``TIMELINE_DTYPE`` as they come."""

if tuple(track.name.lower() for track in Track) != TIMELINE_TRACKS or STALL_CAUSES != CAUSES:
    raise ImportError("the tracks and causes of a trace are not those of the engine")


LARGEST_LIMIT = 1 << 40


class Timeline:
    """Passes intervals of executions on, as rows of a trace, until there are too many.

    ``begin`` says which op of the trace the next executions belong to; ``shift`` that one of them is over.
    """

    def __init__(self, sink: Sink, most_intervals: int) -> None:
        self.left = most_intervals
        self._sink = sink
        self._op, self._offset_ps = 0, 0

    def begin(self, op: int) -> None:
        """The next execution begins the op in this row of the layers table."""
        self._op, self._offset_ps = op, 0

    def shift(self, total_ps: int) -> None:
        """An execution has taken so long; the next one of the op follows it."""
        self._offset_ps += total_ps

    def add(self, intervals: StructArray) -> None:
        """Intervals of the present execution, dtype ``INTERVAL``."""
        self.left -= len(intervals)
        rows = np.zeros(len(intervals), TIMELINE_DTYPE)
        for name in intervals.dtype.names or ():
            rows[name] = intervals[name]
        rows["op"] = self._op
        rows["start_ps"] += self._offset_ps
        rows["end_ps"] += self._offset_ps
        self._sink(rows)


def open_timeline(limit: int, fidelity: str, record: Sink | None = None) -> tuple[Timeline | None, list[Table]]:
    """A timeline of at most ``limit`` intervals, or None for 0; and what it has recorded, if nobody else takes it.

    Raises :class:`uarch.InputError` for a limit that is not allowed, or a fidelity without the engine.
    """
    if not 0 <= limit <= LARGEST_LIMIT:
        raise must_be("timeline_limit", limit, f"at least 0 and at most {LARGEST_LIMIT}")
    if limit == 0:
        return None, []
    if fidelity not in ENGINE_FIDELITIES:
        raise InputError(f"fidelity = {fidelity!r}: has no timeline; allowed: {', '.join(ENGINE_FIDELITIES)}")
    recorded: list[Table] = []
    return Timeline(record or recorded.append, limit), recorded


def limit_of(limit: int) -> dict[str, int]:
    """Limit of a timeline as a field of a trace's workload, by which the timeline is checked."""
    return {"timeline_limit": limit} if limit else {}
