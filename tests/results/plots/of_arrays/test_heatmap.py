"""The heat map shows each share in its cell and draws a line between cells on both sides of a level."""

from __future__ import annotations

import numpy as np

from results.plots.of_arrays.heatmap import plot

SHARES = np.array([[0.031, 0.25], [0.49, 1.0]])


def test_cells_axes_and_lines() -> None:
    made = plot(SHARES, ("M", [1, 16]), ("N", [32, 64]), "Utilisation", "K = 128")
    ax = made.axes[0]
    assert [text.get_text() for text in ax.texts] == ["3.1", "25", "49", "100"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["32", "64"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "16"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("M", "N")
    # only the last cell is above 50 % (and 90 %): one edge below it and one at its left, for each of the two levels
    assert sorted(tuple(line.get_xdata()) for line in ax.lines) == [(0.5, 0.5)] * 2 + [(0.5, 1.5)] * 2


def test_one_row_has_no_lines() -> None:
    made = plot(SHARES[:1], ("M", [1]), ("N", [32, 64]), "Utilisation", "K = 128")
    assert not made.axes[0].lines
