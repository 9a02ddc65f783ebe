"""Numbers beside markers, placed so that they hide neither each other nor a marker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

_SIZE = 11.0
"""Points between two numbers that can be told apart."""
_DIRECTIONS = np.radians([0, 60, 300, 120, 240, 180, 30, 330, 90, 270, 150, 210])
_POINTS_PER_INCH = 72


def place_numbers(ax: Axes, at: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]) -> None:
    """Write 1, 2, ... beside markers; the axes must have their final size and limits.

    Args:
        ax: axes with the markers.
        at: their places in data coordinates, shape ``(markers, 2)``.
        radii: of the markers in points, shape ``(markers,)``.
    """
    centres = ax.transData.transform(at) * (_POINTS_PER_INCH / ax.get_figure(root=True).dpi)  # type: ignore[union-attr]
    taken: list[npt.NDArray[np.float64]] = []
    for index, radius in enumerate(radii):
        offset = _best_offset(centres, radii, taken, index, float(radius) + 6)
        taken.append(centres[index] + offset)
        note = ax.annotate(
            str(index + 1),
            (float(at[index, 0]), float(at[index, 1])),
            xytext=(float(offset[0]), float(offset[1])),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            zorder=6,
        )
        note.set_in_layout(False)


def _best_offset(
    centres: npt.NDArray[np.float64],
    radii: npt.NDArray[np.float64],
    taken: list[npt.NDArray[np.float64]],
    index: int,
    distance: float,
) -> npt.NDArray[np.float64]:
    """The first direction with the fewest overlaps, near the marker or else farther away."""
    best, fewest = np.zeros(2), np.inf
    for far in (distance, distance + _SIZE, distance + 2 * _SIZE):
        for direction in _DIRECTIONS:
            offset = far * np.array([np.cos(direction), np.sin(direction)])
            spot = centres[index] + offset
            hidden = sum(float(np.hypot(*(spot - other))) < _SIZE for other in taken)
            hidden += int(np.sum(np.hypot(*(centres - spot).T) < radii + 4))
            if hidden < fewest:
                best, fewest = offset, hidden
        if fewest == 0:
            break
    return best
