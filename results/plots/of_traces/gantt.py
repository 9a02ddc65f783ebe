"""Core by time: what every core of a kernel did when, from the trace's timeline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from results.plots.quantities import scale_of
from results.plots.selection import run_name
from results.plots.style import (
    BLUE,
    CAUSE_COLOURS,
    CAUSE_LABELS,
    VERMILLION,
    PlotError,
    boxes,
    figure,
    legend_beside,
    styled,
)
from results.trace.schema import STALL_CAUSES, TIMELINE_TRACKS, Table
from results.trace.trace import Trace

_BINS = 1200
_PANEL_BINS = 200
_ROW_INCHES = 0.05
_MOVED = {"load": "loaded into L1", "store": "stored from L1"}


@styled
def plot(trace: Trace, op: int | None = None) -> Figure:
    """Three panels over the time of one op: each core's time by cause, bytes moved per second, and resident blocks.

    A pixel of the first panel has the colour of the cause that takes most of its time. ``op`` is a row of the layers
    table; if left out, the longest one that has a timeline.

    Raises:
        PlotError: the trace has no timeline, or none of that op.
    """
    timeline, op = _select(trace, op)
    core = timeline[timeline["track"] == TIMELINE_TRACKS.index("core")]
    n_cores, length_ps = int(timeline["core"].max()) + 1, int(timeline["end_ps"].max())
    row = trace.layers[op]
    fig = figure(11.0, 4.6 + min(n_cores * _ROW_INCHES, 6.0))
    fig.suptitle(f"{run_name(trace)}: {row['name'].decode()} {row['shape'].decode()}", ha="left", x=0.01)
    heights = [1.6 + min(n_cores * _ROW_INCHES, 6.0), 1.1, 0.8]
    cores, moved, blocks = fig.subplots(3, 1, height_ratios=heights, sharex=True)
    factor, unit = scale_of(length_ps * 1e-12, "s")
    end = length_ps * 1e-12 / factor
    image = cause_image(core, n_cores, length_ps, _BINS)
    palette = ListedColormap([*CAUSE_COLOURS.values(), "white"])
    cores.imshow(
        image,
        cmap=palette,
        vmin=0,
        vmax=len(STALL_CAUSES),
        aspect="auto",
        interpolation="nearest",
        extent=(0, end, n_cores - 0.5, -0.5),
    )
    cores.set_ylabel("core")
    cores.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend_beside(cores, boxes(CAUSE_COLOURS, CAUSE_LABELS), "core time")
    _draw_moved(moved, timeline, length_ps, end)
    _draw_blocks(blocks, timeline, length_ps, end)
    blocks.set_xlabel(f"time since the op's start ({unit})")
    fig.align_ylabels()
    return fig


def _select(trace: Trace, op: int | None) -> tuple[Table, int]:
    """The timeline of one op, and its row in the layers table."""
    if trace.timeline is None or not len(trace.timeline):
        raise PlotError("timeline: the trace has none; record one with --timeline")
    recorded = np.unique(trace.timeline["op"])
    if op is None:
        op = int(recorded[np.argmax(trace.layers["seconds"][recorded])])
    if op not in recorded:
        raise PlotError(f"timeline: no intervals of op {op}; recorded: {recorded[0]} to {recorded[-1]}")
    return trace.timeline[trace.timeline["op"] == op], op


def cause_image(core: Table, n_cores: int, length_ps: int, bins: int) -> npt.NDArray[np.int64]:
    """Cause with most time in each bin of each core: int64, shape ``(n_cores, bins)``; ``len(STALL_CAUSES)`` where none is.

    ``core``: rows of track "core".
    """
    time = np.zeros((n_cores, bins, len(STALL_CAUSES)))
    for cause in range(len(STALL_CAUSES)):
        rows = core[core["cause"] == cause]
        for number in np.unique(rows["core"]):
            own = rows[rows["core"] == number]
            time[number, :, cause] = overlap(own["start_ps"], own["end_ps"], np.ones(len(own)), length_ps, bins)
    image: npt.NDArray[np.int64] = np.where(time.any(axis=2), time.argmax(axis=2), len(STALL_CAUSES))
    return image


def overlap(
    start: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
    length: int,
    bins: int,
) -> npt.NDArray[np.float64]:
    """Sum over intervals of weight x time within each of ``bins`` equal parts of 0 to ``length``; shape ``(bins,)``.

    The integral of all intervals up to each edge, differenced: no loop over intervals.
    """
    edges = np.linspace(0, length, bins + 1)
    return np.diff(_integral(start, weight, edges) - _integral(end, weight, edges))


def _integral(
    at: npt.NDArray[np.int64], weight: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Sum of weight x max(0, edge - at) for each edge."""
    order = np.argsort(at, kind="stable")
    ordered, weights = at[order].astype(np.float64), weight[order]
    count = np.searchsorted(ordered, edges)
    total = np.concatenate(([0.0], np.cumsum(weights)))
    moment = np.concatenate(([0.0], np.cumsum(weights * ordered)))
    integral: npt.NDArray[np.float64] = edges * total[count] - moment[count]
    return integral


def _draw_moved(ax: Axes, timeline: Table, length_ps: int, end: float) -> None:
    """Bytes per second of loads and stores, each spread evenly over its interval."""
    edges = np.linspace(0, end, _PANEL_BINS + 1)
    bin_seconds = length_ps * 1e-12 / _PANEL_BINS
    rates = {}
    for track in _MOVED:
        rows = timeline[timeline["track"] == TIMELINE_TRACKS.index(track)]
        ends = np.maximum(rows["end_ps"], rows["start_ps"] + 1)
        weight = rows["bytes"] / (ends - rows["start_ps"])
        rates[track] = overlap(rows["start_ps"], ends, weight, length_ps, _PANEL_BINS) / bin_seconds
    factor, unit = scale_of(max(float(rate.max(initial=0.0)) for rate in rates.values()), "B/s")
    for (track, rate), colour in zip(rates.items(), (BLUE, VERMILLION), strict=True):
        ax.stairs(rate / factor, edges, color=colour, label=_MOVED[track], linewidth=1.2)
    ax.set_ylim(bottom=0)
    ax.set_ylabel(unit)
    ax.grid(axis="y")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)


def _draw_blocks(ax: Axes, timeline: Table, length_ps: int, end: float) -> None:
    rows = timeline[timeline["track"] == TIMELINE_TRACKS.index("block")]
    counted = overlap(rows["start_ps"], rows["end_ps"], np.ones(len(rows)), length_ps, _PANEL_BINS)
    edges = np.linspace(0, end, _PANEL_BINS + 1)
    ax.stairs(counted / (length_ps / _PANEL_BINS), edges, color="black", fill=False, linewidth=1.2)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("blocks")
    ax.grid(axis="y")
