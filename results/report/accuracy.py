"""Known errors of predictions, and the choice of those that apply to a run.

``accuracy.toml`` has a statement for each kind of error; those with a ``suite`` take their numbers from ``validation.json``:
what ``uarch validate --summary FILE`` writes.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from results.trace.schema import text
from results.trace.trace import Trace

_FOLDER = Path(__file__).parent


@cache
def statements() -> tuple[dict[str, Any], ...]:
    """All statements, with the ``error`` of each."""
    found = tomllib.loads((_FOLDER / "accuracy.toml").read_text(encoding="utf-8"))["statement"]
    return tuple({**fields, "error": _measured(suite)} if suite else fields for fields, suite in map(_parts, found))


@cache
def validation() -> dict[str, Any]:
    """Errors in every suite of measured kernels: ``rows``, ``gpus``, and errors ``mape`` and ``p90_ape`` as fractions."""
    content: dict[str, Any] = json.loads((_FOLDER / "validation.json").read_text(encoding="utf-8"))
    return content


def _parts(statement: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    return {name: value for name, value in statement.items() if name != "suite"}, statement.get("suite")


def _measured(suite: str) -> str:
    errors = validation()[suite]
    gpus = "1 GPU" if errors["gpus"] == 1 else f"{errors['gpus']} GPUs"
    return (
        f"{100 * errors['mape']:.0f} % mean absolute error, 90 % of the rows within {100 * errors['p90_ape']:.0f} % "
        f"({errors['rows']} rows, {gpus})"
    )


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
