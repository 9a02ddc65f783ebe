"""An experiment's files: the pictures, and all numbers in one HDF5 file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from results.plots.of_arrays import curve as curve_plot
from results.plots.of_arrays import ratio_map, verdicts
from results.plots.style import save
from results.trace.arrays_file import table_of, write
from uarch.version import __version__
from workloads.experiments.differences import differences
from workloads.experiments.expand import ENGINE, MODEL
from workloads.experiments.findings import (
    Comparison,
    advantage,
    curve_latencies,
    grid_performance,
    holds,
    means,
    mechanism_effects,
)
from workloads.experiments.points import Outcomes
from workloads.experiments.schema import Curve, Experiment, Grid
from workloads.settings.choices import Fidelity

Array = npt.NDArray[Any]
_SOURCES: dict[Fidelity, str] = {MODEL: "lltile", ENGINE: "engine"}


def write_report(
    experiment: Experiment, outcomes: Outcomes, comparisons: Sequence[Comparison], folder: Path
) -> list[Path]:
    """Draw every figure into ``folder``, write ``NAME.h5`` there, and return the paths."""
    arrays: dict[str, Array] = {"comparison": table_of([_line(row) for row in comparisons])}
    arrays["points"] = table_of([_point(point, outcome) for point, outcome in sorted(outcomes.items())])
    files = [folder / f"{curve.name}.png" for curve in experiment.curve]
    for curve, file in zip(experiment.curve, files, strict=True):
        arrays |= _curve(experiment, curve, outcomes, file)
    for grid in experiment.grid:
        files.append(folder / f"{grid.name}.png")
        arrays |= _grid(experiment, grid, outcomes, files[-1])
    files.append(folder / "verdicts.png")
    arrays["verdicts"] = _verdicts(experiment, outcomes, files[-1])
    effects = [dict(zip(_EFFECT, effect, strict=True)) for effect in mechanism_effects(experiment, outcomes)]
    arrays["mechanisms"] = table_of(effects)
    lines = [
        {name: value for name, value in asdict(each).items() if name != "engine_with"}
        | {"with_lltile": kind, "is": value}
        for each in differences(experiment, outcomes)
        for kind, value in each.engine_with.items()
    ]
    if lines:
        arrays["differences"] = table_of(lines)
    files.append(folder / f"{experiment.name}.h5")
    attributes = {
        "experiment": experiment.name,
        "source": experiment.source,
        "package_version": __version__,
        "units": "in the names of the fields; performance and latency without unit are relative",
    }
    write(files[-1], attributes, arrays)
    return files


_EFFECT = ("without", "phase", "chip", "latency", "performance")


def verdict_numbers(experiment: Experiment, outcomes: Outcomes, fidelity: Fidelity) -> npt.NDArray[np.float64]:
    """What each conclusion is about, under each variant; shape ``(variants, conclusions)``."""
    return np.array(
        [
            [advantage(experiment, variant, conclusion, outcomes, fidelity) for conclusion in experiment.conclusion]
            for variant in experiment.variant
        ]
    )


def verdict_holds(experiment: Experiment, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether each of those numbers supports its conclusion."""
    rows = [
        [holds(conclusion, value) for conclusion, value in zip(experiment.conclusion, row, strict=True)]
        for row in numbers
    ]
    return np.array(rows, np.bool_)


def _line(row: Comparison) -> dict[str, Any]:
    return asdict(row) | {"difference": row.difference}


def _point(point: Any, outcome: Any) -> dict[str, Any]:
    fields = asdict(point) | {"overrides": " ".join(point.overrides)}
    seconds, joules = (outcome.seconds, outcome.group_joules_per_token) if outcome else (None, None)
    return fields | {"seconds": seconds, "group_joules_per_token": joules}


def _curve(experiment: Experiment, curve: Curve, outcomes: Outcomes, file: Path) -> dict[str, Array]:
    series = {name: curve_latencies(experiment, curve, outcomes, fidelity) for fidelity, name in _SOURCES.items()}
    paper = np.array(curve.paper or [np.nan] * len(curve.values))
    x = [value / curve.divide_by for value in curve.values]
    all_series = {"paper": paper, **series}
    reference = curve.reference / curve.divide_by
    save(curve_plot.plot(curve.title, (curve.axis, x), "latency, relative", all_series, reference), file)
    columns = {"value": np.array(curve.values), **{f"latency_{name}": found for name, found in all_series.items()}}
    return {f"curves/{curve.name}/{name}": column for name, column in columns.items()}


def _grid(experiment: Experiment, grid: Grid, outcomes: Outcomes, file: Path) -> dict[str, Array]:
    arrays: dict[str, Array] = {f"grids/{grid.name}/batch": np.array(grid.batches)}
    arrays[f"grids/{grid.name}/seq"] = np.array(grid.seqs)
    maps = {}
    for chip in grid.chips:
        for fidelity, source in _SOURCES.items():
            performance = grid_performance(experiment, grid, chip, outcomes, fidelity)
            arrays[f"grids/{grid.name}/{chip}/performance_{source}"] = performance
            if fidelity == MODEL:
                maps[f"{chip}, mean {means(performance)['arithmetic']:.2f}"] = performance
    title = f"{grid.title}: performance relative to {grid.baseline}, lltile"
    rows, columns = ("batch", grid.batches), ("sequence (tokens)", grid.seqs)
    save(ratio_map.plot(title, maps, rows, columns, "latency of the baseline / latency"), file)
    return arrays


def _verdicts(experiment: Experiment, outcomes: Outcomes, file: Path) -> Array:
    names = [variant.title for variant in experiment.variant]
    numbers, conditions = [], []
    for fidelity, source in _SOURCES.items():
        found = verdict_numbers(experiment, outcomes, fidelity)
        known = np.asarray(np.isfinite(found).any(axis=1))
        numbers.append(found[known])
        conditions += [f"{name} ({source})" for name, wanted in zip(names, known.tolist(), strict=True) if wanted]
    together = np.concatenate(numbers)
    claims = [conclusion.title for conclusion in experiment.conclusion]
    title = f"{experiment.title}: which conclusions hold"
    save(verdicts.plot(title, conditions, claims, together, verdict_holds(experiment, together)), file)
    columns = [conclusion.name for conclusion in experiment.conclusion]
    numbers_of = together.tolist()
    return table_of(
        [
            {"condition": condition, **dict(zip(columns, row, strict=True))}
            for condition, row in zip(conditions, numbers_of, strict=True)
        ]
    )
