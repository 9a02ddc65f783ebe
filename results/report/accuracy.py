"""Which of the known errors apply to a run."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from results.schema import text
from results.trace import Trace

_FILE = Path(__file__).with_name("accuracy.toml")


@cache
def statements() -> tuple[dict[str, Any], ...]:
    """All statements of ``accuracy.toml``."""
    return tuple(tomllib.loads(_FILE.read_text(encoding="utf-8"))["statement"])


def applicable(trace: Trace) -> Iterator[dict[str, Any]]:
    """Statements on numbers like those of a run: its kind of chip, phase, fidelity and ops."""
    kinds = set(text(trace.layers["kind"]))
    facts = {
        "chip": str(trace.chip.get("kind", "any")),
        "phases": str(trace.workload["phase"]),
        "fidelities": str(trace.workload.get("fidelity", "tile")),
    }
    for statement in statements():
        if statement["chip"] not in ("any", facts["chip"]):
            continue
        if any(statement[field] and facts[field] not in statement[field] for field in ("phases", "fidelities")):
            continue
        if statement["kinds"] and not kinds & set(statement["kinds"]):
            continue
        yield statement
