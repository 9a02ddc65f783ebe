"""``uarch report``: one or more runs as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uarch.commands.output import JsonOption, emit
from uarch.commands.sections import Section
from uarch.errors import InputError

SECTION = Section.RESULTS


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(report)


def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.h5...", help="Traces of `uarch run`.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.html", help="If left out, beside the first trace.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a self-contained HTML page: summary, reasons in words, plots, every op, and how far off such numbers are."""
    from results.plots.style import PlotError
    from results.report import write_report
    from results.trace.trace import Trace, TraceError
    from uarch.files.writing import check_output

    target = output or files[0].with_suffix(".html")
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--output {target}: unknown ending {target.suffix!r}; allowed: .html, .htm")
    check_output(target)
    try:
        write_report([Trace.load(file) for file in files], target)
    except (TraceError, PlotError) as error:
        raise InputError(str(error)) from error
    emit({"report": str(target), "traces": [str(file) for file in files]}, as_json, lambda: typer.echo(str(target)))
