"""All plots of traces by name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from matplotlib.figure import Figure

from results.plots.style import PlotError
from results.trace.trace import Trace

KINDS_OF_ONE = ("layers", "roofline", "energy", "stalls", "utilization", "bandwidth", "l2", "gantt")
KINDS_OVER_FIELDS = ("sweep", "pareto")
KINDS_OF_MANY = ("comparison", *KINDS_OVER_FIELDS)
KINDS = KINDS_OF_ONE + KINDS_OF_MANY
"""Names of all plots; each is a module of ``results.plots.of_traces`` with a function ``plot``."""


def plot(
    traces: Trace | Sequence[Trace], kind: str = "layers", x: str = "seconds", y: str = "energy_per_token_joules"
) -> Figure:
    """Draw a figure of one trace, or of several.

    Parameters
    ----------
    traces
        One trace for the kinds in ``KINDS_OF_ONE``, any number for those in ``KINDS_OF_MANY``.
    kind
        Name of the plot, one of ``KINDS``.
    x, y
        Fields of the horizontal and the vertical axis of the kinds in ``KINDS_OVER_FIELDS``; see
        :func:`results.analysis.fields.number`.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; :func:`uarch.save` writes it.

    Raises
    ------
    PlotError
        For an unknown kind, several traces for a kind of one, or a trace without what the plot needs.
    TraceError
        For a field that a trace does not have.

    Examples
    --------
    >>> import uarch
    >>> trace = uarch.simulate("h100", "llama-3-8b", "decode", batch=8, seq=1024, fidelity="analytical")
    >>> figure = uarch.plot(trace, "roofline")
    >>> uarch.save(figure, "roofline.svg")
    """
    given = [traces] if isinstance(traces, Trace) else list(traces)
    check_kind(kind, len(given))
    draw: Any = import_module(f"results.plots.of_traces.{kind}").plot
    over = (x, y) if kind in KINDS_OVER_FIELDS else ()
    figure: Figure = draw(given[0] if kind in KINDS_OF_ONE else given, *over)
    return figure


def check_kind(kind: str, n_traces: int) -> None:
    """Raise :class:`PlotError` for an unknown kind, or one that does not take so many traces."""
    if kind not in KINDS:
        raise PlotError(f"kind {kind}: unknown, allowed: {', '.join(KINDS)}")
    if n_traces != 1 and kind not in KINDS_OF_MANY:
        raise PlotError(
            f"kind {kind}: takes one trace, got {n_traces}; allowed for several: {', '.join(KINDS_OF_MANY)}"
        )
