from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from results.analysis.dominance import front_numbers, on_front

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")

COSTS = st.tuples(st.integers(0, 30), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 5).map(float) | st.just(np.nan))
)


def beats(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> bool:
    return bool((a <= b).all() and (a < b).any())


@given(COSTS)
def test_the_front_is_what_nothing_beats(costs: npt.NDArray[np.float64]) -> None:
    known = [row for row in costs if not np.isnan(row).any()]
    expected = [not np.isnan(row).any() and not any(beats(other, row) for other in known) for row in costs]
    assert on_front(costs).tolist() == expected


@given(COSTS)
def test_each_point_is_beaten_by_one_of_the_front_before_its_own_and_by_none_of_its_own(
    costs: npt.NDArray[np.float64],
) -> None:
    numbers = front_numbers(costs)
    assert ((numbers >= 0) == ~np.isnan(costs).any(axis=1)).all()
    for row, number in zip(costs, numbers, strict=True):
        assert not any(beats(other, row) for other in costs[numbers == number])
        if number > 0:
            assert any(beats(other, row) for other in costs[numbers == number - 1])
