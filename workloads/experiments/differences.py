"""Why engine and paper's kind of model differ: with the model's time for one kind of operator at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from workloads.experiments.expand import ENGINE, MODEL, curve_point, grid_point, parallel_point
from workloads.experiments.points import Outcome, Outcomes, Point
from workloads.experiments.schema import Experiment

SHOWN = 0.05
"""Difference from which on it is explained, absolute for what is relative and relative for seconds."""

Pair = tuple[Outcome, Outcome]
"""Outcomes of one point: by the model, and on the engine."""


@dataclass(frozen=True)
class Difference:
    """A number that model and engine see differently, and the engine's with one kind of operator as the model has it."""

    figure: str
    quantity: str
    model: float
    engine: float
    engine_with: dict[str, float]
    """Engine's number with the model's time for one kind of operator, by that kind."""


def differences(experiment: Experiment, outcomes: Outcomes) -> list[Difference]:
    """Every point of the figures that both have run and that differs by more than ``SHOWN``."""
    found = []
    for figure, quantity, above, below in _ratios(experiment, outcomes):
        model, engine = (above[i].seconds / (below[i].seconds if below else 1.0) for i in (0, 1))
        scale = 1.0 if below else model
        if abs(engine - model) > SHOWN * scale:
            kinds = sorted(set(above[1].seconds_by_kind) & set(above[0].seconds_by_kind))
            swapped = {kind: _swapped(above, kind) / (_swapped(below, kind) if below else 1.0) for kind in kinds}
            telling = {kind: value for kind, value in swapped.items() if abs(value - engine) > 0.2 * SHOWN * scale}
            found.append(Difference(figure, quantity, model, engine, telling))
    return found


def _swapped(pair: Pair, kind: str) -> float:
    model, engine = pair
    return engine.seconds - engine.seconds_by_kind.get(kind, 0.0) + model.seconds_by_kind.get(kind, 0.0)


def _ratios(experiment: Experiment, outcomes: Outcomes) -> Iterator[tuple[str, str, Pair, Pair | None]]:
    """(figure, quantity, outcomes above, outcomes below the line); None: seconds as they are."""
    for curve in experiment.curve:
        reference = _pair(outcomes, *(curve_point(experiment, curve, curve.reference, f) for f in (MODEL, ENGINE)))
        for value in curve.engine:
            pair = _pair(outcomes, *(curve_point(experiment, curve, value, f) for f in (MODEL, ENGINE)))
            if pair and reference:
                yield curve.name, f"latency at {value / curve.divide_by:g} {curve.axis}", pair, reference
    for grid in experiment.grid:
        for chip in grid.chips:
            for cell in grid.engine:
                base, other = (
                    _pair(outcomes, *(grid_point(experiment, grid, name, cell, f) for f in (MODEL, ENGINE)))
                    for name in (grid.baseline, chip)
                )
                if base and other:
                    yield grid.name, f"performance of {chip} at {cell[0]} x {cell[1]}", base, other
    for parallel in experiment.parallel:
        for chip in parallel.chips:
            for degree in parallel.engine:
                points = (parallel_point(experiment, parallel, chip, degree, f) for f in (MODEL, ENGINE))
                pair = _pair(outcomes, *points)
                if pair:
                    yield parallel.name, f"seconds of {chip} at TP {degree[0]} x PP {degree[1]}", pair, None


def _pair(outcomes: Outcomes, model: Point, engine: Point) -> Pair | None:
    both = outcomes.get(model), outcomes.get(engine)
    return (both[0], both[1]) if both[0] and both[1] else None
