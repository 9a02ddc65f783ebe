"""What the cores' time went to, as shares: op by op for one layer, and for the whole run."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from results.plots.bars import stacked_bars
from results.plots.quantities import quantity
from results.plots.selection import layer_name, op_names, representative_layer, run_name, run_setting, seconds_by_cause
from results.plots.style import CAUSE_COLOURS, CAUSE_LABELS, DARK_GREY, boxes, figure, legend_beside, styled
from results.trace.trace import Trace


@styled
def plot(trace: Trace) -> Figure:
    """One bar per op of the middle layer, one for that layer and one for the run: share of core time by stall cause.

    Raises:
        PlotError: the trace has no rows.
    """
    layer = representative_layer(trace)
    by_op = seconds_by_cause(layer)
    rows = [*by_op, by_op.sum(axis=0), seconds_by_cause(trace.layers).sum(axis=0)]
    seconds = np.array([row.sum() for row in rows])
    shares = np.stack(rows) / np.maximum(seconds, 1e-30)[:, None] * 100
    fig = figure(10.0, 1.5 + 0.29 * len(rows))
    fig.suptitle(f"{run_name(trace)}: what the cores' time goes to", ha="left", x=0.01)
    ax = fig.subplots()
    ax.set_title(run_setting(trace))
    names = [*op_names(layer), layer_name(layer), "whole run"]
    stacked_bars(ax, names, shares, CAUSE_COLOURS, [quantity(value, "s") for value in seconds])
    ax.axhline(len(layer) - 0.5, color=DARK_GREY, linewidth=0.8)
    ax.text(100.5, -0.6, "op's time", fontsize=8.5, fontweight="bold", va="bottom")
    ax.set_xlim(0, 110)
    ax.set_xticks(range(0, 101, 10))
    ax.set_xlabel("share of core time (%)")
    legend_beside(ax, boxes(CAUSE_COLOURS, CAUSE_LABELS), "core time")
    return fig
