"""What figures show, for tests of plots."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from results.trace.trace import Trace
from tests.support.synthetic_trace import CHIPS, MODELS, TOKENS, make_trace


def all_traces() -> list[Trace]:
    """A run of every model and phase on every chip."""
    return [make_trace(chip=chip, model=model, phase=phase) for model in MODELS for phase in TOKENS for chip in CHIPS]


def legend_texts(fig: Figure) -> list[str]:
    """Entries of all legends."""
    legends = [ax.get_legend() for ax in fig.axes] + fig.legends
    return [text.get_text() for legend in legends if legend is not None for text in legend.get_texts()]


def bar_widths(ax: Axes) -> np.ndarray:
    """Length of the bar at each position: sum over its segments."""
    totals: dict[int, float] = {}
    for patch in ax.patches:
        assert isinstance(patch, Rectangle)
        position = round(patch.get_y() + patch.get_height() / 2)
        totals[position] = totals.get(position, 0.0) + patch.get_width()
    return np.array([totals[position] for position in sorted(totals)])
