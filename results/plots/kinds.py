"""Kinds of plots of traces, by name. To add one, add a module with a function ``plot`` to the folder ``of_traces``.

What a kind takes, its function's parameters say: ``trace`` is one trace, ``traces`` are any number, ``x`` and ``y`` are fields
of the axes. Modules are imported when a kind is drawn, so that the command line can list them without matplotlib.
"""

from __future__ import annotations

from pathlib import Path

KINDS = tuple(sorted(path.stem for path in (Path(__file__).parent / "of_traces").glob("[!_]*.py")))
"""Names of all kinds, sorted."""
