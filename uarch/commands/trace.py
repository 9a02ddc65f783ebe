"""``uarch trace``: look into trace files, check them, compare two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from results.plots.quantities import quantity
from uarch.commands.output import JsonOption, console, emit, percent, table
from uarch.commands.sections import Section
from uarch.errors import InputError

if TYPE_CHECKING:
    from results.trace.trace import Trace

FileArgument = Annotated[Path, typer.Argument(metavar="FILE.h5", help="A trace.")]

ROWS_SHOWN = 20
"""Ops of a difference that are printed as text."""

SECTION = Section.RESULTS


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = typer.Typer()
    group.callback(invoke_without_command=True)(_trace)
    for command in (show, check, diff):
        group.command()(command)
    app.add_typer(group, name="trace")


def load_trace(path: Path, with_timeline: bool = False) -> Trace:
    """Read a trace; :class:`InputError` for a file that is none."""
    from results.trace.trace import Trace, TraceError

    try:
        return Trace.load(path, with_timeline)
    except TraceError as error:
        raise InputError(str(error)) from error


def _trace(context: typer.Context) -> None:
    """Look into a trace file, check it, or compare two."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def show(file: FileArgument, as_json: JsonOption = False) -> None:
    """What ran, its roll-up, and the operators of the middle layer (with --json: all)."""
    from uarch.commands.run import payload, render

    trace = load_trace(file)
    emit(payload(trace, file), as_json, lambda: render(trace, file))


def check(file: FileArgument, as_json: JsonOption = False) -> None:
    """Verify what must hold for every trace: times, sums, energy, bytes, and the timeline if there is one.

    The exit code is 2 if something does not hold.
    """
    from results.analysis import invariants
    from results.trace.timeline import check_intervals
    from results.trace.trace import TraceError
    from results.trace.trace_file import read_intervals

    trace = load_trace(file)
    problems = invariants.check(trace)
    intervals = 0
    if not problems:

        def parts() -> Iterator[Any]:
            nonlocal intervals
            for part in read_intervals(file):
                intervals += len(part)
                yield part

        limit, clock_hz = trace.workload.get("timeline_limit"), float(trace.rollup["clock_hz"])
        try:
            problems = check_intervals(parts(), trace.layers, clock_hz, limit)
        except TraceError as error:
            raise InputError(str(error)) from error
    payload = {"trace": str(file), "ops": len(trace.layers), "intervals": intervals, "problems": problems}
    if problems and not as_json:
        raise InputError(f"{file}: {problems[0]}" + (f" (and {len(problems) - 1} more)" if problems[1:] else ""))
    emit(payload, as_json, lambda: typer.echo(f"{file}: {len(trace.layers)} ops, {intervals} intervals: sound"))
    if problems:
        raise typer.Exit(2)


def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE.h5")],
    after: Annotated[Path, typer.Argument(metavar="AFTER.h5")],
    by_layer: Annotated[bool, typer.Option("--by-layer", help="Every layer by itself, not their sum.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Two runs op by op, those whose time changed most first."""
    from results.analysis.diff import difference

    first, second = load_trace(before), load_trace(after)
    rows = difference(first, second, by_layer)
    totals = [float(trace.rollup["seconds"]) for trace in (first, second)]
    payload = {"before": str(before), "after": str(after), "seconds_before": totals[0], "seconds_after": totals[1]}
    emit({**payload, "ops": rows}, as_json, lambda: _render(rows, (before.name, after.name), totals))


def _render(rows: list[dict[str, Any]], names: tuple[str, str], totals: list[float]) -> None:
    change = percent(totals[1] / totals[0] - 1) if totals[0] else "-"
    title = f"{names[0]} -> {names[1]}: {quantity(totals[0], 's')} -> {quantity(totals[1], 's')} ({change})"
    columns = ("op", "mostly", "before", "after", "change", "of the whole", "DRAM bytes", "energy")
    screen = console()
    screen.print(table(title, columns, (_cells(row, totals) for row in rows[:ROWS_SHOWN]), left=2))
    if len(rows) > ROWS_SHOWN:
        screen.print(f"{len(rows) - ROWS_SHOWN} more ops changed less; --json has all.")


def _cells(row: dict[str, Any], totals: list[float]) -> Iterator[str]:
    yield row["op"] if row["layer"] is None else f"{row['layer']} {row['op']}"
    yield row["cause"].replace("_", " ") if row["seconds_change"] else "-"
    yield quantity(row["seconds_before"], "s")
    yield quantity(row["seconds_after"], "s")
    yield quantity(row["seconds_change"], "s")
    yield percent(row["seconds_change"] / totals[0]) if totals[0] else "-"
    yield quantity(row["dram_bytes_change"], "B")
    yield quantity(row["energy_joules_change"], "J")
