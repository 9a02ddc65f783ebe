from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.analysis.dominance import on_front
from tests.support.small_sweep import static_sweep
from workloads.sweep.design import Point
from workloads.sweep.evaluation import Row
from workloads.sweep.promotion import costs_of, promoted

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=20), st.floats(0.01, 1))
def test_the_whole_front_and_at_least_the_share_is_kept(values: list[tuple[int, int]], keep: float) -> None:
    sweep = static_sweep(keep=keep)
    points = [Point(number, {}) for number in range(len(values))]
    rows = [
        Row(number, "analytical", "done", outputs={"die_area_mm2": area, "size": size})
        for number, (area, size) in enumerate(values)
    ]
    kept = {point.number for point in promoted(sweep, points, rows)}
    costs = np.array([costs_of(sweep, row) for row in rows])
    assert costs[:, 1].tolist() == [-float(size) for _, size in values], "what is maximised is negated"
    assert set(np.flatnonzero(on_front(costs)).tolist()) <= kept
    assert len(kept) >= keep * len(values)


def test_points_that_are_not_done_are_dropped_unless_they_are_listed() -> None:
    points = [Point(0, {}, is_given=True), Point(1, {}), Point(2, {})]
    rows = [
        Row(0, "analytical", "failed"),
        Row(1, "analytical", "failed"),
        Row(2, "analytical", "done", outputs={"die_area_mm2": 1.0, "size": 1.0}),
    ]
    assert [point.number for point in promoted(static_sweep(), points, rows)] == [0, 2]
