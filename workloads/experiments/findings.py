"""What an experiment found: curves, maps, parallel latencies, conclusions, mechanisms; and the table beside the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, geometric_mean, harmonic_mean

import numpy as np
import numpy.typing as npt

from uarch.chip_file import load_chip
from uarch.silicon.cost import hardware_cost_usd
from workloads.experiments.expand import (
    ENGINE,
    MODEL,
    curve_point,
    grid_cells,
    grid_point,
    mechanism_points,
    parallel_point,
    variant_points,
)
from workloads.experiments.points import Outcome, Outcomes, Point
from workloads.experiments.schema import Conclusion, Curve, Experiment, Grid, Parallel, Variant
from workloads.settings.choices import Fidelity

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """One line of the table: a number of the paper beside those found here; None where there is none."""

    figure: str
    quantity: str
    paper: float | None
    model: float | None
    engine: float | None
    tolerance: float | None = None
    """Absolute, of ``model`` against ``paper``."""

    @property
    def difference(self) -> float | None:
        """``model`` less ``paper``."""
        return None if self.paper is None or self.model is None else self.model - self.paper


def _seconds(outcomes: Outcomes, point: Point) -> float:
    """NaN if the point was not run or does not fit."""
    outcome = outcomes.get(point)
    return outcome.seconds if outcome else float("nan")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def curve_latencies(experiment: Experiment, curve: Curve, outcomes: Outcomes, fidelity: Fidelity) -> Floats:
    """Latency at each value over that at the reference, NaN where it was not run; shape ``(values,)``."""
    seconds = [_seconds(outcomes, curve_point(experiment, curve, value, fidelity)) for value in curve.values]
    return np.array(seconds) / seconds[curve.values.index(curve.reference)]


def grid_performance(experiment: Experiment, grid: Grid, chip: str, outcomes: Outcomes, fidelity: Fidelity) -> Floats:
    """Latency of the baseline over that of ``chip``, NaN where either does not fit; shape ``(batches, sequences)``."""
    ratios = [
        _seconds(outcomes, grid_point(experiment, grid, grid.baseline, cell, fidelity))
        / _seconds(outcomes, grid_point(experiment, grid, chip, cell, fidelity))
        for cell in grid_cells(grid)
    ]
    return np.array(ratios).reshape(len(grid.batches), len(grid.seqs))


def means(performance: Floats) -> dict[str, float]:
    """Arithmetic, harmonic and geometric mean of the cells that fit."""
    cells = performance[np.isfinite(performance)].tolist()
    return {"arithmetic": fmean(cells), "harmonic": harmonic_mean(cells), "geometric": geometric_mean(cells)}


def parallel_seconds(
    experiment: Experiment, parallel: Parallel, chip: str, outcomes: Outcomes, fidelity: Fidelity
) -> Floats:
    """Latency at each degree; shape ``(degrees,)``."""
    return np.array(
        [_seconds(outcomes, parallel_point(experiment, parallel, chip, d, fidelity)) for d in parallel.degrees]
    )


def advantage(
    experiment: Experiment, variant: Variant, conclusion: Conclusion, outcomes: Outcomes, fidelity: Fidelity
) -> float:
    """Mean over the variant's points of what the conclusion's chip does relative to the baseline; NaN if none was run."""
    of_chip: dict[str, list[Outcome | None]] = {conclusion.chip: [], experiment.baseline: []}
    for phase, chip, point in variant_points(experiment, variant, fidelity):
        if phase == conclusion.phase and chip in of_chip:
            of_chip[chip].append(outcomes.get(point))
    pairs = zip(of_chip[experiment.baseline], of_chip[conclusion.chip], strict=True)
    ratios = [_cost(base, conclusion) / _cost(other, conclusion) for base, other in pairs if base and other]
    if not ratios:
        return float("nan")
    dollars = 1.0
    if conclusion.per == "dollar":
        dollars = hardware_cost_usd(load_chip(conclusion.chip)) / hardware_cost_usd(load_chip(experiment.baseline))
    return fmean(ratios) / dollars


def _cost(outcome: Outcome, conclusion: Conclusion) -> float:
    return outcome.group_joules_per_token if conclusion.per == "joule" else outcome.seconds


def holds(conclusion: Conclusion, value: float) -> bool:
    """Whether a finding supports the conclusion."""
    above = conclusion.at_least is None or value >= conclusion.at_least
    return above and (conclusion.at_most is None or value <= conclusion.at_most)


def mechanism_effects(experiment: Experiment, outcomes: Outcomes) -> list[tuple[str, str, str, float, float]]:
    """(mechanism, phase, chip, latency without it over that with it, performance relative to the baseline without it)."""
    seconds = {
        (mechanism.name if mechanism else "", point.phase, chip): _seconds(outcomes, point)
        for mechanism, chip, point in mechanism_points(experiment)
    }
    return [
        (title, phase, chip, taken / seconds["", phase, chip], seconds[title, phase, experiment.baseline] / taken)
        for (title, phase, chip), taken in seconds.items()
    ]


def compare(experiment: Experiment, outcomes: Outcomes) -> list[Comparison]:
    """Everything that the paper has a number for, and the orderings that it shows."""
    rows: list[Comparison] = []
    for grid in experiment.grid:
        rows += _compare_grid(experiment, grid, outcomes)
    for curve in experiment.curve:
        both = [curve_latencies(experiment, curve, outcomes, fidelity) for fidelity in (MODEL, ENGINE)]
        for value, paper, model, engine in zip(curve.values, curve.paper, *both, strict=False):
            at = f"latency at {value / curve.divide_by:g} {curve.axis}"
            rows.append(Comparison(curve.name, at, paper, _number(model), _number(engine), curve.tolerance))
    for parallel in experiment.parallel:
        for chip in parallel.chips:
            both = [parallel_seconds(experiment, parallel, chip, outcomes, fidelity) for fidelity in (MODEL, ENGINE)]
            for degree, paper, *found in zip(parallel.degrees, parallel.paper_seconds[chip], *both, strict=True):
                at = f"seconds of {chip} at TP {degree[0]} x PP {degree[1]}"
                rows.append(Comparison(parallel.name, at, paper, *map(_number, found)))
    return rows


def _compare_grid(experiment: Experiment, grid: Grid, outcomes: Outcomes) -> list[Comparison]:
    """Means over all cells that fit, and the same over the engine's cells."""
    rows, engine_cells = [], set(grid.engine)
    run = np.array([cell in engine_cells for cell in grid_cells(grid)]).reshape(len(grid.batches), -1)
    for chip, paper in grid.paper.items():
        model, engine = (grid_performance(experiment, grid, chip, outcomes, name) for name in (MODEL, ENGINE))
        whole = means(model)["arithmetic"]
        rows.append(Comparison(grid.name, f"mean performance of {chip}", paper, whole, None, grid.tolerance))
        if np.isfinite(engine).any():
            part = means(np.where(run, model, np.nan))["arithmetic"]
            text = f"mean performance of {chip}, {np.isfinite(engine).sum()} cells of the engine"
            rows.append(Comparison(grid.name, text, None, part, means(engine)["arithmetic"]))
    return rows


def order_kept(paper: Sequence[float], found: Floats) -> bool:
    """Whether what is greater in the paper by more than its reading error of 5 % is greater here."""
    pairs = [(i, j) for i in range(len(paper)) for j in range(len(paper)) if paper[i] > 1.05 * paper[j]]
    return all(found[i] > found[j] for i, j in pairs)
