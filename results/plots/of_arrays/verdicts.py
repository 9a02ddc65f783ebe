"""Claims and the conditions under which they hold: a table of coloured cells with the numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from results.plots.style import GREEN, LIGHT_GREY, VERMILLION, boxes, figure, styled

_HOLDS, _FLIPS = GREEN, VERMILLION


@styled
def plot(
    title: str,
    conditions: Sequence[str],
    claims: Sequence[str],
    numbers: npt.NDArray[np.float64],
    holds: npt.NDArray[np.bool_],
) -> Figure:
    """A row per condition, a column per claim.

    Args:
        title: of the figure.
        conditions: names of the rows, the first on top.
        claims: names of the columns.
        numbers: float64 ``(conditions, claims)``, what was found; NaN leaves a cell empty.
        holds: of the same shape, whether that supports the claim.
    """
    fig = figure(2.6 + 1.15 * len(claims), 1.6 + 0.42 * len(conditions))
    fig.suptitle(title, ha="left", x=0.01)
    ax = fig.subplots()
    for (row, column), number in np.ndenumerate(numbers):
        if not np.isfinite(number):
            continue
        colour = _HOLDS if holds[row, column] else _FLIPS
        ax.add_patch(Rectangle((column - 0.47, row - 0.44), 0.94, 0.88, color=colour, alpha=0.45, linewidth=0))
        ax.text(column, row, f"{number:.2f}", ha="center", va="center", size=9)
    ax.set_xlim(-0.5, len(claims) - 0.5)
    ax.set_ylim(len(conditions) - 0.5, -0.5)
    ax.set_yticks(range(len(conditions)), list(conditions))
    ax.set_xticks(range(len(claims)), [_wrapped(claim) for claim in claims], size=7.5)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_facecolor("white")
    handles = boxes({"holds": _HOLDS, "does not": _FLIPS})
    for handle in handles:
        handle.set_alpha(0.45)
    fig.legend(handles=handles, loc="outside lower right", ncols=2)
    ax.hlines(np.arange(0.5, len(conditions) - 1), -0.5, len(claims) - 0.5, color=LIGHT_GREY, linewidth=0.6, zorder=0)
    return fig


def _wrapped(text: str, width: int = 16) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
