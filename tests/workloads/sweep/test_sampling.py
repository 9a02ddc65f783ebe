from __future__ import annotations

import numpy as np
import pytest

from tests.support.small_sweep import static_sweep
from uarch.errors import InputError
from workloads.sweep.sampling import planned_points
from workloads.sweep.schema import Sampling

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")
RANGE = {"core.count": {"low": 8, "high": 128}, "l2.bytes": {"low": 1e7, "high": 9e7}}


def test_a_grid_has_every_combination_once() -> None:
    points = planned_points(static_sweep())
    assert [point.number for point in points] == list(range(9))
    assert len({tuple(point.values.values()) for point in points}) == 9
    assert points[1].values == {"core.count": 66, "l2.bytes": 33554432}


def test_one_at_a_time_changes_one_field_of_the_chip() -> None:
    points = planned_points(static_sweep(sampling=Sampling(method="one-at-a-time")))
    assert [len(point.values) for point in points] == [0, 1, 1, 1, 1, 1, 1]


def test_listed_points_come_first() -> None:
    points = planned_points(static_sweep(point=[{"chip": "a100"}]))
    assert points[0] == (0, {"chip": "a100"}, True)
    assert len(points) == 10


@pytest.mark.parametrize("method", ["latin-hypercube", "random"])
def test_a_seed_determines_a_sample(method: str) -> None:
    samples = [
        planned_points(static_sweep(parameter=RANGE, sampling={"method": method, "points": 32, "seed": seed}))
        for seed in (1, 1, 2)
    ]
    assert samples[0] == samples[1] != samples[2]
    assert len(samples[0]) == 32


def test_a_latin_hypercube_has_one_point_in_each_slice_of_each_parameter() -> None:
    points = planned_points(static_sweep(parameter=RANGE, sampling={"method": "latin-hypercube", "points": 40}))
    slices = [(float(point.values["l2.bytes"]) - 1e7) / 8e7 * 40 for point in points]
    assert sorted(np.floor(slices).astype(int).tolist()) == list(range(40))


def test_a_grid_of_a_continuous_parameter_is_refused() -> None:
    with pytest.raises(InputError, match=r"parameter l2.bytes: is continuous; for a grid it must have count or step"):
        planned_points(static_sweep(parameter={"l2.bytes": {"low": 1.0, "high": 2.0}}))
