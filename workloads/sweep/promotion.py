"""Successive halving: which points are run again with the next, dearer fidelity."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from results.analysis.dominance import front_numbers
from workloads.sweep.design import Point
from workloads.sweep.evaluation import Row
from workloads.sweep.schema import Sweep


def costs_of(sweep: Sweep, row: Row) -> list[float]:
    """Objectives of a row, low is good; NaN where it has none, which is so for all of a row that is not done."""
    values = [row.outputs.get(each.column) if row.status == "done" else None for each in sweep.objective]
    return [
        float("nan") if value is None else each.sign * float(value)
        for each, value in zip(sweep.objective, values, strict=True)
    ]


def promoted(sweep: Sweep, points: Sequence[Point], rows: Sequence[Row]) -> list[Point]:
    """Points of the best fronts that together have at least the share ``keep`` of all that are done.

    Fronts are kept as a whole, so that no point that is the best in some trade is dropped. Points that the file lists are
    always kept: they are there to be compared with.
    """
    numbers = front_numbers(np.array([costs_of(sweep, row) for row in rows]))
    done = numbers >= 0
    if not done.any():
        return []
    wanted = ceil(sweep.keep * int(done.sum()))
    last = int(np.sort(numbers[done])[wanted - 1])
    chosen = done & (numbers <= last)
    return [point for point, is_chosen in zip(points, chosen, strict=True) if is_chosen or point.is_given]
