"""Board power and energy of measured work, as the simulator predicts them: each piece of work once, remembered on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.energy.static_power import idle_board_watts
from uarch.files.derived import json_store
from uarch.files.keys import content_key
from workloads.running.kernel_run import KernelRun
from workloads.running.runner import simulate
from workloads.running.workers import run_jobs
from workloads.single.gemm import simulate_gemm
from workloads.single.stream import simulate_stream
from workloads.validation.power_rows import GemmPowerRow, IdleRow, PowerRow, ServingRow, StreamRow

_STREAM_ROWS = 8192
"""Rows of 16 KB: 128 MiB, more than any L2."""
_PAGE_TOKENS = 16
"""Tokens of a page of the KV cache: vLLM's default."""


@dataclass(frozen=True)
class PowerPrediction:
    """Board power with its range, W, and what a token costs where there are tokens."""

    watts: float
    low_watts: float
    high_watts: float
    hz: float
    """Clock of the core, as the mean over time."""
    seconds: float
    """Time of the kernel or step; 0 for an idle chip."""
    energy_per_token_joules: float
    """Energy of all boards for a token; 0 where there are none."""


_PREDICTIONS = json_store("power", PowerPrediction, "uarch", "kernels", "workloads", "results")


def predict_power(
    rows: Sequence[PowerRow], *, workers: int | None = None, progress: Callable[[int], None] = lambda done: None
) -> list[PowerPrediction]:
    """Predict all rows, in their order; ``progress`` hears how many are done.

    Raises :class:`uarch.InputError` for an unknown chip or model, or work that does not fit.
    """
    chips = [chip_of(row) for row in rows]
    keys = [_PREDICTIONS.key(content_key(chip), row) for chip, row in zip(chips, rows, strict=True)]
    found = {key: _PREDICTIONS.recall(key) for key in keys}
    jobs = [(key, chip, row) for key, chip, row in zip(keys, chips, rows, strict=True) if found[key] is None]
    progress(len(rows) - len(jobs))
    for done, ((key, _, _), answer) in enumerate(run_jobs(_predict_one, jobs, workers=workers)):
        found[key] = answer
        _PREDICTIONS.remember(key, answer)
        progress(len(rows) - len(jobs) + done + 1)
    return [prediction for key in keys if (prediction := found[key]) is not None]


def chip_of(row: PowerRow) -> Chip:
    """Load a row's chip with its overrides."""
    return load_chip(row.chip, [text.strip() for text in row.overrides.split(";") if text.strip()])


def _predict_one(job: tuple[str, Chip, PowerRow]) -> PowerPrediction:
    _, chip, row = job
    if isinstance(row, IdleRow):
        hz = row.clock_mhz * 1e6
        watts = idle_board_watts(chip, hz / chip.clock.tensor_hz)
        return PowerPrediction(watts, watts, watts, hz, 0.0, 0.0)
    if isinstance(row, StreamRow):
        return _of_kernel(simulate_stream(chip, _STREAM_ROWS, fma_per_byte=row.fma_per_byte))
    if isinstance(row, GemmPowerRow):
        return _of_kernel(simulate_gemm(chip, row.m, row.n, row.k, dtype=row.dtype))
    if isinstance(row, ServingRow):
        return _of_step(chip, row)
    raise TypeError(f"no prediction of {type(row).__name__}")


def _of_kernel(run: KernelRun) -> PowerPrediction:
    watts = run.average_board_power_watts
    low, high = (watts * end / run.energy_joules for end in (run.energy_low_joules, run.energy_high_joules))
    return PowerPrediction(watts, low, high, run.tensor_hz, run.seconds, 0.0)


def _of_step(chip: Chip, row: ServingRow) -> PowerPrediction:
    rollup = simulate(
        chip,
        row.model,
        "decode",
        batch=row.batch,
        seq=row.context,
        dtype=row.dtype,
        tp=row.tp,
        ep=row.ep,
        page_size=_PAGE_TOKENS,
    ).rollup
    return PowerPrediction(
        float(rollup["average_board_power_watts"]),
        float(rollup["average_board_power_low_watts"]),
        float(rollup["average_board_power_high_watts"]),
        float(rollup["mean_clock_hz"]),
        float(rollup["seconds"]),
        float(rollup["board_energy_per_token_joules"]),
    )
