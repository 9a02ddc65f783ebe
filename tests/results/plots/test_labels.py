"""Labels of plots: none runs into another, also with a single op, with many layers and with tiny values."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import cast

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from results.plots.catalogue import plot, takes_several
from results.plots.kinds import KINDS
from results.trace.trace import Trace
from tests.support.synthetic_trace import make_trace


def single_op() -> Trace:
    """The first op of a run alone."""
    trace = make_trace()
    return replace(trace, layers=trace.layers[:1])


def tiny_values() -> Trace:
    """Ops of picoseconds that move hardly a byte."""
    trace = make_trace()
    layers = trace.layers.copy()
    for name in layers.dtype.names or ():
        if layers.dtype[name].kind == "f":
            layers[name] *= 1e-6
    return replace(trace, layers=layers)


TRACES = {"run": make_trace, "one op": single_op, "126 layers": lambda: make_trace(n_layers=126), "tiny": tiny_values}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gantt" and not takes_several(kind)])
@pytest.mark.parametrize("name", TRACES)
def test_labels_do_not_overlap(kind: str, name: str) -> None:
    fig = plot([TRACES[name]()], kind)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    for ax in fig.axes:
        labels = [*ax.texts, *ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label, ax.title]
        straight = [
            label for label in cast("list[Text]", labels) if label.get_rotation() % 90 == 0
        ]  # boxes of others are wider
        shown = [label for label in straight if label.get_visible() and label.get_text()]
        boxes = [(label.get_text(), label.get_window_extent(canvas.get_renderer()).padded(-1.5)) for label in shown]
        for (first, a), (second, b) in combinations(boxes, 2):
            assert not a.overlaps(b), (first, second)
