"""The plot of predicted over measured times.

Exercised with it: numbers.
"""

from __future__ import annotations

import numpy as np
import pytest

from results.plots.of_arrays import agreement
from results.plots.style import PlotError


def test_every_row_is_a_point_and_every_curve_ends_at_all_rows() -> None:
    measured, predicted, bound = [1e-5, 2e-5, 4e-5], [1.1e-5, 1.5e-5, 4e-5], [5e-6, 1e-5, 2e-5]
    fig = agreement.plot(measured, predicted, bound, ["a", "b", "b"], "title")
    pairs, shares = fig.axes
    points = [tuple(line.get_xydata()[0]) for line in pairs.lines if line.get_marker() == "o"]
    assert points == [(1e-5, 1.1e-5)]
    curves = {line.get_label(): line.get_xydata() for line in shares.lines}
    assert list(curves) == ["a", "b", "roofline, all rows"]
    assert all(curve[-1, 1] == 100 for curve in curves.values())
    assert np.allclose(curves["b"][:, 0], [0, 25])
    assert np.allclose(curves["roofline, all rows"][:, 0], [50, 50, 50])


@pytest.mark.parametrize("measured", [[], [0.0], [-1.0]])
def test_times_must_be_positive(measured: list[float]) -> None:
    with pytest.raises(PlotError):
        agreement.plot(measured, [1.0] * len(measured), [1.0] * len(measured), ["a"] * len(measured), "title")
