"""A heat map of any result over two parameters."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from results.plots.style import figure, on_colour, styled

_COLOURS = "cividis"  # the same to every kind of colour vision


@styled
def plot(
    title: str,
    values: npt.NDArray[np.float64],
    rows: tuple[str, Sequence[object]],
    columns: tuple[str, Sequence[object]],
    label: str,
) -> Figure:
    """Draw coloured cells with their value.

    Parameters
    ----------
    title
        What is shown.
    values
        Float64 ``(rows, columns)``; NaN cells stay empty.
    rows, columns
        Name of the vertical and of the horizontal axis, and the value of each row, the first at the bottom, and column.
    label
        What a value is.
    """
    fig = figure(3.0 + 0.72 * values.shape[1], 1.8 + 0.4 * values.shape[0])
    ax = fig.subplots()
    ax.set_title(title)
    image = ax.imshow(values, cmap=_COLOURS, origin="lower", aspect="auto")
    colours = np.asarray(mpl.colormaps[_COLOURS](image.norm(values)))
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            shade = on_colour(mpl.colors.to_hex(tuple(colours[row, column])))
            ax.text(column, row, f"{value:.3g}", ha="center", va="center", size=7, color=shade)
    for axis, (name, ticks) in ((ax.yaxis, rows), (ax.xaxis, columns)):
        axis.set_label_text(name)
        axis.set_ticks(
            np.arange(len(ticks)), [f"{tick:.4g}" if isinstance(tick, float) else str(tick) for tick in ticks]
        )
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    fig.colorbar(image, ax=ax, label=label).outline.set_visible(False)
    return fig
