"""A heat map of shares of 1: utilisation of an array over problem shapes, or over array shapes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import PercentFormatter

from results.plots.style import figure, on_colour, styled

_COLOURS = "cividis"  # the same to every kind of colour vision
_CELL_INCHES = 0.46
_CONTOURS = (0.5, 0.9)


@styled
def plot(
    shares: npt.NDArray[np.float64],
    rows: tuple[str, Sequence[object]],
    columns: tuple[str, Sequence[object]],
    title: str,
    setting: str,
) -> Figure:
    """Draw ``shares`` as coloured cells with their percentage, and contours at 50 % and 90 %.

    Args:
        shares: float64 ``(rows, columns)``, each from 0 to 1.
        rows: name of the vertical axis and the value of each row, the first at the bottom.
        columns: the same for the horizontal axis, from the left.
        title: what is shown.
        setting: what is the same in all cells, in a second line.
    """
    fig = figure(2.6 + _CELL_INCHES * shares.shape[1], 1.7 + _CELL_INCHES * 0.8 * shares.shape[0])
    fig.suptitle(title, ha="left", x=0.01)
    ax = fig.subplots()
    ax.set_title(f"{setting}\ncells in %, white lines at {' and '.join(f'{100 * level:.0f} %' for level in _CONTOURS)}")
    image = draw_cells(ax, shares)
    ax.invert_yaxis()
    if min(shares.shape) > 1:
        _draw_contours(ax, shares)
    for axis, (name, values) in ((ax.yaxis, rows), (ax.xaxis, columns)):
        axis.set_label_text(name)
        axis.set_ticks(np.arange(len(values)), [str(value) for value in values])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = fig.colorbar(image, ax=ax, label="share of MAC slots in use", format=PercentFormatter(1.0))
    bar.outline.set_visible(False)
    return fig


def draw_cells(ax: Axes, shares: npt.NDArray[np.float64]) -> AxesImage:
    """Coloured cells with their percentage, the first row on top; a cell that is no number stays empty."""
    image = ax.imshow(shares, cmap=_COLOURS, vmin=0, vmax=1, aspect="auto")
    colour = mpl.colormaps[_COLOURS]
    for (row, column), share in np.ndenumerate(shares):
        if np.isnan(share):
            continue
        text = f"{100 * share:.0f}" if share >= 0.095 else f"{100 * share:.1f}"
        ax.text(column, row, text, ha="center", va="center", size=7, color=on_colour(mpl.colors.to_hex(colour(share))))
    return image


def _draw_contours(ax: Axes, shares: npt.NDArray[np.float64]) -> None:
    """Steps along the edges of cells, not curves between their centres: there is nothing between two cells."""
    for level, width in zip(_CONTOURS, (1.2, 2.2), strict=True):
        above = shares >= level
        for row, column in zip(*np.nonzero(above[1:] != above[:-1]), strict=True):
            ax.plot([column - 0.5, column + 0.5], [row + 0.5, row + 0.5], color="white", linewidth=width)
        for row, column in zip(*np.nonzero(above[:, 1:] != above[:, :-1]), strict=True):
            ax.plot([column + 0.5, column + 0.5], [row - 0.5, row + 0.5], color="white", linewidth=width)
