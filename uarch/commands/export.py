"""``uarch export``: traces in the formats of other tools."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from uarch.commands.output import JsonOption, emit
from uarch.errors import InputError

if TYPE_CHECKING:
    from results.trace import Trace

FormatOption = Annotated[
    Literal["chrome", "csv", "parquet"],
    typer.Option("--format", help="Trace events in JSON for Perfetto and Chrome, or one table as CSV or Parquet."),
]
TableOption = Annotated[
    Literal["layers", "timeline", "rollup"],
    typer.Option("--table", help="Of CSV and Parquet: ops, intervals of the cores, or numbers of the whole run."),
]
_ENDINGS = {"chrome": ".json", "csv": ".csv", "parquet": ".parquet"}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(export)


def export(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.h5...", help="Traces; several for chrome only.")],
    to: FormatOption = "chrome",
    table: TableOption = "layers",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="If left out, beside the first trace.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Export traces: a process a chip and a thread a unit for a trace viewer, or a table for a spreadsheet."""
    from results.exports.tables import ExportError
    from results.files import replace_when_complete
    from results.trace import TraceError
    from uarch.commands.trace import load_trace

    if len(files) > 1 and to != "chrome":
        raise InputError(f"--format {to}: takes one trace, got {len(files)}; several are allowed for chrome")
    target = output or files[0].with_suffix(_ENDINGS[to])
    traces = [load_trace(file) for file in files]
    try:
        with replace_when_complete(target) as temporary:
            rows = _write(temporary, to, table, traces, files)
    except (ExportError, TraceError) as error:
        raise InputError(str(error)) from error
    noun = "events" if to == "chrome" else "rows"
    emit({"export": str(target), "format": to, noun: rows}, as_json, lambda: typer.echo(f"{target}: {rows} {noun}"))


def _write(target: Path, to: str, table: str, traces: list[Trace], files: list[Path]) -> int:
    from results.exports import chrome, tables
    from results.trace_file import read_intervals

    if to == "chrome":
        with target.open("w", encoding="utf-8") as file:
            return chrome.write(file, traces, [lambda path=path: read_intervals(path) for path in files])  # type: ignore[misc]
    parts = _parts(table, traces[0], files[0])
    if to == "parquet":
        return tables.write_parquet(target, parts)
    with target.open("w", encoding="utf-8", newline="") as file:
        return tables.write_csv(file, parts)


def _parts(table: str, trace: Trace, path: Path) -> Iterable[dict[str, Any]]:
    from results.exports.tables import columns, in_parts, rollup_columns
    from results.trace_file import read_intervals

    if table == "rollup":
        return [rollup_columns(trace)]
    if table == "layers":
        return map(columns, in_parts(trace.layers))
    parts = read_intervals(path)
    first = next(iter(parts), None)
    if first is None:
        raise InputError(f"--table timeline: {path} has none; record one with --timeline")
    return map(columns, chain([first], parts))
