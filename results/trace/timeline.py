"""What must hold for the intervals of a timeline, checked part by part: a timeline may be larger than the memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from results.trace.schema import CAUSE_FIELDS, STALL_CAUSES, TIMELINE_TRACKS, Table, matrix

PS_PER_SECOND = 1e12
_CYCLES = 2.0
"""Times of ops are rounded to cycles, at both ends."""
_ALONE = tuple(TIMELINE_TRACKS.index(track) for track in ("core", "matrix", "vector"))
"""Tracks on which a core does one thing at a time."""


def check_intervals(
    parts: Iterable[Table], layers: Table, clock_hz: float, most_intervals: int | None = None
) -> list[str]:
    """Everything that is wrong with a timeline, one line each; memory is bounded by the largest part.

    Checked: ops, tracks and causes known, ops in order; intervals within their op; on the tracks core, matrix and vector
    of a core one after the other; the core's time by cause equal to that in the layers table, for every op that has
    intervals (waiting for L1 during a step is the unit's work on a timeline).

    Args:
        parts: tables of ``TIMELINE_DTYPE``.
        layers: of the same trace.
        clock_hz: of the table's cycles.
        most_intervals: how many were recorded at most, if there was a limit: the op at which it was reached is incomplete.
    """
    state = _Checker(layers, clock_hz)
    for part in parts:
        if len(part) and not state.problems:
            state.add(part)
    return state.problems or state.sums(most_intervals)


class _Checker:
    """What has to be remembered between two parts: where each core's tracks end, and each op's time by cause."""

    def __init__(self, layers: Table, clock_hz: float) -> None:
        self.layers, self.ps_per_cycle = layers, PS_PER_SECOND / clock_hz
        self.problems: list[str] = []
        self.rows, self.last_op = 0, 0
        self.ends: dict[tuple[int, int], int] = {}
        self.cause_ps = np.zeros((len(layers), len(STALL_CAUSES)))
        self.cores = np.zeros(len(layers), np.int64)

    def add(self, part: Table) -> None:
        known = (part["op"] >= 0) & (part["op"] < len(self.layers)) & (part["core"] >= 0)
        known &= (part["track"] < len(TIMELINE_TRACKS)) & (part["cause"] < len(STALL_CAUSES))
        self._require(known, "unknown op, core, track or cause")
        if self.problems:
            return
        self._require(np.diff(part["op"], prepend=self.last_op) >= 0, "op before that of the row above")
        self._require(part["end_ps"] >= part["start_ps"], "end before start")
        cycles = self.layers["end_cycle"] - self.layers["start_cycle"]
        length_ps = (cycles[part["op"]] + _CYCLES) * self.ps_per_cycle
        self._require((part["start_ps"] >= 0) & (part["end_ps"] <= length_ps), "interval outside its op")
        self._check_order(part)
        core = part[part["track"] == TIMELINE_TRACKS.index("core")]
        np.add.at(self.cause_ps, (core["op"], core["cause"]), core["end_ps"] - core["start_ps"])
        np.maximum.at(self.cores, core["op"], core["core"] + 1)
        self.rows += len(part)

    def _require(self, right: npt.NDArray[np.bool_], what: str) -> None:
        wrong = np.flatnonzero(~right)
        if len(wrong):
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            self.problems.append(f"timeline: {what} in row {self.rows + int(wrong[0])}{more}")

    def _check_order(self, part: Table) -> None:
        """Per op, core and track the rows must stand in order of time without overlap."""
        if part["op"][0] != self.last_op:
            self.ends = {}
        right = np.ones(len(part), np.bool_)
        rows = np.flatnonzero(np.isin(part["track"], _ALONE))
        rows = rows[np.lexsort((rows, part["track"][rows], part["core"][rows], part["op"][rows]))]
        chosen = part[rows]
        same = np.ones(max(len(rows) - 1, 0), np.bool_)
        for field in ("op", "core", "track"):
            same &= chosen[field][1:] == chosen[field][:-1]
        right[rows[1:]] = ~same | (chosen["start_ps"][1:] >= chosen["end_ps"][:-1])
        for first in rows[np.flatnonzero(np.concatenate(([True], ~same)))] if len(rows) else ():
            row = part[first]
            if row["op"] == self.last_op:
                right[first] &= row["start_ps"] >= self.ends.get((int(row["core"]), int(row["track"])), 0)
        self._require(right, "overlaps the interval before it on its core")
        last_op = int(part["op"][-1])
        if last_op != self.last_op:
            self.ends = {}
        for last in rows[np.flatnonzero(np.concatenate((~same, [True])))] if len(rows) else ():
            row = part[last]
            if row["op"] == last_op:
                self.ends[int(row["core"]), int(row["track"])] = int(row["end_ps"])
        self.last_op = last_op

    def sums(self, most_intervals: int | None) -> list[str]:
        """Compare the time by cause with that of the layers table."""
        recorded = self.cores > 0
        if most_intervals is not None and self.rows >= most_intervals:
            recorded[self.last_op :] = False
        mean_cycles = self.cause_ps / np.maximum(self.cores, 1)[:, None] / self.ps_per_cycle
        wrong = np.abs(_joined(mean_cycles) - _joined(matrix(self.layers, CAUSE_FIELDS))) > _CYCLES
        ops = np.flatnonzero(recorded & wrong.any(axis=1))
        return [f"timeline: core time of op {op} by cause is not that of the layers table" for op in ops[:1]]


def _joined(cycles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cycles by cause with what counts as work of a unit on track "core" in one column: units, and their wait for L1."""
    work = np.isin(STALL_CAUSES, ("matrix", "vector", "l1"))
    return np.column_stack((cycles[:, work].sum(axis=1), cycles[:, ~work]))
