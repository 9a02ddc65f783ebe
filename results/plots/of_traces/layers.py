"""Where the time of one layer goes: op by op in execution order, and by stall cause within each op."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.plots.bars import sequence_bar, stacked_bars
from results.plots.quantities import quantity, scale_of
from results.plots.selection import layer_name, op_names, representative_layer, run_name, run_setting, seconds_by_cause
from results.plots.style import CAUSE_COLOURS, CAUSE_LABELS, boxes, figure, kind_colours, legend_beside, styled
from results.trace.schema import Table, text
from results.trace.trace import Trace


@styled
def plot(trace: Trace) -> Figure:
    """Two panels for the middle layer: its ops one after the other by kind; every op's time by stall cause.

    Raises:
        PlotError: the trace has no rows.
    """
    layer = representative_layer(trace)
    seconds = float(layer["seconds"].sum())
    fig = figure(10.0, 3.4 + 0.27 * len(layer))
    fig.suptitle(f"{run_name(trace)}: {layer_name(layer)}, {quantity(seconds, 's')}", ha="left", x=0.01)
    sequence, causes = fig.subplots(2, 1, height_ratios=[2.0, max(len(layer), 6)])
    _draw_sequence(sequence, layer)
    sequence.set_title(run_setting(trace))
    _draw_causes(causes, layer)
    return fig


def _draw_sequence(ax: Axes, layer: Table) -> None:
    factor, unit = scale_of(float(layer["seconds"].sum()), "s")
    seconds = layer["seconds"] / factor
    kinds = text(layer["kind"])
    colours = kind_colours(kinds)
    total = float(seconds.sum())
    sequence_bar(ax, 0, op_names(layer), seconds, [colours[kind] for kind in kinds], total)
    ax.set_xlim(0, max(total, 1e-30))
    ax.set_yticks([])
    ax.set_xlabel(f"time since the layer's start ({unit})")
    ax.spines["left"].set_visible(False)
    legend_beside(ax, boxes(colours), "op kind", columns=2)


def _draw_causes(ax: Axes, layer: Table) -> None:
    """Each op's time, split as its core time is by cause."""
    total = float(layer["seconds"].sum())
    factor, unit = scale_of(float(layer["seconds"].max()), "s")
    notes = [f"{quantity(value, 's')}  ({value / total:.0%})" for value in layer["seconds"]] if total else []
    stacked_bars(ax, op_names(layer), seconds_by_cause(layer) / factor, CAUSE_COLOURS, notes)
    ax.set_xlabel(f"time of the op, split by what the cores' time went to ({unit})")
    legend_beside(ax, boxes(CAUSE_COLOURS, CAUSE_LABELS), "core time")
