"""Designs in a plane of two results, and the front: those that no other one beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from results.analysis.dominance import on_front
from results.plots.style import BLUE, DARK_GREY, GREY, VERMILLION, figure, styled

Floats = npt.NDArray[np.float64]


class Axis(NamedTuple):
    """One result of all designs."""

    name: str
    values: Floats
    """Float64 ``(designs,)``."""
    lower_is_better: bool


@styled
def plot(title: str, x: Axis, y: Axis, named: Sequence[tuple[int, str]] = ()) -> Figure:
    """Draw every design as a dot, the front of these two results as a line, and some designs with their names.

    Parameters
    ----------
    title
        What is shown.
    x, y
        Results on the axes.
    named
        Number and name of each design that is labelled.
    """
    fig = figure(7.6, 5.2)
    ax = fig.subplots()
    ax.set_title(title)
    costs = np.stack([axis.values if axis.lower_is_better else -axis.values for axis in (x, y)], axis=1)
    best = on_front(costs)
    ax.plot(x.values[~best], y.values[~best], "o", color=GREY, markersize=3.5, label="design")
    order = np.argsort(x.values[best])
    style = "steps-post" if x.lower_is_better else "steps-pre"
    ax.plot(x.values[best][order], y.values[best][order], color=DARK_GREY, linewidth=1.0, drawstyle=style)
    ax.plot(x.values[best], y.values[best], "o", color=BLUE, markersize=5, label="on the front of both")
    for number, name in named:
        at = (float(x.values[number]), float(y.values[number]))
        ax.plot(*at, "D", color=VERMILLION, markersize=6)
        ax.annotate(name, at, xytext=(6, 5), textcoords="offset points", size=8)
    ax.grid()
    ax.set_xlabel(_axis_label(x))
    ax.set_ylabel(_axis_label(y))
    ax.legend()
    return fig


def _axis_label(axis: Axis) -> str:
    return f"{axis.name}, {'lower' if axis.lower_is_better else 'higher'} is better"
