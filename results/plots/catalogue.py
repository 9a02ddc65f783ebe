"""Plots of traces by name: what each kind takes, and its figure."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from inspect import signature
from typing import Any

from matplotlib.figure import Figure

from results.plots.kinds import KINDS
from results.plots.style import PlotError
from results.trace.trace import Trace


def plot(
    traces: Trace | Sequence[Trace], kind: str = "layers", x: str = "seconds", y: str = "energy_per_token_joules"
) -> Figure:
    """Draw a figure of one trace, or of several.

    Parameters
    ----------
    traces
        One trace, or any number for the kinds that take several: ``comparison``, ``pareto``, ``sweep``.
    kind
        Name of the plot, one of :data:`results.plots.kinds.KINDS`.
    x, y
        Fields of the horizontal and the vertical axis of the kinds that have such axes (``pareto``, ``sweep``); see
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
    fields = (x, y) if "x" in _parameters(kind) else ()
    figure: Figure = _function(kind)(given if takes_several(kind) else given[0], *fields)
    return figure


def takes_several(kind: str) -> bool:
    """Whether a kind takes any number of traces."""
    return "traces" in _parameters(kind)


def check_kind(kind: str, n_traces: int) -> None:
    """Raise :class:`PlotError` for an unknown kind, or one that does not take so many traces."""
    if kind not in KINDS:
        raise PlotError(f"kind {kind}: unknown, allowed: {', '.join(KINDS)}")
    if n_traces != 1 and not takes_several(kind):
        several = ", ".join(name for name in KINDS if takes_several(name))
        raise PlotError(f"kind {kind}: takes one trace, got {n_traces}; allowed for several: {several}")


def _function(kind: str) -> Any:
    return import_module(f"results.plots.of_traces.{kind}").plot


def _parameters(kind: str) -> list[str]:
    return list(signature(_function(kind)).parameters)
