"""The roofline of a chip with every op of a run in it.

Hierarchical roofline (Williams, Waterman, Patterson, CACM 2009; Yang, Kurth, Williams, CCPE 2020): each op, summed over
the layers, stands at its achieved FLOP/s twice, over its FLOP per DRAM byte (filled) and over its FLOP per L2 byte
(hollow). The distance between the two is the traffic that L2 keeps from the memory.
"""

from __future__ import annotations

from textwrap import fill
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from results.plots.numbers import place_numbers
from results.plots.quantities import quantity
from results.plots.selection import representative_layer, rows_by_name, run_name, run_setting
from results.plots.style import BLACK, DARK_GREY, PlotError, figure, kind_colours, label, legend_beside, styled
from results.trace.schema import Table
from results.trace.trace import Trace

_LARGEST_AREA = 600.0
"""Square points of a marker that stands for all of the time."""
_SMALLEST_AREA = 14.0
_NOTE_WIDTH = 96
"""Characters that fit under the axes."""


class _Point(NamedTuple):
    name: str
    kind: str
    flops_per_second: float
    per_dram_byte: float
    """FLOP per byte; infinite if the kind never goes to the memory."""
    per_l2_byte: float
    share_of_time: float


@styled
def plot(trace: Trace) -> Figure:
    """Achieved FLOP/s over arithmetic intensity, a numbered marker per op, its area the share of time, under the roofs.

    Ops of the vector units alone are placed by their lane operations. Ops without either (embedding, all-reduce) have no
    place in a roofline; a note under the plot names them and their time.

    Raises:
        PlotError: the trace has no rows, or does not tell the peaks of its chip.
    """
    representative_layer(trace)
    _check_peaks(trace)
    points, unplaced = _points(trace)
    fig = figure(9.0, 5.6)
    fig.suptitle(f"Roofline: {run_name(trace)}", ha="left", x=0.01)
    ax = fig.subplots()
    ax.set_title(run_setting(trace))
    ax.set_xscale("log")
    ax.set_yscale("log")
    _set_limits(ax, points, trace)
    _draw_roofs(ax, trace)
    _draw_points(ax, points)
    ax.grid(which="major")
    ax.set_xlabel("arithmetic intensity (useful FLOP per byte)" + _note(unplaced))
    ax.set_ylabel("achieved FLOP/s of one chip")
    fig.draw_without_rendering()
    _name_slopes(ax, trace)
    _number_points(ax, points)
    return fig


def _check_peaks(trace: Trace) -> None:
    for name in ("tensor_flops", "vector_flops", "dram_bytes", "l2_bytes"):
        field = f"peak_{name}_per_second"
        value = trace.rollup.get(field)
        if not isinstance(value, int | float) or not 0 < value < np.inf:
            raise PlotError(f"rollup.{field}: a roofline needs a positive number, the trace has {value}")


def _points(trace: Trace) -> tuple[list[_Point], dict[str, float]]:
    """Ops with a place in the roofline, those with most time first, and the share of time of those without."""
    run_seconds = float(trace.layers["seconds"].sum())
    points: list[_Point] = []
    unplaced: dict[str, float] = {}
    for name, rows in rows_by_name(trace.layers).items():
        seconds, flops = float(rows["seconds"].sum()), _flops(rows)
        if flops <= 0 or seconds <= 0:
            unplaced[name] = seconds / run_seconds if run_seconds else 0.0
            continue
        dram_bytes = float(rows["dram_read_bytes"].sum() + rows["dram_write_bytes"].sum())
        l2_bytes = float(rows["l2_bytes"].sum())
        points.append(
            _Point(
                name,
                rows["kind"][0].decode(),
                flops / seconds,
                flops / dram_bytes if dram_bytes else np.inf,
                flops / l2_bytes if l2_bytes else np.inf,
                seconds / run_seconds,
            )
        )
    return sorted(points, key=lambda point: -point.share_of_time), unplaced


def _flops(rows: Table) -> float:
    """Useful FLOP of matrix work; of an op that has none, two for each operation of a lane, as the vector peak counts."""
    return float(rows["flops"].sum()) or 2 * float(rows["vector_ops"].sum())


def _set_limits(ax: Axes, points: list[_Point], trace: Trace) -> None:
    """Room for the points and for the ridge, at least from 0.1 to 1000 FLOP per byte."""
    peak = float(trace.rollup["peak_tensor_flops_per_second"])
    ridge = peak / float(trace.rollup["peak_dram_bytes_per_second"])
    finite = [value for point in points for value in (point.per_dram_byte, point.per_l2_byte) if np.isfinite(value)]
    ax.set_xlim(
        min([0.1, *(value / 2 for value in finite)]), max([1000.0, 4 * ridge, *(value * 2 for value in finite)])
    )
    ax.set_ylim(min([peak / 1e4, *(point.flops_per_second / 3 for point in points)]), peak * 3)


