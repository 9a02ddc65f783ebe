"""``uarch validate``: predictions against measured kernel times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from results.plots.quantities import quantity
from uarch.commands.output import JsonOption, SetOption, console, emit, percent, progress_bar, table
from uarch.commands.sections import Section

if TYPE_CHECKING:
    from workloads.validation.suite import Judged

SuiteArgument = Annotated[
    Literal["gemm", "attention", "elementwise", "collective", "transformer", "power"] | None,
    typer.Argument(help="Rows of one suite of times, all if left out; or power: watts and joules of boards."),
]

SECTION = Section.ACCURACY


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(validate)


def validate(
    suite: SuiteArgument = None,
    chip: Annotated[
        str | None,
        typer.Option(
            "--chip", metavar="NAME_OR_FILE", help="Predict all rows on this chip, whatever the file's column says."
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", metavar="FILE.csv", help="Measured times; if left out, a built-in suite."),
    ] = None,
    use: Annotated[str | None, typer.Option("--use", help="Only rows with this mark in the column use.")] = None,
    min_us: Annotated[float, typer.Option("--min-us", help="Only rows that took at least so many microseconds.")] = 0.0,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="At most so many rows, chosen at random, always the same.")
    ] = None,
    worst: Annotated[int, typer.Option("--worst", min=0, help="Rows to show whose predictions are farthest off.")] = 5,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes; if left out, one for each available CPU.")
    ] = None,
    rows_to: Annotated[
        Path | None, typer.Option("--rows", metavar="FILE.csv", help="Write every row and its prediction here.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="REPORT.html", help="Write tables, plots and the worst rows here."),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option("--summary", metavar="FILE.json", help="Write rows, GPUs and errors of every suite here."),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare predictions with measured kernel times: error statistics by chip and size class, beside the roofline's.

    With the suite power: board power and energy per token, by phase, chip and batch.
    """
    if suite == "power":
        _validate_power(chip, reference, use, worst, workers, rows_to, as_json)
        return
    from uarch.chip_file import load_chip
    from uarch.errors import InputError
    from uarch.files.writing import check_output
    from workloads.validation.suite import BUILT_IN, Selection, plan_validation, report

    if overrides and chip is None:
        raise InputError(f"--set {overrides[0]}: needs --chip")
    model = None if chip is None else load_chip(chip, overrides or ())
    selection = Selection(suite, use, min_us, sample)
    for path in filter(None, (rows_to, page, summary)):
        check_output(path)
    plan = plan_validation(reference or BUILT_IN, selection, chip=model)
    with progress_bar(len(plan.requests)) as show:
        judged = plan.judge(workers=workers, progress=lambda done: show("kernels", done))
    result = report(judged)
    if rows_to is not None:
        _write_rows(judged, rows_to)
    if page is not None:
        _write_page(judged, result, page)
    if summary is not None:
        _write_summary(result["suites"], summary)
    farthest = sorted(judged, key=lambda row: -abs(row.error))[:worst]
    emit({**result, "worst": [_row_payload(row) for row in farthest]}, as_json, lambda: _render(result, farthest))


def _validate_power(
    chip: str | None,
    reference: Path | None,
    use: str | None,
    worst: int,
    workers: int | None,
    rows_to: Path | None,
    as_json: bool,
) -> None:
    from uarch.commands.power_tables import payload_of_row, render_power
    from uarch.files.writing import check_output
    from workloads.validation.power_rows import POWER_ROWS
    from workloads.validation.power_suite import judge_power, power_report, select_power_rows

    if rows_to is not None:
        check_output(rows_to)
    rows = select_power_rows(reference or POWER_ROWS, chip=chip, use=use)
    with progress_bar(len(rows)) as show:
        judged = judge_power(rows, workers=workers, progress=lambda done: show("rows", done))
    report = power_report(judged)
    if rows_to is not None:
        _write_table([payload_of_row(each) for each in judged], rows_to)
    farthest = sorted(judged, key=lambda each: -abs(each.error))[:worst]
    payload = {**report, "worst": [payload_of_row(each) for each in farthest]}
    emit(payload, as_json, lambda: render_power(report, farthest))


