"""How busy each resource of the chip is during each op: a heat map."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from results.analysis.bounds import Peaks, resource_use, totals
from results.plots.of_arrays.heatmap import draw_cells
from results.plots.quantities import quantity
from results.plots.selection import layer_name, op_names, representative_layer, run_name, run_setting
from results.plots.style import PlotError, figure, styled
from results.trace.schema import Table
from results.trace.trace import Trace

_RESOURCES = {"compute": "arrays\noccupied", "vector": "vector\nunits", "l2": "L2", "dram": "DRAM", "link": "link"}


@styled
def plot(trace: Trace) -> Figure:
    """A row per op of the middle layer, one for that layer and one for the run; a column per resource, in % of its peak.

    ``arrays useful`` counts the operator's own work, ``arrays occupied`` the time that the arrays are not free.

    Raises:
        PlotError: the trace has no rows, or does not tell the peaks of its chip.
    """
    layer = representative_layer(trace)
    try:
        peaks = Peaks.of(trace.rollup)
    except KeyError as error:
        raise PlotError(f"rollup.{error.args[0]}: missing from the trace") from error
    groups = [*(layer[i : i + 1] for i in range(len(layer))), layer, trace.layers]
    shares = np.array([_shares(rows, peaks) for rows in groups])
    names = [*op_names(layer), layer_name(layer), "whole run"]
    fig = figure(8.0, 2.0 + 0.29 * len(names))
    fig.suptitle(f"{run_name(trace)}: use of each resource", ha="left", x=0.01)
    ax = fig.subplots()
    ax.set_title(f"{run_setting(trace)}\ncells in % of the peak")
    image = draw_cells(ax, np.minimum(shares, 1.0))
    notes = [quantity(float(rows["seconds"].sum()), "s") for rows in groups]
    ax.set_yticks(range(len(names)), [f"{name}  ({note})" for name, note in zip(names, notes, strict=True)])
    ax.set_xticks(range(len(_RESOURCES) + 1), ["arrays\nuseful", *_RESOURCES.values()])
    ax.axhline(len(layer) - 0.5, color="white", linewidth=3)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = fig.colorbar(image, ax=ax, label="share of the peak", format=PercentFormatter(1.0))
    bar.outline.set_visible(False)
    return fig


def _shares(rows: Table, peaks: Peaks) -> list[float]:
    use = resource_use(totals(rows), peaks)
    seconds = float(rows["seconds"].sum())
    useful = float(np.sum(rows["utilization"] * rows["seconds"])) / seconds if seconds else 0.0
    return [useful, *(use[name] for name in _RESOURCES)]
