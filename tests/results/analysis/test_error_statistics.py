"""Error statistics against their definitions, written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.analysis.error_statistics import error_statistics, relative_errors

TIMES = st.lists(
    st.tuples(st.floats(1e-6, 1e3, allow_subnormal=False), st.floats(1e-6, 1e3, allow_subnormal=False)), min_size=1
)


@given(TIMES)
def test_statistics_are_what_their_names_say(pairs: list[tuple[float, float]]) -> None:
    predicted, measured = zip(*pairs, strict=True)
    statistics = error_statistics(predicted, measured)
    errors = [p / m - 1 for p, m in pairs]
    absolute = sorted(map(abs, errors))
    assert statistics.rows == len(pairs)
    assert statistics.mape == pytest.approx(sum(absolute) / len(pairs))
    assert statistics.bias == pytest.approx(sum(errors) / len(pairs), abs=1e-12 * max(1, statistics.mape))
    middle = (absolute[(len(pairs) - 1) // 2] + absolute[len(pairs) // 2]) / 2
    assert statistics.median_ape == pytest.approx(middle)
    assert absolute[0] * (1 - 1e-12) <= statistics.p90_ape <= absolute[-1] * (1 + 1e-12)
    assert 0 <= statistics.within_10_percent <= statistics.within_20_percent <= 1


def test_a_case_by_hand() -> None:
    """Errors of +10 %, -50 %, 0 and +100 %."""
    statistics = error_statistics([11, 5, 10, 20], [10, 10, 10, 10])
    assert statistics.fields() == {
        "rows": 4,
        "mape": pytest.approx(0.4),
        "median_ape": pytest.approx(0.3),
        "p90_ape": pytest.approx(0.85),  # between 0.5 and 1.0 at rank 0.9 x 3 = 2.7
        "bias": pytest.approx(0.15),
        "within_10_percent": 0.5,
        "within_20_percent": 0.5,
    }


@pytest.mark.parametrize(
    ("predicted", "measured", "message"),
    [([1.0], [1.0, 2.0], "one length"), ([1.0], [0.0], "positive"), ([], [], "no rows")],
)
def test_what_has_no_error_is_refused(predicted: list[float], measured: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        error_statistics(predicted, measured)


def test_errors_are_signed() -> None:
    assert np.allclose(relative_errors([2.0, 1.0], [1.0, 2.0]), [1.0, -0.5])
