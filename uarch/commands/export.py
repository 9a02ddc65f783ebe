"""``uarch export``: traces in the formats of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from uarch.commands.output import JsonOption, emit
from uarch.commands.sections import Section
from uarch.errors import InputError

FormatOption = Annotated[
    Literal["chrome", "csv", "parquet"],
    typer.Option("--format", help="Trace events in JSON for Perfetto and Chrome, or one table as CSV or Parquet."),
]
TableOption = Annotated[
    Literal["layers", "timeline", "rollup"],
    typer.Option(
        "--table", help="What CSV and Parquet hold: ops, intervals of the cores, or numbers of the whole run."
    ),
]

SECTION = Section.RESULTS


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
    from results.exports import FORMATS, ExportError, export_trace
    from results.trace.trace import TraceError

    target = output or files[0].with_suffix(FORMATS[to])
    try:
        count = export_trace(files, target, to, table)
    except (ExportError, TraceError) as error:
        raise InputError(str(error)) from error
    noun = "events" if to == "chrome" else "rows"
    emit({"export": str(target), "format": to, noun: count}, as_json, lambda: typer.echo(f"{target}: {count} {noun}"))
