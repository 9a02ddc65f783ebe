"""Points of which an experiment consists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from uarch.chip_file import load_chip
from workloads.experiments.points import Point
from workloads.experiments.schema import Curve, Experiment, Grid, Parallel, Setting, Variant
from workloads.settings.choices import Fidelity, KernelPhase
from workloads.settings.mechanisms import Mechanism, find_mechanism

MODEL: Final = "lltile"
ENGINE: Final = "tile"
"""Fidelities: the paper's kind of model, and the engine."""


def all_points(experiment: Experiment, engine: bool) -> list[Point]:
    """Every point, without or with those that the engine runs."""
    points: list[Point] = []
    fidelities: tuple[Fidelity, ...] = (MODEL, ENGINE) if engine else (MODEL,)
    for fidelity in fidelities:
        for curve in experiment.curve:
            values = curve.values if fidelity == MODEL else curve.engine
            points += [curve_point(experiment, curve, value, fidelity) for value in values]
        for grid in experiment.grid:
            cells = grid_cells(grid) if fidelity == MODEL else grid.engine
            for chip in (grid.baseline, *grid.chips):
                points += [grid_point(experiment, grid, chip, cell, fidelity) for cell in cells]
        for parallel in experiment.parallel:
            degrees = parallel.degrees if fidelity == MODEL else parallel.engine
            points += [
                parallel_point(experiment, parallel, chip, degree, fidelity)
                for chip in parallel.chips
                for degree in degrees
            ]
        for variant in experiment.variant:
            points += [point for _, _, point in variant_points(experiment, variant, fidelity)]
    return points + ([point for _, _, point in mechanism_points(experiment)] if engine else [])


def curve_point(experiment: Experiment, curve: Curve, value: float, fidelity: Fidelity) -> Point:
    """The point of a curve at one value of its fields."""
    overrides = tuple(f"{field}={int(value) if value.is_integer() else value!r}" for field in curve.fields)
    overrides = () if value == curve.reference else overrides
    return _point(experiment.setting, curve.chip, curve.phase, (curve.batch, curve.seq), fidelity, overrides=overrides)


def grid_cells(grid: Grid) -> list[tuple[int, int]]:
    """All (batch, sequence) of a grid, sequences inner."""
    return [(batch, seq) for batch in grid.batches for seq in grid.seqs]


def grid_point(experiment: Experiment, grid: Grid, chip: str, cell: tuple[int, int], fidelity: Fidelity) -> Point:
    """The point of a grid for one chip and (batch, sequence)."""
    return _point(experiment.setting, chip, grid.phase, cell, fidelity)


def parallel_point(
    experiment: Experiment, parallel: Parallel, chip: str, degree: tuple[int, int], fidelity: Fidelity
) -> Point:
    """The point for one chip at (tp, pp)."""
    tp, pp = degree
    cell, setting = (parallel.batch, parallel.seq), experiment.setting
    return _point(
        setting, chip, parallel.phase, cell, fidelity, overrides=parallel.set, tp=tp, pp=pp, own_tiles=not parallel.set
    )


def chips_of(experiment: Experiment) -> tuple[str, ...]:
    """All chips of the experiment, the baseline first."""
    return tuple(sorted(experiment.chip, key=lambda name: name != experiment.baseline))


def variant_points(
    experiment: Experiment, variant: Variant, fidelity: Fidelity
) -> Iterator[tuple[KernelPhase, str, Point]]:
    """(phase, chip, point) of a variant; of the engine the first of each phase, if it is to run there at all."""
    given = {name: getattr(variant, name) for name in Setting.model_fields}
    setting = experiment.setting.model_copy(update={name: value for name, value in given.items() if value is not None})
    phases: tuple[tuple[KernelPhase, tuple[tuple[int, int], ...]], ...]
    phases = (("prefill", variant.prefill), ("decode", variant.decode))
    for phase, cells in phases:
        chosen = cells if fidelity == MODEL else cells[:1] if variant.engine else ()
        for cell in chosen:
            for chip in chips_of(experiment):
                yield phase, chip, _point(setting, chip, phase, cell, fidelity)


def mechanism_points(experiment: Experiment) -> Iterator[tuple[Mechanism | None, str, Point]]:
    """(mechanism, chip, point): the engine as it is (None), and without each mechanism."""
    study = experiment.mechanisms
    taken = [find_mechanism(name) for name in study.without]
    phases: tuple[tuple[KernelPhase, tuple[int, int]], ...] = (
        ("prefill", study.prefill[0]),
        ("decode", study.decode[0]),
    )
    for phase, cell in phases:
        for chip in chips_of(experiment):
            for mechanism in (None, *taken):
                overrides = mechanism.overrides(load_chip(chip)) if mechanism else ()
                own_tiles = mechanism is None
                point = _point(experiment.setting, chip, phase, cell, ENGINE, overrides=overrides, own_tiles=own_tiles)
                yield mechanism, chip, point


def _point(
    setting: Setting,
    chip: str,
    phase: KernelPhase,
    cell: tuple[int, int],
    fidelity: Fidelity,
    *,
    overrides: tuple[str, ...] = (),
    tp: int | None = None,
    pp: int = 1,
    own_tiles: bool = True,
) -> Point:
    batch, seq = cell
    return Point(
        fidelity=fidelity,
        chip=chip,
        overrides=overrides,
        model=setting.model,
        dtype=setting.dtype,
        phase=phase,
        tp=setting.tp if tp is None else tp,
        pp=pp,
        batch=batch,
        seq=seq,
        attention=setting.attention,
        stack=setting.stack,
        own_tiles=own_tiles,
    )
