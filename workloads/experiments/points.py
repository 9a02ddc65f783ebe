"""Points of an experiment: independent runs, spread over processes, each kept on disk as soon as it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import groupby
from typing import Any

from uarch.chip_file import load_chip
from uarch.datatypes import MatrixDatatype
from uarch.errors import InputError
from uarch.files.derived import json_store
from uarch.files.keys import content_key
from workloads.layers.capacity import check_fits
from workloads.models.footprint import Footprint
from workloads.models.presets import load_model
from workloads.running.workers import run_jobs
from workloads.settings.choices import Fidelity, KernelPhase, Schedule, runs_engine
from workloads.settings.phase import Phase

WORKERS = 2
TRIALS = 4
"""Candidates of a search for tiles on the engine: within 1 % of the times that the mapper's own 16 give, in half the time."""


@dataclass(frozen=True, order=True)
class Point:
    """One run: a chip with overrides, and arguments of :func:`workloads.running.runner.simulate`."""

    fidelity: Fidelity
    chip: str
    overrides: tuple[str, ...]
    model: str
    dtype: MatrixDatatype
    phase: KernelPhase
    tp: int
    pp: int
    batch: int
    seq: int
    attention: Schedule
    stack: str
    own_tiles: bool = True
    """Whether tiles are chosen for the chip with its overrides; if not, those of the chip without them are kept."""


@dataclass(frozen=True)
class Outcome:
    """What a run took; of all chips together where it says so."""

    seconds: float
    group_joules_per_token: float
    seconds_by_kind: dict[str, float]


@dataclass(frozen=True)
class _Kept:
    """What is kept of a point on disk."""

    outcome: Outcome | None


_POINTS = json_store("points", _Kept, "uarch", "kernels", "workloads", "results")

_Task = tuple[Point, ...]

Outcomes = dict[Point, Outcome | None]
"""Outcome of each point; None: it does not fit into memory."""


def run_point(point: Point) -> Outcome | None:
    """Simulate a point in this process."""
    from kernels.mapping.mapper import Mapper
    from workloads.running.runner import simulate

    if not fits(point):
        return None
    arguments = asdict(point)
    overrides, own_tiles = arguments.pop("overrides"), arguments.pop("own_tiles")
    chip = load_chip(arguments.pop("chip"), overrides)
    mapper = Mapper(
        chip if own_tiles else load_chip(point.chip), point.dtype, runs_engine(point.fidelity), trials=TRIALS
    )
    rollup = simulate(chip, **arguments, mapper=mapper).rollup
    kinds = {name[5:-8]: float(rollup[name]) for name in rollup if name.startswith("kind_")}
    return Outcome(float(rollup["seconds"]), float(rollup["energy_per_token_joules"]), kinds)


def fits(point: Point) -> bool:
    """Whether weights, KV cache and activations fit into the chips' memory."""
    work = Phase(point.phase, point.batch, point.seq, tp=point.tp, dtype=point.dtype, attention=point.attention)
    try:
        check_fits(
            load_chip(point.chip, point.overrides),
            load_model(point.model),
            Footprint(
                batch=point.batch,
                kv_len=point.seq,
                tokens=work.tokens,
                logit_tokens=point.batch,
                tp=point.tp,
                dtype_bits=work.element_bits,
                unfused=work.unfused,
                pp=point.pp,
            ),
        )
    except InputError:
        return False
    return True


def run_points(
    points: Iterable[Point],
    progress: Callable[[int], None],
    *,
    workers: int = WORKERS,
    executor: Executor | None = None,
) -> Outcomes:
    """Outcomes of all points; those that are known from an earlier run of equal sources and files are not run again.

    ``progress`` is called with the number of points that are done. Points that share GEMMs go to the same process, one of
    ``workers`` new ones (with one worker this one), or wherever ``executor`` runs them.
    """
    keys = _keys(sorted(set(points)))
    known = {point: _POINTS.recall(key) for point, key in keys.items()}
    outcomes = {point: kept.outcome for point, kept in known.items() if kept is not None}
    progress(len(outcomes))
    tasks = _tasks([point for point in keys if point not in outcomes])
    for task, found in run_jobs(_run_task, tasks, workers=workers, executor=executor):
        for point, outcome in zip(task, found, strict=True):
            outcomes[point] = outcome
            _POINTS.remember(keys[point], _Kept(outcome))
        progress(len(outcomes))
    return outcomes


def _keys(points: Sequence[Point]) -> dict[Point, str]:
    """Keys of outcomes: with the contents of each point's chips and of all files that it names."""

    @cache
    def chip_key(chip: str, overrides: tuple[str, ...]) -> str:
        return content_key(load_chip(chip, overrides))

    return {
        point: _POINTS.key(point, chip_key(point.chip, point.overrides), chip_key(point.chip, ())) for point in points
    }


def _tasks(points: Sequence[Point]) -> list[_Task]:
    """The engine's runs one by one, those with most tokens first; a predictor's in groups of one chip and token count."""

    def tokens(point: Point) -> int:
        return point.batch * (point.seq if point.phase == "prefill" else 1) * point.pp

    def group(point: Point) -> tuple[Any, ...]:
        alone = point if runs_engine(point.fidelity) else ()
        return point.fidelity, point.chip, point.overrides, point.model, point.dtype, tokens(point), alone

    tasks = [tuple(members) for _, members in groupby(sorted(points, key=lambda p: (group(p)[:-1], p)), key=group)]
    return sorted(tasks, key=lambda task: (not runs_engine(task[0].fidelity), -tokens(task[0])))


def _run_task(points: _Task) -> list[Outcome | None]:
    return [run_point(point) for point in points]
