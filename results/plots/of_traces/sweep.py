"""Results over a parameter: a line for each model, phase and chip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from results.analysis.fields import number
from results.plots.quantities import scale_of
from results.plots.selection import run_name
from results.plots.style import PlotError, figure, label, legend_beside, line_colours, styled
from results.trace.schema import unit_of
from results.trace.trace import Trace

_MARKERS = "osD^vP*X"


@styled
def plot(traces: Sequence[Trace], x: str, y: str) -> Figure:
    """``y`` over ``x`` (fields as :func:`results.analysis.fields.number` has them), runs of one model, phase and chip joined.

    Axes whose values span more than a factor of 20 are logarithmic.

    Raises:
        PlotError: no traces.
        TraceError: a trace does not have the fields.
    """
    if not traces:
        raise PlotError("sweep: no traces")
    lines: dict[str, list[tuple[float, float]]] = {}
    for trace in traces:
        lines.setdefault(run_name(trace), []).append((number(trace, x), number(trace, y)))
    fig = figure(9.5, max(4.4, 1.2 + 0.22 * len(lines)))
    ax = fig.subplots()
    points = np.array([point for line in lines.values() for point in line])
    (x_factor, x_name), (y_factor, y_name) = (axis_scale(points[:, i], field) for i, field in enumerate((x, y)))
    for index, ((name, line), colour) in enumerate(zip(lines.items(), line_colours(len(lines)), strict=True)):
        drawn = np.array(sorted(line)) / (x_factor, y_factor)
        ax.plot(*drawn.T, marker=_MARKERS[index % len(_MARKERS)], color=colour, label=name)
    for axis, values in (("x", points[:, 0]), ("y", points[:, 1])):
        if values.min() > 0 and values.max() > 20 * values.min():
            ax.set(**{f"{axis}scale": "log"})
        elif axis == "y" and values.min() >= 0:
            ax.set_ylim(bottom=0)
    ax.grid()
    ax.set_xlabel(x_name)
    ax.set_ylabel(y_name)
    ax.set_title(f"{label(y)} over {label(x)}")
    legend_beside(ax, ax.get_lines(), "run")
    return fig


def axis_scale(values: npt.NDArray[np.float64], field: str) -> tuple[float, str]:
    """(how many base units one unit of the axis is, the axis' name with that unit) for the values of a field."""
    name = field.rpartition(".")[2]
    unit = unit_of(name)
    if unit in ("s", "J", "W", "B", "B/s", "FLOP", "FLOP/s", "Hz"):
        factor, prefixed = scale_of(float(np.abs(values).max()), unit)
        return factor, f"{label(name)} ({prefixed})"
    return 1.0, label(name) if unit in ("text or count", name) else f"{label(name)} ({unit})"
