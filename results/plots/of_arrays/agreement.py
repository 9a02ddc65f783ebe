"""Predicted against measured times, and how often an error is as large as that: for any predictions, not for traces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.analysis.error_statistics import error_statistics, relative_errors
from results.plots.quantities import quantity
from results.plots.style import (
    BLACK,
    BLUE,
    DARK_GREY,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    PlotError,
    figure,
    styled,
)

FloatArray = npt.NDArray[np.float64]

_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, YELLOW, BLACK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_BAND = 0.2
_WORST_SHOWN = 1.0


@styled
def plot(
    measured: Sequence[float], predicted: Sequence[float], bound: Sequence[float], groups: Sequence[str], title: str
) -> Figure:
    """Left: predicted over measured seconds, a colour for each group, errors up to 20 % shaded. Right: the share of rows
    whose error is below a value, for the predictions of each group and for ``bound`` (the roofline) over all rows.

    Raises:
        PlotError: no rows, or times that are not positive.
    """
    times, guesses, floor = (np.asarray(values, np.float64) for values in (measured, predicted, bound))
    if not len(times) or not all((values > 0).all() for values in (times, guesses, floor)):
        raise PlotError("agreement: needs at least one row, and positive times")
    fig = figure(10.0, 4.6)
    fig.suptitle(title, ha="left", x=0.01)
    left, right = fig.subplots(1, 2, width_ratios=(1.15, 1.0))
    names = list(dict.fromkeys(groups))
    members = {name: np.array([group == name for group in groups]) for name in names}
    _draw_pairs(left, times, guesses, members)
    _draw_shares(right, times, guesses, floor, members)
    return fig


def _draw_pairs(
    ax: Axes, measured: FloatArray, predicted: FloatArray, members: dict[str, npt.NDArray[np.bool_]]
) -> None:
    low, high = min(measured.min(), predicted.min()) / 1.5, max(measured.max(), predicted.max()) * 1.5
    ends = np.array([low, high])
    ax.fill_between(
        ends, ends * (1 - _BAND), ends * (1 + _BAND), color=LIGHT_GREY, linewidth=0, label="error up to 20 %"
    )
    ax.plot(ends, ends, color=DARK_GREY, linewidth=0.8)
    for i, (name, rows) in enumerate(members.items()):
        marker, colour = _MARKERS[i % len(_MARKERS)], _COLOURS[i % len(_COLOURS)]
        mape = error_statistics(predicted[rows], measured[rows]).mape
        label = f"{name}: {100 * mape:.1f} % ({rows.sum()} rows)"
        ax.plot(
            measured[rows],
            predicted[rows],
            linestyle="",
            markersize=3.6,
            alpha=0.8,
            label=label,
            marker=marker,
            color=colour,
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: quantity(value, "s"))
    ax.set_aspect("equal")
    ax.grid(which="major")
    ax.set_xlabel("measured")
    ax.set_ylabel("predicted")
    ax.set_title("mean error in the legend")
    ax.legend(loc="upper left", markerscale=1.4)


def _draw_shares(
    ax: Axes, measured: FloatArray, predicted: FloatArray, bound: FloatArray, members: dict[str, npt.NDArray[np.bool_]]
) -> None:
    everything = np.ones(len(measured), np.bool_)
    curves = [
        (name, predicted, rows, _COLOURS[i % len(_COLOURS)], "-") for i, (name, rows) in enumerate(members.items())
    ]
    for name, values, rows, colour, line in (*curves, ("roofline, all rows", bound, everything, GREY, "--")):
        errors = np.sort(np.abs(relative_errors(values[rows], measured[rows])))
        share = np.arange(1, len(errors) + 1) / len(errors)
        ax.step(100 * errors, 100 * share, where="post", color=colour, linestyle=line, linewidth=1.4, label=name)
    ax.set_xlim(0, 100 * _WORST_SHOWN)
    ax.set_ylim(0, 102)
    ax.grid(which="major")
    ax.set_xlabel("error (% of the measured time)")
    ax.set_ylabel("rows with no larger error (%)")
    ax.set_title("to the left is better")
    ax.legend(loc="lower right")
