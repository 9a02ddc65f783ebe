"""Chips side by side, layer by layer: one layer of every model and phase on every chip, by op and by stall cause."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.plots.bars import rows_of_bars, sequence_bar, stacked_bars
from results.plots.quantities import quantity, scale_of
from results.plots.selection import op_names, representative_layer, run_setting, seconds_by_cause
from results.plots.style import CAUSE_COLOURS, CAUSE_LABELS, PlotError, boxes, figure, kind_colours, styled
from results.trace.schema import text
from results.trace.trace import Trace


@styled
def plot(traces: Sequence[Trace]) -> Figure:
    """A row of two panels per model and phase, a bar per chip: time of the middle layer by op, and by stall cause.

    Raises:
        PlotError: no traces, or one without rows.
    """
    if not traces:
        raise PlotError("comparison: no traces to compare")
    groups: dict[tuple[str, str], list[Trace]] = {}
    for trace in traces:
        groups.setdefault((str(trace.workload["model"]), str(trace.workload["phase"])), []).append(trace)
    colours = kind_colours(kind for trace in traces for kind in text(representative_layer(trace)["kind"]))
    fig = figure(13.0, 1.5 + 0.85 * len(groups) + 0.32 * len(traces))
    fig.suptitle(
        "One layer on each chip: its ops in execution order, and what the cores' time goes to", ha="left", x=0.01
    )
    heights = [len(group) + 0.3 for group in groups.values()]
    grid = fig.subplots(len(groups), 2, squeeze=False, width_ratios=[1.5, 1.0], height_ratios=heights)
    for (ops, causes), ((model, phase), group) in zip(grid, groups.items(), strict=True):
        _draw_group(ops, causes, group, colours)
        ops.set_title(f"{model} {phase}  ({run_setting(group[0])})")
    fig.legend(handles=boxes(colours), title="op kind", loc="outside lower left", ncols=3, alignment="left")
    handles = boxes(CAUSE_COLOURS, CAUSE_LABELS)
    fig.legend(handles=handles, title="core time", loc="outside lower right", ncols=3, alignment="left")
    return fig


def _draw_group(ops: Axes, causes: Axes, group: Sequence[Trace], colours: dict[str, str]) -> None:
    """One bar per chip in both panels, to the same scale."""
    layers = [representative_layer(trace) for trace in group]
    chips = [str(trace.chip["name"]) for trace in group]
    seconds = np.array([layer["seconds"].sum() for layer in layers])
    factor, unit = scale_of(float(seconds.max()), "s")
    full_width = float(seconds.max()) / factor * 1.12
    for position, layer in enumerate(layers):
        widths = layer["seconds"] / factor
        kinds = text(layer["kind"])
        sequence_bar(ops, position, op_names(layer), widths, [colours[kind] for kind in kinds], full_width)
        note = quantity(float(seconds[position]), "s")
        ops.annotate(note, (widths.sum(), position), xytext=(4, 0), textcoords="offset points", va="center")
    rows_of_bars(ops, chips)
    parts = np.stack([seconds_by_cause(layer).sum(axis=0) for layer in layers]) / factor
    stacked_bars(causes, [""] * len(chips), parts, CAUSE_COLOURS)
    for ax in (ops, causes):
        ax.set_xlim(0, full_width or 1.0)
        ax.set_xlabel(f"time of one layer ({unit})")
