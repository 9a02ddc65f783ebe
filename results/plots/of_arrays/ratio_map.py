"""Heat maps of ratios around 1, several side by side: blue where the ratio is above 1, brown where it is below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from results.plots.style import figure, on_colour, styled

_COLOURS = "BrBG"  # told apart with every common kind of colour blindness
_LOWEST, _HIGHEST = 0.5, 1.5


@styled
def plot(
    title: str,
    maps: Mapping[str, npt.NDArray[np.float64]],
    rows: tuple[str, Sequence[object]],
    columns: tuple[str, Sequence[object]],
    label: str,
) -> Figure:
    """Draw each map with its values in the cells.

    Args:
        title: of the whole figure.
        maps: title -> float64 ``(rows, columns)``; NaN cells stay empty.
        rows: name of the vertical axis and the value of each row, the first at the bottom.
        columns: the same for the horizontal axis, from the left.
        label: what a ratio means.
    """
    n_rows, n_cols = len(rows[1]), len(columns[1])
    fig = figure(1.6 + len(maps) * (1.0 + 0.5 * n_cols), 1.7 + 0.36 * n_rows)
    fig.suptitle(title, ha="left", x=0.01)
    colour, norm = mpl.colormaps[_COLOURS], TwoSlopeNorm(1.0, _LOWEST, _HIGHEST)
    all_axes = fig.subplots(1, len(maps), squeeze=False)[0]
    scale = mpl.cm.ScalarMappable(norm, colour)
    for ax, (name, ratios) in zip(all_axes, maps.items(), strict=True):
        ax.imshow(ratios, cmap=colour, norm=norm, origin="lower", aspect="auto")
        for (i, j), ratio in np.ndenumerate(ratios):
            if np.isfinite(ratio):
                shade = on_colour(mpl.colors.to_hex(colour(norm(ratio))))
                ax.text(j, i, f"{ratio:.2f}", ha="center", va="center", size=7, color=shade)
        ax.set_title(name)
        ax.set_yticks(range(n_rows), [str(value) for value in rows[1]])
        ax.set_xticks(range(n_cols), [str(value) for value in columns[1]], rotation=45)
        ax.set_ylabel(rows[0])
        ax.set_xlabel(columns[0])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    bar = fig.colorbar(scale, ax=list(all_axes), label=label, extend="both")
    bar.outline.set_visible(False)
    return fig
