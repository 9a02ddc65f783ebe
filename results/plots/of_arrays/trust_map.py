"""Where a model can be trusted: its error over arithmetic intensity and tile quantisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from results.plots.style import DARK_GREY, figure, legend_beside, styled

BANDS = (0.1, 0.2, 0.5)
"""Absolute errors that part trusted, usable, rough and wrong."""
_COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00")
_NAMES = ("within 10 %", "within 20 %", "within 50 %", "worse")
_SCALE = 100


@styled
def plot(
    intensity: npt.NDArray[np.float64],
    quantisation: npt.NDArray[np.float64],
    error: npt.NDArray[np.float64],
    ridge: float,
    title: str,
    setting: str,
) -> Figure:
    """A marker per kernel, coloured by the size of its error and labelled with its percentage; background by the nearest.

    Args:
        intensity: FLOP per byte of memory traffic, float64 ``(kernels,)``, positive.
        quantisation: useful part of whole tiles and waves, 0 to 1, same shape.
        error: (predicted - true) / true, same shape.
        ridge: intensity at which the chip's compute and memory balance.
        title: which model on which chip.
        setting: suite and truth, in a second line.
    """
    fig = figure(9.5, 5.4)
    fig.suptitle(title, ha="left", x=0.01)
    ax = fig.subplots()
    ax.set_title(setting)
    ax.set_xscale("log")
    low, high = min(0.5 * float(intensity.min()), ridge / 4), max(2 * float(intensity.max()), ridge * 4)
    ax.set_xlim(low, high)
    ax.set_ylim(-4, 108)
    palette, norm = ListedColormap(_COLOURS), BoundaryNorm([0, *BANDS, 1e9], len(_COLOURS))
    _draw_nearest(ax, intensity, quantisation, error, palette, norm)
    ax.scatter(
        intensity, 100 * quantisation, c=np.abs(error), cmap=palette, norm=norm, edgecolor="black", s=44, zorder=3
    )
    ax.axvline(ridge, color=DARK_GREY, linestyle="--", linewidth=1)
    ax.annotate("memory | compute", (ridge, 105), ha="center", va="center", fontsize=8, backgroundcolor="white")
    ax.set_xlabel("arithmetic intensity (FLOP per byte of memory traffic)")
    ax.set_ylabel("useful part of whole tiles and waves (%)")
    handles = [Patch(facecolor=colour, label=name) for colour, name in zip(_COLOURS, _NAMES, strict=True)]
    legend_beside(ax, handles, "error of the model")
    fig.draw_without_rendering()
    _label(ax, intensity, 100 * quantisation, error)
    return fig


def _draw_nearest(
    ax: Axes,
    intensity: npt.NDArray[np.float64],
    quantisation: npt.NDArray[np.float64],
    error: npt.NDArray[np.float64],
    palette: ListedColormap,
    norm: BoundaryNorm,
) -> None:
    """The colour of the nearest kernel everywhere, faint: a map between points, not a measurement."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    x = np.linspace(0, 1, _SCALE)
    across = np.log(intensity / left) / np.log(right / left)
    up = (100 * quantisation - bottom) / (top - bottom)
    distance = (x[None, :, None] - across) ** 2 + (x[:, None, None] - up) ** 2
    nearest = np.abs(error)[distance.argmin(axis=2)]
    edges_x = left * (right / left) ** np.linspace(0, 1, _SCALE + 1)
    edges_y = np.linspace(bottom, top, _SCALE + 1)
    ax.pcolormesh(
        edges_x, edges_y, nearest, cmap=palette, norm=norm, alpha=0.22, linewidth=0, rasterized=True, zorder=0
    )


def _label(ax: Axes, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], error: npt.NDArray[np.float64]) -> None:
    """Signed percentages, above or below their markers so that as few as possible hide each other."""
    pixels = ax.transData.transform(np.column_stack((x, y)))
    taken: list[tuple[float, float]] = []
    order: Sequence[int] = np.argsort(-np.abs(error)).tolist()
    for index in order:
        for dx, dy in ((0, 9), (0, -9), (17, 0), (-17, 0), (0, 18), (0, -18)):
            spot = float(pixels[index, 0] + 2 * dx), float(pixels[index, 1] + 2 * dy)
            if all(abs(spot[0] - a) > 48 or abs(spot[1] - b) > 18 for a, b in taken):
                break
        else:
            continue
        taken.append(spot)
        text = f"{100 * error[index]:+.0f}"
        place = float(x[index]), float(y[index])
        note = ax.annotate(
            text, place, (dx, dy), textcoords="offset points", ha="center", va="center", fontsize=8, zorder=4
        )
        note.set_in_layout(False)
