"""``uarch plot``: a figure from a trace, or from several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from results.plots.kinds import KINDS
from uarch.commands.output import JsonOption, emit
from uarch.commands.sections import Section
from uarch.errors import InputError

if TYPE_CHECKING:
    from results.trace.trace import Trace

SECTION = Section.RESULTS


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(plot)


def plot(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE.h5...", help="A trace of `uarch run`; several for a comparison.")
    ],
    kind: Annotated[str, typer.Option("--kind", help=f"What to show: {', '.join(KINDS)}.")] = "layers",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="PNG, SVG or PDF by its ending; if left out, a PNG beside the first trace."
        ),
    ] = None,
    x: Annotated[
        str,
        typer.Option(
            "--x", metavar="FIELD", help="Field on the horizontal axis of sweep and pareto, such as workload.batch."
        ),
    ] = "seconds",
    y: Annotated[
        str,
        typer.Option(
            "--y", metavar="FIELD", help="Field on their vertical axis: of the roll-up, the chip or the workload."
        ),
    ] = "energy_per_token_joules",
    as_json: JsonOption = False,
) -> None:
    """Plot a trace: where time and energy go, what is busy when; or several runs side by side, or over a field."""
    target = output or files[0].with_name(f"{files[0].stem}-{kind}.png")
    traces = _write_plot(files, kind, target, (x, y))
    payload = {
        "plot": str(target),
        "kind": kind,
        "runs": [_describe(*run) for run in zip(files, traces, strict=True)],
    }
    emit(payload, as_json, lambda: typer.echo(str(target)))


def _write_plot(files: list[Path], kind: str, target: Path, fields: tuple[str, str]) -> list[Trace]:
    """Read the traces, draw them and write the figure; the traces are returned for the report."""
    from results.plots import catalogue
    from results.plots.style import PlotError, file_format, save
    from results.trace.trace import Trace, TraceError

    try:
        catalogue.check_kind(kind, len(files))
        file_format(target)
        traces = [Trace.load(file, with_timeline=kind == "gantt") for file in files]
        save(catalogue.plot(traces, kind, *fields), target)
    except (TraceError, PlotError) as error:
        raise InputError(str(error)) from error
    return traces


def _describe(file: Path, trace: Trace) -> dict[str, Any]:
    return {
        "trace": str(file),
        "chip": trace.chip["name"],
        "model": trace.workload["model"],
        "phase": trace.workload["phase"],
        "seconds": trace.rollup["seconds"],
    }
