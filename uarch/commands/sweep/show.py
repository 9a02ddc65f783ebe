"""``uarch sweep show``, ``pareto`` and ``sensitivity``: what the table of a sweep says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uarch.commands.output import JsonOption, console, emit, percent
from uarch.commands.output import table as text_table
from uarch.errors import InputError

if TYPE_CHECKING:
    from workloads.sweep.table import SweepTable

TableArgument = Annotated[Path, typer.Argument(metavar="FILE.h5", help="Table of `uarch sweep`, finished or not.")]
RowsOption = Annotated[int, typer.Option("--rows", min=1, help="Rows to show.")]
ResultOption = Annotated[
    str | None,
    typer.Option("--result", metavar="COLUMN", help="A number of the table; the first objective if left out."),
]


def show(file: TableArgument, rows: RowsOption = 20, as_json: JsonOption = False) -> None:
    """Show how many points are done, and the best ones by the first objective."""
    import numpy as np

    from workloads.sweep.table import read_sweep

    table = read_sweep(file)
    done = np.flatnonzero(table.done())
    order = done[np.argsort(table.costs()[done, 0], kind="stable")]
    status = table.column("status")
    counts = {name: int((status == name).sum()) for name in ("done", "excluded", "failed")}
    messages = sorted({str(each) for each in table.column("message")[status == "failed"]})
    payload = {
        "sweep": table.sweep.name,
        "columns": list(table.names),
        **counts,
        "messages": messages,
        "best": _records(table, order[:rows]),
    }
    title = f"{table.sweep.title}: {', '.join(f'{count} {name}' for name, count in counts.items())}"
    emit(payload, as_json, lambda: _render(table, title, order[:rows], messages))


def pareto(file: TableArgument, rows: RowsOption = 100, as_json: JsonOption = False) -> None:
    """List the points that no other one beats in every objective."""
    import numpy as np

    from workloads.sweep.table import read_sweep

    table = read_sweep(file)
    front = np.flatnonzero(table.front())
    order = front[np.argsort(table.costs()[front, 0], kind="stable")]
    title = f"{table.sweep.title}: {len(front)} of {int(table.done().sum())} points are on the front"
    payload = {"sweep": table.sweep.name, "points": int(table.done().sum()), "front": _records(table, order)}
    emit(payload, as_json, lambda: _render(table, title, order[:rows], []))


def sensitivity(file: TableArgument, result: ResultOption = None, as_json: JsonOption = False) -> None:
    """Show what each parameter does to a result, alone: share of its variance, and mean from best to worst value."""
    from workloads.sweep.table import read_sweep

    table = read_sweep(file)
    column = result or table.sweep.objective[0].column
    found = table.sensitivities(column)
    if not found:
        raise InputError(f"{file}: no parameter has two values among the points that are done")
    payload = {
        "sweep": table.sweep.name,
        "result": column,
        "parameters": {key: each._asdict() for key, each in found.items()},
    }
    columns = ("parameter", "explains alone", "lowest mean", "at", "highest mean", "at")
    lines = [
        (name, percent(each.first_order), *_cells([each.lowest, each.lowest_at, each.highest, each.highest_at]))
        for name, each in found.items()
    ]
    emit(payload, as_json, lambda: console().print(text_table(f"{table.sweep.title}: {column}", columns, lines)))


def _records(table: SweepTable, order: Any) -> list[dict[str, Any]]:
    """Point, fields and objectives of some rows."""
    names = ["point", "fidelity", *table.inputs, *(each.column for each in table.sweep.objective)]
    columns = {name: table.column(name)[order].tolist() for name in dict.fromkeys(names)}
    lines = zip(*columns.values(), strict=True)
    return [
        {name: None if value != value else value for name, value in zip(columns, line, strict=True)} for line in lines
    ]


def _render(table: SweepTable, title: str, order: Any, messages: Sequence[str]) -> None:
    screen = console()
    records = _records(table, order)
    if records:
        columns = [name for name in records[0] if name not in table.sweep.derived]
        screen.print(text_table(title, columns, [_cells(each[name] for name in columns) for each in records]))
    else:
        screen.print(f"{title}; nothing to show")
    for message in messages[:5]:
        screen.print(f"failed: {message}")


def _cells(values: Any) -> list[str]:
    return ["-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]
