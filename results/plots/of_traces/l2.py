"""What L2 keeps from the memory: hit rate and traffic of each op."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from results.plots.bars import rows_of_bars
from results.plots.quantities import quantity
from results.plots.selection import layer_name, op_names, representative_layer, run_name, run_setting
from results.plots.style import DARK_GREY, ORANGE, figure, styled
from results.trace.schema import Table
from results.trace.trace import Trace


@styled
def plot(trace: Trace) -> Figure:
    """One bar per op of the middle layer, one for that layer and one for the run: share of granule accesses that hit.

    Behind each bar stand the bytes that L2 delivered and took, and those that went to or came from the memory.

    Raises:
        PlotError: the trace has no rows.
    """
    layer = representative_layer(trace)
    groups = [*(layer[i : i + 1] for i in range(len(layer))), layer, trace.layers]
    fig = figure(9.0, 1.6 + 0.29 * len(groups))
    fig.suptitle(f"{run_name(trace)}: L2 hit rate", ha="left", x=0.01)
    ax = fig.subplots()
    ax.set_title(run_setting(trace))
    rates = np.array([_hit_rate(rows) for rows in groups])
    ax.barh(np.arange(len(groups)), rates * 100, height=0.72, color=ORANGE)
    for position, (rows, rate) in enumerate(zip(groups, rates, strict=True)):
        note = f"{rate:.0%}  of {_traffic(rows)}" if rows["l2_hits"].sum() + rows["l2_misses"].sum() else "no loads"
        ax.annotate(note, (100, position), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5)
    ax.axhline(len(layer) - 0.5, color=DARK_GREY, linewidth=0.8)
    rows_of_bars(ax, [*op_names(layer), layer_name(layer), "whole run"])
    ax.set_xlim(0, 150)
    ax.set_xticks(range(0, 101, 10))
    ax.set_xlabel("hits among the granules that cores load (%)", loc="left")
    return fig


def _hit_rate(rows: Table) -> float:
    hits, misses = float(rows["l2_hits"].sum()), float(rows["l2_misses"].sum())
    return hits / (hits + misses) if hits + misses else 0.0


def _traffic(rows: Table) -> str:
    dram_bytes: npt.NDArray[np.float64] = rows["dram_read_bytes"] + rows["dram_write_bytes"]
    return f"{quantity(float(rows['l2_bytes'].sum()), 'B')}, DRAM {quantity(float(dram_bytes.sum()), 'B')}"
