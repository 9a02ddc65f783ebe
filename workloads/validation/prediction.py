"""Predicting requests: each once, on several processes, remembered on disk by chip, request and simulator sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass

from uarch.chip.schema import Chip
from uarch.files.derived import json_store
from uarch.files.keys import content_key
from workloads.running.kernel_run import KernelRun
from workloads.running.workers import run_jobs
from workloads.validation.requests import Request

_WORTH_PROCESSES = 16
"""Fewer requests are run by the calling process: another one takes seconds to start."""

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Prediction:
    """What a kernel takes by the engine and by the roofline, and why."""

    seconds: float
    roofline_seconds: float
    bound_by: str
    mapping: str
    """Mapping of the largest program; empty if there is nothing to choose."""
    resource_use: dict[str, float]
    cause_shares: dict[str, float]
    """Shares of the cores' time by cause."""


def predict(
    chips: Mapping[str, Chip],
    requests: Sequence[tuple[str, Request]],
    *,
    fidelity: str = "tile",
    workers: int | None = None,
    executor: Executor | None = None,
    progress: Progress = lambda done: None,
) -> dict[tuple[str, Request], Prediction]:
    """Predict requests on chips, given by name, each once; ``progress`` is called with how many are done.

    ``workers``: new processes, by default one for each available processor; ``executor`` runs the requests instead if given.

    Raises :class:`uarch.InputError` for a request that cannot be run on its chip.
    """
    chip_keys = {name: content_key(chip) for name, chip in chips.items()}
    keys = {(name, request): _PREDICTIONS.key(chip_keys[name], request, fidelity) for name, request in requests}
    known = {asked: _PREDICTIONS.recall(key) for asked, key in keys.items()}
    found = {asked: prediction for asked, prediction in known.items() if prediction is not None}
    jobs = [(name, chips[name], request, fidelity) for name, request in keys if (name, request) not in found]
    progress(len(found))
    if executor is None and len(jobs) < _WORTH_PROCESSES:
        workers = 1
    for (name, _, request, _), prediction in run_jobs(_run_one, jobs, workers=workers, executor=executor):
        found[name, request] = prediction
        _PREDICTIONS.remember(keys[name, request], prediction)
        progress(len(found))
    return {asked: found[asked] for asked in requests}


_Job = tuple[str, Chip, Request, str]
"""Name of a chip, the chip, a request, and the fidelity."""


def _run_one(job: _Job) -> Prediction:
    _, chip, request, fidelity = job
    return _summary(request.run(chip, fidelity))


def _summary(run: KernelRun) -> Prediction:
    largest = max(run.programs, key=lambda program: program.seconds)
    fields = asdict(largest.mapping) if largest.mapping else {}
    return Prediction(
        seconds=run.seconds,
        roofline_seconds=run.roofline_seconds,
        bound_by=run.bound_by,
        mapping=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields.items()),
        resource_use=run.resource_use,
        cause_shares={cause: seconds / run.seconds for cause, seconds in run.seconds_by_cause.items()},
    )


_PREDICTIONS = json_store("predictions", Prediction, "uarch", "kernels", "workloads", "results")