def _draw_roofs(ax: Axes, trace: Trace) -> None:
    """Horizontal roofs from where L2 could feed them, named at their left, and the slopes of DRAM and L2."""
    left, right = ax.get_xlim()
    tensor = float(trace.rollup["peak_tensor_flops_per_second"])
    vector = float(trace.rollup["peak_vector_flops_per_second"])
    dram, l2 = (float(trace.rollup[f"peak_{level}_bytes_per_second"]) for level in ("dram", "l2"))
    for peak, name, style in ((tensor, "tensor peak", "-"), (vector, "vector peak", "--")):
        ax.plot([peak / l2, right], [peak, peak], style, color=BLACK, linewidth=1.2)
        text = f"{name} {quantity(peak, 'FLOP/s')}"
        ax.annotate(text, (peak / l2, peak), xytext=(-5, 0), textcoords="offset points", ha="right", va="center")
    for rate, style in ((dram, "-"), (l2, "--")):
        ax.plot([left, tensor / rate], [left * rate, tensor], style, color=BLACK, linewidth=1.2)


def _name_slopes(ax: Axes, trace: Trace) -> None:
    """Name the bandwidth roofs along their lower ends; the axes must have their final size, which sets the angle."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    extent = ax.get_window_extent()
    rise, run = extent.height / np.log(top / bottom), extent.width / np.log(right / left)
    dram, l2 = (float(trace.rollup[f"peak_{level}_bytes_per_second"]) for level in ("dram", "l2"))
    for rate, name, offset, side in ((l2, "L2", (-3, 3), "bottom"), (dram, "DRAM", (3, -3), "top")):
        start = max(left, bottom / rate) * (right / left) ** 0.02
        ax.annotate(
            f"{name} {quantity(rate, 'B/s')}",
            (start, start * rate),
            xytext=offset,
            textcoords="offset points",
            rotation=np.degrees(np.arctan2(rise, run)),
            rotation_mode="anchor",
            va=side,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=5,
        ).set_in_layout(False)


def _draw_points(ax: Axes, points: list[_Point]) -> None:
    _, right = ax.get_xlim()
    colours = kind_colours(point.kind for point in points)
    handles = []
    for number, point in enumerate(points, start=1):
        colour = colours[point.kind]
        area = max(_LARGEST_AREA * point.share_of_time, _SMALLEST_AREA)
        at_dram, at_l2 = min(point.per_dram_byte, right), min(point.per_l2_byte, right)
        y = point.flops_per_second
        ax.plot([at_l2, at_dram], [y, y], color=colour, linewidth=0.9)
        ax.scatter(at_l2, y, s=_SMALLEST_AREA, facecolor="white", edgecolor=colour, zorder=3)
        ax.scatter(at_dram, y, s=area, color=colour, edgecolor="white", linewidth=0.6, zorder=4, clip_on=False)
        name = f"{number}  {label(point.name)}: {point.share_of_time:.1%} of time"
        if np.isinf(point.per_dram_byte):
            name += ", no DRAM traffic"
        handles.append(Line2D([], [], marker="o", linestyle="", color=colour, label=name))
    handles.append(Line2D([], [], marker="o", linestyle="", color=DARK_GREY, label="filled: per DRAM byte"))
    handles.append(
        Line2D([], [], marker="o", linestyle="", color=DARK_GREY, markerfacecolor="white", label="hollow: per L2 byte")
    )
    legend_beside(ax, handles, "op (colour: kind, area: time)")


def _number_points(ax: Axes, points: list[_Point]) -> None:
    """The number of each point beside its filled marker."""
    _, right = ax.get_xlim()
    at = [(min(point.per_dram_byte, right), point.flops_per_second) for point in points]
    place_numbers(ax, np.array(at).reshape(-1, 2), np.array([_radius(point) for point in points]))


def _radius(point: _Point) -> float:
    """Radius of an op's marker, in points."""
    return float(np.sqrt(max(_LARGEST_AREA * point.share_of_time, _SMALLEST_AREA) / np.pi))


def _note(unplaced: dict[str, float]) -> str:
    if not unplaced:
        return ""
    largest_first = sorted(unplaced.items(), key=lambda item: -item[1])
    kinds = ", ".join(f"{label(kind)} {share:.1%}" for kind, share in largest_first)
    return "\n" + fill(f"without FLOP, in shares of time: {kinds}", _NOTE_WIDTH)
