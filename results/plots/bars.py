"""Stacked horizontal bars, the form in which most of the plots show their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from results.plots.selection import op_names
from results.plots.style import DARK_GREY, LIGHT_GREY, on_colour
from results.trace.schema import Table

_ROOM_PER_LETTER = 0.0095
"""Part of the axes' width that one letter inside a bar needs."""


def stacked_bars(
    ax: Axes,
    names: Sequence[str],
    parts: npt.NDArray[np.float64],
    colours: Mapping[str, str],
    notes: Sequence[str] = (),
) -> None:
    """One horizontal bar per name, the first on top, stacked from parts.

    Args:
        ax: empty axes.
        names: of the bars.
        parts: lengths, shape (len(names), len(colours)).
        colours: of the parts, by name, in stacking order.
        notes: text behind the end of each bar, or none.
    """
    positions = np.arange(len(names))
    left = np.zeros(len(names))
    for column, (name, colour) in zip(parts.T, colours.items(), strict=True):
        ax.barh(positions, column, left=left, height=0.72, color=colour, label=name)
        left += column
    for position, note in enumerate(notes):
        end = left[position]
        ax.annotate(note, (end, position), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5)
    ax.set_xlim(0, max(float(left.max()), 1e-30) * (1.18 if notes else 1.0))
    rows_of_bars(ax, names)


def rows_of_bars(ax: Axes, names: Sequence[str]) -> None:
    """Axes of horizontal bars at 0, 1, ..., the first on top, named at the left, with a grid for reading lengths."""
    ax.set_yticks(range(len(names)), list(names))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=LIGHT_GREY)


def sequence_bar(
    ax: Axes,
    position: float,
    names: Sequence[str],
    widths: npt.NDArray[np.float64],
    colours: Sequence[str],
    full_width: float,
) -> None:
    """One bar of segments one after the other, each named where the name fits.

    Args:
        ax: axes whose x range will be ``full_width``.
        position: of the bar on the y axis.
        names: of the segments.
        widths: of the segments, in units of the x axis.
        colours: of the segments.
        full_width: x range of the axes.
    """
    left = np.concatenate(([0.0], np.cumsum(widths)[:-1]))
    ax.barh(
        np.full(len(widths), position), widths, left=left, height=0.72, color=colours, edgecolor="white", linewidth=0.6
    )
    for name, start, width, colour in zip(names, left, widths, colours, strict=True):
        if width / full_width > _ROOM_PER_LETTER * (len(name) + 1.5):
            ax.text(start + width / 2, position, name, ha="center", va="center", fontsize=8, color=on_colour(colour))


_CHARACTER = 0.0078
"""Width of a character of a name as part of the axes: names that are wider than their op would run into each other."""


def name_ops(ax: Axes, layer: Table, edges: npt.NDArray[np.float64], above: float) -> None:
    """Mark where ops begin and end on an axis of time, and write their names at the height ``above``.

    ``edges``: in units of the axis, shape ``(len(layer) + 1,)``.
    """
    for edge in edges[1:-1]:
        ax.axvline(float(edge), color=DARK_GREY, linewidth=0.5, linestyle=":")
    for name, start, end in zip(op_names(layer), edges[:-1], edges[1:], strict=True):
        if (end - start) / edges[-1] >= _CHARACTER * len(name):
            place = float(start + end) / 2, above
            ax.annotate(name, place, ha="center", va="bottom", fontsize=8, annotation_clip=False)
