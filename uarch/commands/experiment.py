"""``uarch experiment``: a paper's results run again, its numbers beside those found here, and what lies beyond."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uarch.commands.output import JsonOption, console, emit, make_folder, progress_bar, table
from uarch.commands.sections import Section

if TYPE_CHECKING:
    from workloads.experiments.findings import Comparison
    from workloads.experiments.points import Outcomes
    from workloads.experiments.schema import Experiment
    from workloads.settings.choices import Fidelity

NameArgument = Annotated[str, typer.Argument(metavar="NAME_OR_FILE", help="spad-chips, or a TOML file.")]
OutputOption = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Folder of the results."),
]
EngineOption = Annotated[
    bool, typer.Option("--engine/--no-engine", help="Run a part of the points on the engine as well.")
]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes.")]

SECTION = Section.SIMULATE


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(experiment)


def experiment(
    name: NameArgument,
    output: OutputOption = Path("experiment"),
    engine: EngineOption = True,
    workers: WorkersOption = 2,
    as_json: JsonOption = False,
) -> None:
    """Run an experiment: a table of the paper's numbers and those found here, pictures, and one HDF5 file."""
    from workloads.experiments.chip_table import compare_chips
    from workloads.experiments.expand import all_points
    from workloads.experiments.findings import compare
    from workloads.experiments.points import run_points
    from workloads.experiments.report import write_report
    from workloads.experiments.schema import load_experiment

    loaded = load_experiment(name)
    make_folder(output)
    points = set(all_points(loaded, engine))
    with progress_bar(len(points)) as show:
        outcomes = run_points(points, lambda done: show(loaded.name, done), workers=workers)
    comparisons = compare_chips(loaded) + compare(loaded, outcomes)
    files = write_report(loaded, outcomes, comparisons, output)
    result = payload(loaded, outcomes, comparisons, files)
    emit(result, as_json, lambda: _render(loaded, comparisons, result, output))


def payload(
    experiment: Experiment, outcomes: Outcomes, comparisons: list[Comparison], files: list[Path]
) -> dict[str, Any]:
    """Everything that was found, JSON-able; performance and latency are relative to the baseline's."""
    from dataclasses import asdict

    import numpy as np

    from workloads.experiments.differences import differences
    from workloads.experiments.expand import ENGINE, MODEL
    from workloads.experiments.findings import grid_performance, means, mechanism_effects, order_kept, parallel_seconds
    from workloads.experiments.report import verdict_holds, verdict_numbers

    verdicts: dict[str, Any] = {}
    sources: tuple[tuple[str, Fidelity], ...] = (("lltile", MODEL), ("engine", ENGINE))
    for source, fidelity in sources:
        numbers = verdict_numbers(experiment, outcomes, fidelity)
        verdicts[source] = {
            variant.name: {
                conclusion.name: {"value": value, "holds": bool(held)}
                for conclusion, value, held in zip(experiment.conclusion, row.tolist(), supported, strict=True)
                if value == value
            }
            for variant, row, supported in zip(
                experiment.variant, numbers, verdict_holds(experiment, numbers), strict=True
            )
        }
    keys = ("without", "phase", "chip", "latency", "performance")
    return {
        "experiment": experiment.name,
        "source": experiment.source,
        "comparison": [
            asdict(row) | {"difference": row.difference, "within_tolerance": _within(row)} for row in comparisons
        ],
        "means": {
            grid.name: {chip: means(grid_performance(experiment, grid, chip, outcomes, MODEL)) for chip in grid.chips}
            for grid in experiment.grid
        },
        "order_kept": {
            f"{parallel.name} {chip} {source}": order_kept(paper, found)
            for parallel in experiment.parallel
            for chip, paper in parallel.paper_seconds.items()
            for source, fidelity in sources
            if np.isfinite(found := parallel_seconds(experiment, parallel, chip, outcomes, fidelity)).all()
        },
        "engine_with_kinds_of_lltile": [asdict(each) for each in differences(experiment, outcomes)],
        "without_mechanism": [
            dict(zip(keys, effect, strict=True))
            for effect in mechanism_effects(experiment, outcomes)
            if effect[3] == effect[3]
        ],
        "verdicts": verdicts,
        "notes": {curve.name: curve.note for curve in experiment.curve if curve.note},
        "files": [str(file) for file in files],
    }


def _within(row: Comparison) -> bool | None:
    if row.tolerance is None or row.difference is None:
        return None
    return abs(row.difference) <= row.tolerance


def _render(experiment: Experiment, comparisons: list[Comparison], result: dict[str, Any], output: Path) -> None:
    screen = console()
    columns = ("figure", "quantity", "paper", "here (lltile)", "here (engine)", "difference", "")
    screen.print(table(experiment.title, columns, map(_comparison_cells, comparisons), left=2, wrapping="quantity"))
    titles = [conclusion.title for conclusion in experiment.conclusion]
    for source, verdicts in result["verdicts"].items():
        rows = [_verdict_cells(experiment, name, found) for name, found in verdicts.items() if found]
        if rows:
            screen.print(table(f"Conclusions, {source}; flipped ones in brackets", ("condition", *titles), rows))
    rows = [_difference_cells(each) for each in result["engine_with_kinds_of_lltile"]]
    kinds = ("figure", "quantity", "lltile", "engine", "engine with lltile's time of")
    if rows:
        screen.print(table("Where engine and lltile differ by more than 0.05", kinds, rows, left=2, wrapping=kinds[-1]))
    effects = [_effect_cells(each) for each in result["without_mechanism"] if each["without"]]
    parts = ("without", "phase", "chip", "latency", "performance")
    if effects:
        screen.print(table("The engine without a mechanism, relative to it as it is", parts, effects, left=3))
    for name, kept in result["order_kept"].items():
        screen.print(f"{name}: the paper's order is {'kept' if kept else 'NOT kept'}")
    for name, note in result["notes"].items():
        screen.print(f"{name}: {note}")
    screen.print(f"Everything else is in {output / experiment.name}.h5 and the pictures beside it.")


def _comparison_cells(row: Comparison) -> Iterator[str]:
    yield row.figure
    yield row.quantity
    for value in (row.paper, row.model, row.engine):
        yield _number(value)
    yield (
        "-"
        if row.difference is None
        else f"{row.difference:+.3f}"
        if abs(row.paper or 0) < 10
        else f"{row.difference:+.1f}"
    )
    within = _within(row)
    yield "" if within is None else "within" if within else "MISSED"


def _difference_cells(each: dict[str, Any]) -> Iterator[str]:
    yield from (each["figure"], each["quantity"], _number(each["model"]), _number(each["engine"]))
    yield ", ".join(f"{kind} {value:.3f}" for kind, value in each["engine_with"].items()) or "-"


def _effect_cells(each: dict[str, Any]) -> Iterator[str]:
    yield from (each["without"], each["phase"], each["chip"], _number(each["latency"]), _number(each["performance"]))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"


def _verdict_cells(experiment: Experiment, name: str, found: dict[str, Any]) -> Iterator[str]:
    yield next(variant.title for variant in experiment.variant if variant.name == name)
    for conclusion in experiment.conclusion:
        entry = found.get(conclusion.name)
        yield "-" if entry is None else f"{entry['value']:.2f}" if entry["holds"] else f"({entry['value']:.2f})"
