"""Runs in a plane of two costs, and those that no other one beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results.analysis.fields import number
from results.plots.numbers import place_numbers
from results.plots.of_traces.sweep import axis_scale
from results.plots.selection import run_name
from results.plots.style import DARK_GREY, PlotError, figure, label, legend_beside, line_colours, styled
from results.trace.trace import Trace

_RADIUS = 3.5
"""Radius of a marker, in points."""
_MORE_IS_BETTER = ("_per_second", "utilization", "hit_rate")


@styled
def plot(traces: Sequence[Trace], x: str, y: str) -> Figure:
    """A marker per run at two of its fields (see :func:`results.analysis.fields.number`), named; the Pareto front is a line.

    Rates, utilisation and hit rates are better when higher, everything else when lower; the axes say which.

    Raises:
        PlotError: no traces.
        TraceError: a trace does not have the fields.
    """
    if not traces:
        raise PlotError("pareto: no traces")
    points = np.array([(number(trace, x), number(trace, y)) for trace in traces])
    signs = np.array([-1.0 if more_is_better(field) else 1.0 for field in (x, y)])
    best = front(points * signs)
    (x_factor, x_name), (y_factor, y_name) = (axis_scale(points[:, i], field) for i, field in enumerate((x, y)))
    drawn = points / (x_factor, y_factor)
    fig = figure(9.5, max(4.6, 1.2 + 0.22 * len(traces)))
    ax = fig.subplots()
    line = drawn[best][np.argsort(drawn[best][:, 0])]
    ax.plot(*line.T, color=DARK_GREY, linewidth=1.2, zorder=1, drawstyle="steps-post" if signs[0] > 0 else "steps-pre")
    chips = list(dict.fromkeys(str(trace.chip["name"]) for trace in traces))
    colours = dict(zip(chips, line_colours(len(chips)), strict=True))
    handles = []
    for number_shown, (trace, point, is_best) in enumerate(zip(traces, drawn, best, strict=True), start=1):
        colour = colours[str(trace.chip["name"])]
        marker: dict[str, Any] = {
            "marker": "o",
            "markerfacecolor": colour if is_best else "white",
            "color": colour,
            "linestyle": "",
        }
        ax.add_line(Line2D([point[0]], [point[1]], markersize=2 * _RADIUS, zorder=2, **marker))
        handles.append(Line2D([], [], label=f"{number_shown}  {run_name(trace)}", **marker))
    legend_beside(ax, handles, "run (filled: on the front)")
    ax.autoscale_view()
    ax.margins(0.16)
    ax.grid()
    for axis_label, name, sign in ((ax.set_xlabel, x_name, signs[0]), (ax.set_ylabel, y_name, signs[1])):
        axis_label(f"{name}, {'higher' if sign < 0 else 'lower'} is better")
    ax.set_title(f"{label(y)} against {label(x)}, and what no other run beats in both")
    fig.draw_without_rendering()
    place_numbers(ax, drawn, np.full(len(drawn), _RADIUS))
    return fig


def more_is_better(field: str) -> bool:
    """Whether a field is a benefit, not a cost."""
    return field.endswith(_MORE_IS_BETTER) and "peak_" not in field


def front(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Points that no other point beats in one cost without losing in the other; ``costs`` has shape ``(points, 2)``."""
    x, y = costs.T
    no_worse = (x[None, :] <= x[:, None]) & (y[None, :] <= y[:, None])
    better = (x[None, :] < x[:, None]) | (y[None, :] < y[:, None])
    best: npt.NDArray[np.bool_] = np.logical_not((no_worse & better).any(axis=1))
    return best
