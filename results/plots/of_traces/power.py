"""What a run draws over time: watts by component, board and chip, and the clock that the power cap leaves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results.plots.bars import name_ops
from results.plots.quantities import quantity, scale_of
from results.plots.selection import layer_name, representative_layer, run_name, run_setting
from results.plots.style import (
    BLACK,
    DARK_GREY,
    ENERGY_COLOURS,
    ENERGY_LABELS,
    boxes,
    figure,
    legend_beside,
    styled,
)
from results.trace.schema import ENERGY_FIELDS, Table, matrix
from results.trace.trace import Trace


@styled
def plot(trace: Trace) -> Figure:
    """Two panels for the middle layer: power of chip and memory by component, op by op, below that of the board; and the clock.

    Raises:
        PlotError: the trace has no rows.
    """
    layer = representative_layer(trace)
    fig = figure(10.0, 5.6)
    board_watts = float(trace.rollup.get("average_board_power_watts", 0.0))
    mean = f": {quantity(board_watts, 'W')} of the board on average" if board_watts else ""
    fig.suptitle(f"{run_name(trace)}{mean}", ha="left", x=0.01)
    power, clock = fig.subplots(2, 1, height_ratios=[3.0, 1.0], sharex=True)
    power.set_title(run_setting(trace))
    edges = np.concatenate(([0.0], np.cumsum(layer["seconds"])))
    factor, unit = scale_of(float(edges[-1]), "s")
    _draw_power(power, layer, edges / factor, float(trace.rollup.get("delivery_efficiency_fraction", 1.0)))
    _draw_clock(clock, layer, edges / factor)
    clock.set_xlabel(f"time of {layer_name(layer)} ({unit})")
    return fig


def _draw_power(ax: Axes, layer: Table, edges: npt.NDArray[np.float64], delivery_efficiency: float) -> None:
    watts = matrix(layer, ENERGY_FIELDS) / np.maximum(layer["seconds"], 1e-30)[:, None]
    below = np.zeros(len(layer))
    for component, colour in enumerate(ENERGY_COLOURS.values()):
        above = below + watts[:, component]
        ax.stairs(above, edges, baseline=below, fill=True, color=colour)
        below = above
    board = below / delivery_efficiency
    ax.stairs(board, edges, color=BLACK, linewidth=1.3)
    top = 1.1 * max(float(board.max()), 1e-30)
    ax.set_ylim(0, top)
    ax.set_xlim(0, float(edges[-1]) or 1.0)
    ax.grid(axis="y")
    ax.set_ylabel("power (W)")
    name_ops(ax, layer, edges, above=0.98 * top)
    line = Line2D([], [], color=BLACK, label="board")
    legend_beside(ax, [line, *boxes(ENERGY_COLOURS, ENERGY_LABELS)], "component")


def _draw_clock(ax: Axes, layer: Table, edges: npt.NDArray[np.float64]) -> None:
    ax.stairs(layer["sustained_hz"] / 1e9, edges, color=DARK_GREY, linewidth=1.3)
    ax.set_ylim(0, 1.15 * max(float(layer["sustained_hz"].max()) / 1e9, 1e-30))
    ax.grid(axis="y")
    ax.set_ylabel("clock (GHz)")
