"""Parallel coordinates: each design a line through its parameters and results."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from results.plots.style import BLUE, DARK_GREY, LIGHT_GREY, figure, styled

_MOST_TICKS = 8


@styled
def plot(title: str, columns: Mapping[str, npt.NDArray[np.generic]], front: npt.NDArray[np.bool_]) -> Figure:
    """Draw a vertical axis for each column and a line for each design, those on the front in colour.

    Parameters
    ----------
    title
        What is shown.
    columns
        Name -> numbers or texts ``(designs,)``; an axis of numbers goes from the least to the greatest, of texts in order.
    front
        Bool ``(designs,)``: which designs are drawn in colour, on top.
    """
    fig = figure(1.6 + 1.5 * len(columns), 4.8)
    ax = fig.subplots()
    ax.set_title(title)
    places = np.stack([_places(values) for values in columns.values()], axis=1)
    for chosen, colour, width in ((~front, LIGHT_GREY, 0.6), (front, BLUE, 1.3)):
        ax.plot(np.arange(len(columns)), places[chosen].T, color=colour, linewidth=width, zorder=1 + width)
    for at, values in enumerate(columns.values()):
        _draw_axis(ax, at, values)
    ax.set_xticks(np.arange(len(columns)), [_broken(name) for name in columns], size=8)
    ax.set_yticks([])
    ax.set_xlim(-0.3, len(columns) - 0.4)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return fig


def _places(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Height of each value on its axis, 0 to 1; the middle if all are equal."""
    if values.dtype.kind in "US":
        numbers = np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.float64)
    else:
        numbers = values.astype(np.float64)
    low, high = np.nanmin(numbers), np.nanmax(numbers)
    scaled: npt.NDArray[np.float64] = (numbers - low) / (high - low) if high > low else np.full(len(numbers), 0.5)
    return scaled


def _draw_axis(ax: Axes, at: int, values: npt.NDArray[np.generic]) -> None:
    ax.axvline(at, color=DARK_GREY, linewidth=0.8, zorder=0.5)
    places = _places(values)
    shown, first = np.unique(values[np.isfinite(places)], return_index=True)
    where = places[np.isfinite(places)][first]
    if len(shown) > _MOST_TICKS:
        shown, where = shown[[0, -1]], where[[0, -1]]
    for value, place in zip(shown.tolist(), where.tolist(), strict=True):
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        ax.text(
            at + 0.03,
            place,
            text,
            size=7,
            va="center",
            zorder=5,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )


def _broken(name: str) -> str:
    """Text of an axis, broken where a dotted name or a long expression can be."""
    return name.replace(".", ".\n", name.count(".")).replace(" / ", "\n/ ").replace("_per_", "\nper_")
