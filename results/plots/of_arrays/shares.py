"""Horizontal bars of shares of 1, such as what each parameter of a sweep explains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from results.plots.style import BLUE, figure, styled


@styled
def plot(title: str, shares: Mapping[str, float], label: str) -> Figure:
    """Draw one bar for each name, the first on top.

    Parameters
    ----------
    title
        What is shown.
    shares
        Name -> share, 0 to 1.
    label
        What a share is of.
    """
    fig = figure(7.0, 1.4 + 0.34 * len(shares))
    ax = fig.subplots()
    ax.set_title(title)
    places = np.arange(len(shares))[::-1]
    bars = ax.barh(places, list(shares.values()), color=BLUE, height=0.66)
    ax.bar_label(bars, [f"{100 * share:.1f} %" for share in shares.values()], padding=3, fontsize=8)
    ax.set_yticks(places, list(shares))
    ax.set_xlim(0, 1.08)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_xlabel(label)
    return fig
