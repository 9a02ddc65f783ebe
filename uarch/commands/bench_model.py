"""``uarch bench-model``: an analytical model against the simulator or against measurements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from results.plots.quantities import quantity
from uarch.commands.options import ChipOption
from uarch.commands.output import JsonOption, SetOption, console, emit, percent, progress_bar, table
from uarch.commands.sections import Section
from uarch.errors import InputError

if TYPE_CHECKING:
    from uarch.chip.schema import Chip
    from workloads.bench.study import Explanation, Study

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        help="roofline, scalesim, lltile, genz, package.module:function, or a CSV of predictions.",
    ),
]
SuiteOption = Annotated[
    str,
    typer.Option(
        "--suite",
        metavar="NAME_OR_FILE",
        help="gemm, attention, quick, or a CSV file like that of `uarch validate --reference`.",
    ),
]
TruthOption = Annotated[
    Literal["tile", "burst", "measured"],
    typer.Option("--truth", help="The simulator at a fidelity, or the suite's measured times."),
]
_FARTHEST = 5

SECTION = Section.ACCURACY


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("bench-model")(bench_model)


def bench_model(
    model: ModelOption,
    chip: ChipOption = "h100",
    suite: SuiteOption = "gemm",
    truth: TruthOption = "tile",
    explain: Annotated[
        bool, typer.Option("--explain/--no-explain", help="Simulate without each mechanism, to see what is lacking.")
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Draw where the model can be trusted (PNG, SVG, PDF)."),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Error of an analytical model by regime, a map of where to trust it, and which effect it lacks there."""
    from results.plots.style import PlotError, file_format
    from uarch.chip_file import load_chip
    from workloads.bench.study import steps, study
    from workloads.bench.suite import load_suite

    if output is not None:
        try:
            file_format(output)
        except PlotError as error:
            raise InputError(f"--output {error}") from error
    loaded, cases = load_chip(chip, overrides or ()), load_suite(suite)
    with progress_bar(steps(loaded, cases, explain)) as show:
        result = study(loaded, model, cases, truth=truth, explain=explain, progress=show)
    if output is not None:
        _draw(loaded, result, suite, output)
    payload = {"suite": suite, **result.payload(), "map": None if output is None else str(output)}
    emit(payload, as_json, lambda: _render(result, output))


def _draw(chip: Chip, result: Study, suite: str, output: Path) -> None:
    """Raises ``OSError`` if the file cannot be written."""
    import numpy as np

    from results.plots.of_arrays import trust_map
    from results.plots.style import save

    columns = np.array([(row.intensity, row.quantisation, row.error) for row in result.rows]).T
    dtype = "fp16" if "fp16" in chip.dtypes else chip.dtypes[0]
    ridge = chip.peak_flops(dtype) / chip.memory.bandwidth_bytes_per_second
    title = f"Where {result.model} can be trusted on {result.chip}: error in %"
    setting = f"suite {suite}, truth: {result.truth}, background: the nearest kernel's"
    save(trust_map.plot(columns[0], columns[1], columns[2], ridge, title, setting), output)


def _render(result: Study, output: Path | None) -> None:
    screen = console()
    columns: tuple[str, ...] = ("regime", "kernels", "MAPE", "median", "p90", "bias", "within 10 %", "within 20 %")
    title = f"{result.model} on {result.chip} against {result.truth}: errors of predicted times"
    screen.print(table(title, columns, map(_line, result.by_regime().items())))
    if result.explanations:
        columns = ("regime", "what the model lacks there", "error", "without it")
        screen.print(table("Explained by", columns, map(_reason, result.explanations), left=2))
    farthest = sorted(result.rows, key=lambda row: -abs(row.error))[:_FARTHEST]
    columns = ("kernel", "regimes", "predicted", "true", "error")
    lines = (
        (
            row.name,
            ", ".join(row.regimes),
            quantity(row.predicted_seconds, "s"),
            quantity(row.true_seconds, "s"),
            percent(row.error),
        )
        for row in farthest
    )
    screen.print(table("Farthest off", columns, lines, left=2))
    if output is not None:
        screen.print(f"Map: {output}")


def _line(item: tuple[str, dict[str, Any]]) -> Iterator[str]:
    name, fields = item
    yield name
    yield str(fields["rows"])
    for key in ("mape", "median_ape", "p90_ape", "bias", "within_10_percent", "within_20_percent"):
        yield percent(fields[key])


def _reason(each: Explanation) -> Iterator[str]:
    yield each.regime
    yield f"{each.lacking} ({each.mechanism})" if each.mechanism else "no single mechanism of the simulator"
    yield percent(each.mape)
    yield percent(each.mape_without)
