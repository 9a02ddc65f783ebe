from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uarch.errors import InputError
from uarch.files.reading import validate
from workloads.sweep.domain import Domain

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")


def domain(**fields: Any) -> Domain:
    return validate(Domain, fields, "domain")


def test_ranges_have_both_ends() -> None:
    assert domain(low=1, high=9, step=4).levels() == (1, 5, 9)
    assert domain(low=0.1, high=0.3, step=0.1).levels() == pytest.approx((0.1, 0.2, 0.3))
    assert domain(low=1.0, high=4.0, count=3, scale="log").levels() == pytest.approx((1.0, 2.0, 4.0))
    assert domain(low=8, high=70, scale="powers-of-two").levels() == (8, 16, 32, 64)
    assert domain(low=1, high=2, count=9).levels() == (1, 2), "integers are not repeated"
    assert domain(low=5, high=5, count=1).levels() == (5,)
    assert domain(low=1.0, high=2.0).levels() is None


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.floats(0, 1), st.sampled_from(["linear", "log"]))
def test_every_place_gives_a_value_within_the_range_and_of_its_type(
    low: int, more: int, place: float, scale: str
) -> None:
    whole = domain(low=low, high=low + more, scale=scale).at(place)
    real = domain(low=float(low), high=float(low + more), scale=scale).at(place)
    assert isinstance(whole, int)
    assert low <= whole <= low + more
    assert isinstance(real, float)
    assert low * (1 - 1e-12) <= real <= (low + more) * (1 + 1e-12)


@given(st.integers(1, 40), st.integers(2, 400))
def test_equal_parts_of_the_unit_interval_go_to_the_levels(n_levels: int, n_places: int) -> None:
    levels = domain(values=list(range(n_levels)))
    counts = [0] * n_levels
    for i in range(n_places):
        counts[int(levels.at((i + 0.5) / n_places))] += 1
    assert max(counts) - min(counts) <= 1 or n_places < n_levels


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"low": 3, "high": 2}, "must not be empty: low = 3 is above high = 2"),
        ({"low": 5, "high": 7, "scale": "powers-of-two"}, "no power of two lies between 5 and 7"),
        ({"values": []}, "values"),
        ({"low": 0.0, "high": 2.0, "scale": "log"}, "low above 0"),
        ({"low": 1}, "either values, or low and high"),
        ({"values": [1], "low": 1, "high": 2}, "either values, or low and high"),
        ({"values": [1, 1]}, "twice"),
        ({"low": 1, "high": 9, "step": 2, "count": 3}, "without count"),
        ({"low": 1, "high": 9, "steps": 2}, "did you mean 'step'"),
        ({"low": math.inf, "high": math.inf}, "low"),
    ],
)
def test_an_empty_or_contradictory_range_is_refused_in_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        domain(**fields)
    assert "\n" not in str(caught.value)