def _row_payload(row: Judged) -> dict[str, Any]:
    case, prediction = row.case, row.prediction
    return {
        "suite": case.suite,
        "chip": case.chip,
        "kernel": case.label,
        "size_class": case.size_class,
        "source": case.source,
        "measured_seconds": case.measured_seconds,
        "predicted_seconds": row.predicted_seconds,
        "roofline_seconds": row.roofline_seconds,
        "host_floor_seconds": case.floor_seconds * case.count,
        "error": row.error,
        "bound_by": prediction.bound_by,
        "mapping": prediction.mapping,
        "cause_shares": prediction.cause_shares,
    }


def _write_page(judged: Sequence[Judged], result: dict[str, Any], path: Path) -> None:
    from results.report.validation_page import write_page

    write_page(path, result["suites"], [_row_payload(row) for row in judged], result["sources"])


def _write_rows(judged: Sequence[Judged], path: Path) -> None:
    payloads = [_row_payload(row) for row in judged]
    for payload in payloads:
        payload |= {f"{cause}_share": share for cause, share in payload.pop("cause_shares").items()}
    _write_table(payloads, path)


def _write_table(payloads: Sequence[dict[str, Any]], path: Path) -> None:
    import csv

    from uarch.files.writing import output_file, text_of

    with output_file(path) as file, text_of(file) as text:
        writer = csv.DictWriter(text, payloads[0])
        writer.writeheader()
        writer.writerows(payloads)


def _write_summary(suites: dict[str, Any], path: Path) -> None:
    import json

    from uarch.files.writing import write_output

    fields = ("rows", "mape", "p90_ape")
    found = {
        name: {"gpus": len(tables["chips"]), **{field: tables["overall"][field] for field in fields}}
        for name, tables in suites.items()
    }
    write_output(path, json.dumps(found, indent=2) + "\n")


def _render(result: dict[str, Any], farthest: Sequence[Judged]) -> None:
    screen = console()
    columns: tuple[str, ...] = (
        "rows of",
        "class",
        "rows",
        "MAPE",
        "median",
        "p90",
        "bias",
        "within 10 %",
        "within 20 %",
        "roofline MAPE",
    )
    for suite, tables in result["suites"].items():
        screen.print(table(f"{suite}: errors of predicted times", columns, _lines(tables), left=2))
    for chip, layer in result.get("layers", {}).items():
        times = " and ".join(quantity(layer[f"{kind}_seconds"], "s") for kind in ("measured", "predicted"))
        screen.print(f"Whole layer on {chip}: {times}, measured and predicted: {percent(layer['error'])}\n")
    if farthest:
        columns = ("chip", "kernel", "measured", "predicted", "error", "bound by", "core time")
        screen.print(table("Farthest off", columns, map(_worst, farthest), left=2))


def _lines(tables: dict[str, Any]) -> Iterator[Iterator[str]]:
    for name, statistics in tables["chips"].items():
        yield from _chip_lines(name, statistics)
    if len(tables["chips"]) > 1:
        yield from _chip_lines("all", tables["overall"])


def _chip_lines(name: str, statistics: dict[str, Any]) -> Iterator[Iterator[str]]:
    yield _line(name, "all", statistics)
    if len(statistics["classes"]) > 1:
        yield from (_line("", label, fields) for label, fields in statistics["classes"].items())


def _line(name: str, label: str, fields: dict[str, Any]) -> Iterator[str]:
    yield name
    yield label
    yield str(fields["rows"])
    for key in ("mape", "median_ape", "p90_ape", "bias", "within_10_percent", "within_20_percent"):
        yield percent(fields[key])
    yield percent(fields["roofline"]["mape"])


def _worst(row: Judged) -> Iterator[str]:
    from uarch.commands.output import shares

    yield row.case.chip
    yield row.case.label
    yield quantity(row.case.measured_seconds, "s")
    yield quantity(row.predicted_seconds, "s")
    yield percent(row.error)
    yield row.prediction.bound_by
    yield shares(row.prediction.cause_shares)
