"""Numbers of a trace by name: of its roll-up, its chip or its workload."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from results.trace.trace import Trace, TraceError


def number(trace: Trace, field: str) -> float:
    """A number of a run: ``seconds`` or any other field of the roll-up, ``workload.batch``, ``chip.memory.channels``.

    Raises:
        TraceError: there is no such field, or it is no number.
    """
    value: Any = {**trace.rollup, "chip": trace.chip, "workload": trace.workload}
    for depth, name in enumerate(field.split(".")):
        if not isinstance(value, dict) or name not in value:
            names = list(value) if isinstance(value, dict) else []
            near = get_close_matches(name, names, n=3, cutoff=0.4) or sorted(names)[:8]
            where = ".".join(field.split(".")[:depth])
            raise TraceError(f"{field}: no such field{f' of {where}' if where else ''}; near it: {', '.join(near)}")
        value = value[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TraceError(f"{field}: must be a number, is {str(value)[:40]!r}")
    return float(value)
