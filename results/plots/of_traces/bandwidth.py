"""How much data moves over time: DRAM, L2 and link, op by op."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results.plots.bars import name_ops
from results.plots.quantities import quantity, scale_of
from results.plots.selection import layer_name, representative_layer, run_name, run_setting
from results.plots.style import ORANGE, PURPLE, VERMILLION, PlotError, figure, legend_beside, styled
from results.trace.schema import Table
from results.trace.trace import Trace

_LEVELS = {
    "dram": ("DRAM", VERMILLION, ("dram_read_bytes", "dram_write_bytes")),
    "l2": ("L2", ORANGE, ("l2_bytes",)),
    "link": ("link", PURPLE, ("link_bytes",)),
}


@styled
def plot(trace: Trace) -> Figure:
    """Bytes per second over time in % of the level's peak: the mean of each layer in the whole run, and of each op in its
    middle layer.

    Raises:
        PlotError: the trace has no rows, or does not tell the peaks of its chip.
    """
    layer = representative_layer(trace)
    for level in _LEVELS:
        if not float(trace.rollup.get(f"peak_{level}_bytes_per_second", 0)) > 0:
            raise PlotError(f"rollup.peak_{level}_bytes_per_second: missing from the trace")
    fig = figure(10.0, 5.6)
    fig.suptitle(f"{run_name(trace)}: bandwidth over time", ha="left", x=0.01)
    run, one = fig.subplots(2, 1)
    run.set_title(run_setting(trace))
    _draw(run, _by_layer(trace.layers), trace)
    run.set_xlabel(run.get_xlabel() + " of the whole run, mean of each layer")
    _draw(one, [layer[i : i + 1] for i in range(len(layer))], trace)
    one.set_xlabel(one.get_xlabel() + f" of {layer_name(layer)}, mean of each op")
    edges = _edges(layer["seconds"])
    name_ops(one, layer, edges / scale_of(float(edges[-1]), "s")[0], above=102)
    legend_beside(run, _handles(trace), "level")
    return fig


def _edges(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.concatenate(([0.0], np.cumsum(seconds)))


def _by_layer(layers: Table) -> list[Table]:
    """Consecutive rows of one layer each; those outside the layers op by op."""
    cuts = np.flatnonzero((np.diff(layers["layer"]) != 0) | (layers["layer"][1:] < 0)) + 1
    return np.split(layers, cuts)


def _draw(ax: Axes, groups: Sequence[Table], trace: Trace) -> None:
    seconds = np.array([rows["seconds"].sum() for rows in groups])
    edges = _edges(seconds)
    factor, unit = scale_of(float(edges[-1]), "s")
    seconds = np.maximum(seconds, 1e-30)
    for level, (_, colour, fields) in _LEVELS.items():
        peak = float(trace.rollup[f"peak_{level}_bytes_per_second"])
        moved = np.array([sum(rows[field].sum() for field in fields) for rows in groups])
        ax.stairs(moved / seconds / peak * 100, edges / factor, color=colour, linewidth=1.3)
    ax.set_xlim(0, float(edges[-1]) / factor or 1.0)
    ax.set_ylim(0, 104)
    ax.grid(axis="y")
    ax.set_ylabel("share of the peak (%)")
    ax.set_xlabel(f"time ({unit})")


def _handles(trace: Trace) -> list[Line2D]:
    peaks = {level: float(trace.rollup[f"peak_{level}_bytes_per_second"]) for level in _LEVELS}
    return [
        Line2D([], [], color=colour, label=f"{name} (peak {quantity(peaks[level], 'B/s')})")
        for level, (name, colour, _) in _LEVELS.items()
    ]
