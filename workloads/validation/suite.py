"""Validation: measured rows, their predictions, and how far apart they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import results
from results.analysis.error_statistics import ErrorStatistics, error_statistics
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.errors import InputError
from workloads.measured.reader import read_measurements
from workloads.measured.rows import Measurement
from workloads.validation.cases import Case, case_of, distinct
from workloads.validation.prediction import Prediction, Progress, predict
from workloads.validation.requests import Request
from workloads.validation.sources import known_chips, preset_of, source_of

BUILT_IN = Path(results.__file__).parent / "reference" / "measured.csv"
"""A selection of published times; see the README beside it."""


@dataclass(frozen=True)
class Judged:
    """A measured row beside its predictions."""

    case: Case
    prediction: Prediction

    @property
    def predicted_seconds(self) -> float:
        """Kernel time, and the host's floor where the source's times include it."""
        return self.case.count * (self.prediction.seconds + self.case.floor_seconds)

    @property
    def roofline_seconds(self) -> float:
        """Seconds by the roofline instead of the engine."""
        return self.case.count * (self.prediction.roofline_seconds + self.case.floor_seconds)

    @property
    def error(self) -> float:
        """Signed, as a fraction of the measured time."""
        return self.predicted_seconds / self.case.measured_seconds - 1


@dataclass(frozen=True)
class Selection:
    """Selection of the rows of a file that are judged."""

    suite: str | None = None
    use: str | None = None
    """Only rows marked so."""
    min_us: float = 0.0
    sample: int | None = None
    """Most rows of a suite, chosen at random, the same every time."""
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """Rows to be judged, and the chips on which they are predicted, by name."""

    cases: Sequence[Case]
    chips: Mapping[str, Chip]

    @property
    def requests(self) -> list[tuple[str, Request]]:
        """Chips and kernels to predict, each once."""
        return distinct(self.cases)

    def judge(
        self,
        *,
        workers: int | None = None,
        executor: Executor | None = None,
        progress: Progress = lambda done: None,
    ) -> list[Judged]:
        """Predict all rows; see :func:`workloads.validation.prediction.predict`."""
        predictions = predict(self.chips, self.requests, workers=workers, executor=executor, progress=progress)
        return [Judged(case, predictions[case.chip, case.request]) for case in self.cases]


def plan_validation(path: str | Path, selection: Selection, *, chip: Chip | None = None) -> Plan:
    """What is to be predicted of a CSV file.

    ``chip``: predicts all rows, whatever their column ``chip`` says; of the built-in file, only the rows of that chip.

    Raises :class:`uarch.InputError` for a bad file, a chip without a preset, and a selection that leaves no row.
    """
    rows = _selected(read_measurements(path, selection.suite), selection)
    if chip is not None and path == BUILT_IN:
        rows = [(suite, row) for suite, row in rows if preset_of(row.chip) == chip.name]
    if not rows:
        raise InputError(f"{path}: no rows are left; allowed are other values of suite, --chip, --use or --min-us")
    chips: dict[str, Chip] = {} if chip is None else {chip.name: chip}
    cases = []
    for suite, row in _sampled(rows, selection):
        name = chip.name if chip is not None else _preset(row, path)
        if name not in chips:
            chips[name] = load_chip(name)
        cases.append(case_of(suite, row, name))
    return Plan(cases, chips)


def _selected(found: dict[str, list[Measurement]], selection: Selection) -> list[tuple[str, Measurement]]:
    return [
        (suite, row)
        for suite, rows in found.items()
        for row in rows
        if (selection.use is None or row.use == selection.use) and row.measured_us >= selection.min_us
    ]


def _sampled(rows: list[tuple[str, Measurement]], selection: Selection) -> list[tuple[str, Measurement]]:
    if selection.sample is None or len(rows) <= selection.sample:
        return rows
    chosen = np.random.default_rng(selection.seed).choice(len(rows), selection.sample, replace=False)
    return [rows[i] for i in sorted(chosen)]


def _preset(row: Measurement, path: str | Path) -> str:
    name = preset_of(row.chip)
    if name is None:
        raise InputError(
            f"{path}: chip = {row.chip!r}: there is no preset; give one with --chip, or use one of {', '.join(known_chips())}"
        )
    return name


def statistics(judged: Sequence[Judged]) -> dict[str, Any]:
    """Statistics of the predictions, of the roofline on the same rows, and of each class; JSON-able."""
    table = _fields(judged)
    classes = sorted({row.case.size_class for row in judged}, key=_class_order(judged))
    table["classes"] = {name: _fields([row for row in judged if row.case.size_class == name]) for name in classes}
    return table


def report(judged: Sequence[Judged]) -> dict[str, Any]:
    """``overall`` and ``chips.NAME`` of all rows, and the same of each suite if there are several; JSON-able."""
    table = _by_chip(judged)
    suites = dict.fromkeys(row.case.suite for row in judged)
    table["suites"] = {suite: _by_chip([row for row in judged if row.case.suite == suite]) for suite in suites}
    layer = [row for row in judged if row.case.suite == "transformer"]
    if layer:
        chips = dict.fromkeys(row.case.chip for row in layer)
        table["layers"] = {chip: _layer([row for row in layer if row.case.chip == chip]) for chip in chips}
    tags = dict.fromkeys(row.case.source for row in judged)
    table["sources"] = {tag: _source(tag) for tag in tags}
    return table


def _by_chip(judged: Sequence[Judged]) -> dict[str, Any]:
    chips = dict.fromkeys(row.case.chip for row in judged)
    return {
        "overall": statistics(judged),
        "chips": {name: statistics([row for row in judged if row.case.chip == name]) for name in chips},
    }


def _layer(judged: Sequence[Judged]) -> dict[str, Any]:
    """The sum over all operators of a transformer layer, and each operator's share of it and error."""
    measured = sum(row.case.measured_seconds for row in judged)
    predicted = sum(row.predicted_seconds for row in judged)
    shares = {row.case.size_class: row.case.measured_seconds / measured for row in judged}
    return {
        "measured_seconds": measured,
        "predicted_seconds": predicted,
        "error": predicted / measured - 1,
        "operators": {
            row.case.size_class: {"share": shares[row.case.size_class], "error": row.error} for row in judged
        },
    }


def _source(tag: str) -> dict[str, Any]:
    source = source_of(tag)
    return {
        "citation": source.citation,
        "licence": source.licence,
        "timed": source.timed,
        "includes_host": source.includes_host,
    }


def _fields(judged: Sequence[Judged]) -> dict[str, Any]:
    measured = [row.case.measured_seconds for row in judged]
    engine = error_statistics([row.predicted_seconds for row in judged], measured)
    roofline: ErrorStatistics = error_statistics([row.roofline_seconds for row in judged], measured)
    return {**engine.fields(), "roofline": roofline.fields()}


def _class_order(judged: Iterable[Judged]) -> Callable[[str], int]:
    order = {name: i for i, name in enumerate(("M <= 128", "M 129 to 512", "M > 512"))}
    first = {name: len(order) + i for i, name in enumerate(dict.fromkeys(row.case.size_class for row in judged))}
    return lambda name: order.get(name, first[name])
