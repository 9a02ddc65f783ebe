"""Validation of power: measured boards beside their predictions, and how far apart they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.analysis.error_statistics import error_statistics
from uarch.errors import InputError
from workloads.validation.power_prediction import PowerPrediction, predict_power
from workloads.validation.power_rows import POWER_ROWS, PowerRow, ServingRow, read_power_rows


@dataclass(frozen=True)
class JudgedPower:
    """A measured row beside its prediction."""

    row: PowerRow
    prediction: PowerPrediction

    @property
    def error(self) -> float:
        """Signed error of the board's power, as a fraction of the measured one."""
        return self.prediction.watts / self.row.power_w - 1

    @property
    def energy_error(self) -> float | None:
        """Signed error of the energy per token; None for rows without tokens."""
        if not isinstance(self.row, ServingRow):
            return None
        return self.prediction.energy_per_token_joules / self.row.energy_per_token_j - 1

    @property
    def time_error(self) -> float | None:
        """Signed error of the time of a step; None for rows without one."""
        if not isinstance(self.row, ServingRow):
            return None
        return self.prediction.seconds * 1e3 / self.row.step_ms - 1

    @property
    def in_range(self) -> bool:
        """Whether the measured power lies in the predicted range; false for an idle chip, which has none."""
        return self.prediction.low_watts <= self.row.power_w <= self.prediction.high_watts


def select_power_rows(
    path: str | Path = POWER_ROWS, *, chip: str | None = None, use: str | None = None
) -> list[PowerRow]:
    """Rows of a file that are left by ``chip`` (a preset's name) and the mark ``use``.

    Raises :class:`uarch.InputError` for a bad file, and a selection that leaves no row.
    """
    rows = [row for row in read_power_rows(path) if chip in (None, row.chip) and use in (None, row.use)]
    if not rows:
        raise InputError(f"{path}: no rows are left; allowed are other values of --chip and --use")
    return rows


def judge_power(
    rows: Sequence[PowerRow], *, workers: int | None = None, progress: Callable[[int], None] = lambda done: None
) -> list[JudgedPower]:
    """Predict rows; see :func:`workloads.validation.power_prediction.predict_power`."""
    predictions = predict_power(rows, workers=workers, progress=progress)
    return [JudgedPower(row, prediction) for row, prediction in zip(rows, predictions, strict=True)]


def power_report(judged: Sequence[JudgedPower]) -> dict[str, Any]:
    """Errors of all rows, and by phase, chip and batch; JSON-able."""

    def by(name: Callable[[JudgedPower], str]) -> dict[str, Any]:
        names = dict.fromkeys(map(name, judged))
        return {each: _errors([row for row in judged if name(row) == each]) for each in names}

    return {
        "overall": _errors(judged),
        "phases": by(lambda each: each.row.phase),
        "chips": by(lambda each: each.row.chip),
        "batches": by(lambda each: str(each.row.batch_size or "none")),
    }


def _errors(judged: Sequence[JudgedPower]) -> dict[str, Any]:
    power = error_statistics([each.prediction.watts for each in judged], [each.row.power_w for each in judged])
    table: dict[str, Any] = {
        **power.fields(),
        "worst": max(abs(each.error) for each in judged),
        "in_range": sum(each.in_range for each in judged) / len(judged),
    }
    for name, errors in (
        ("energy_per_token", [each.energy_error for each in judged]),
        ("time", [each.time_error for each in judged]),
    ):
        found = [error for error in errors if error is not None]
        if found:
            table[name] = {
                "mape": sum(map(abs, found)) / len(found),
                "bias": sum(found) / len(found),
                "worst": max(map(abs, found)),
            }
    return table
