"""Where the energy of a run goes: by op kind and by component."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from results.plots.bars import stacked_bars
from results.plots.quantities import quantity, scale_of
from results.plots.selection import representative_layer, rows_by_kind, run_name, run_setting
from results.plots.style import ENERGY_COLOURS, ENERGY_LABELS, boxes, figure, label, legend_beside, styled
from results.trace.schema import ENERGY_FIELDS, matrix
from results.trace.trace import Trace


@styled
def plot(trace: Trace) -> Figure:
    """One bar per op kind, the largest on top: joules of the whole run on one chip, stacked by component.

    Raises:
        PlotError: the trace has no rows.
    """
    representative_layer(trace)
    by_kind = {kind: matrix(rows, ENERGY_FIELDS).sum(axis=0) for kind, rows in rows_by_kind(trace.layers).items()}
    kinds = sorted(by_kind, key=lambda kind: -float(by_kind[kind].sum()))
    joules = np.stack([by_kind[kind] for kind in kinds])
    totals = joules.sum(axis=1)
    factor, unit = scale_of(float(totals.max()), "J")
    fig = figure(10.0, 1.8 + 0.32 * len(kinds))
    fig.suptitle(f"{run_name(trace)}: {quantity(float(totals.sum()), 'J')} on one chip", ha="left", x=0.01)
    ax = fig.subplots()
    ax.set_title(run_setting(trace))
    notes = [f"{quantity(total, 'J')}  ({total / max(totals.sum(), 1e-30):.1%})" for total in totals]
    stacked_bars(ax, [label(kind) for kind in kinds], joules / factor, ENERGY_COLOURS, notes)
    ax.set_xlabel(f"energy of the whole run by op kind ({unit})")
    legend_beside(ax, boxes(ENERGY_COLOURS, ENERGY_LABELS), "component")
    return fig
