"""One quantity over another, several series, from arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from results.plots.style import BLUE, DARK_GREY, GREEN, LIGHT_GREY, VERMILLION, figure, styled

_STYLES = ((DARK_GREY, "s", "--"), (BLUE, "o", "-"), (VERMILLION, "^", "-"), (GREEN, "D", "-"))


@styled
def plot(
    title: str,
    x: tuple[str, Sequence[float]],
    y_name: str,
    series: Mapping[str, npt.NDArray[np.float64]],
    reference: float,
) -> Figure:
    """Up to four series over the same values; those with fewer than two numbers are left out.

    Args:
        title: what is shown.
        x: name of the horizontal axis with its unit, and its values.
        y_name: name of the vertical axis.
        series: name -> float64 of the shape of the values; NaN where there is none.
        reference: value at which every series is 1.
    """
    fig = figure(6.4, 4.0)
    ax = fig.subplots()
    ax.set_title(title)
    name, values = x
    for (label, numbers), (colour, marker, line) in zip(series.items(), _STYLES, strict=False):
        known = np.isfinite(numbers)
        if known.sum() > 1:
            ax.plot(np.array(values)[known], numbers[known], color=colour, marker=marker, linestyle=line, label=label)
    ax.axvline(reference, color=LIGHT_GREY, zorder=0)
    if max(values) >= 8 * min(values):
        ax.set_xscale("log", base=2)
        ax.set_xticks(list(values), [f"{value:g}" for value in values])
        ax.minorticks_off()
    ax.set_ylim(bottom=0)
    ax.grid(axis="y", color=LIGHT_GREY)
    ax.set_xlabel(name)
    ax.set_ylabel(y_name)
    ax.legend()
    return fig
