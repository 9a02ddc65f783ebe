"""Predicting requests: each once, on several processes, remembered on disk by chip, request and simulator sources."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from results.files import replace_when_complete
from uarch.chip.schema import Chip
from uarch.jit import cache_directory
from workloads.running.kernel_run import KernelRun
from workloads.validation.requests import Request

_PACKAGES = ("uarch", "kernels", "workloads")
_WORTH_PROCESSES = 16
"""Fewer requests are run by the calling process: another one takes seconds to start."""
_CHUNK = 4
_SAVE_EVERY = 100

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Prediction:
    """What a kernel takes by the engine and by the roofline, and why."""

    seconds: float
    roofline_seconds: float
    bound_by: str
    mapping: str
    """Of its largest program; empty if there is nothing to choose."""
    resource_use: dict[str, float]
    cause_shares: dict[str, float]
    """Of the cores' time, by cause."""


def predict(
    chips: Mapping[str, Chip],
    requests: Sequence[tuple[str, Request]],
    *,
    fidelity: str = "tile",
    workers: int | None = None,
    progress: Progress = lambda done: None,
) -> dict[tuple[str, Request], Prediction]:
    """Predictions of requests on chips, given by name; ``progress`` hears how many are done.

    Raises :class:`uarch.InputError` for a request that cannot be run on its chip.
    """
    stores = {name: _Store(chip, fidelity) for name, chip in chips.items()}
    found = {}
    for name, request in requests:
        known = stores[name].recall(request)
        if known is not None:
            found[name, request] = known
    missing = [(name, request) for name, request in requests if (name, request) not in found]
    progress(len(found))
    jobs = [(chips[name], request, fidelity) for name, request in missing]
    for (name, request), prediction in zip(missing, _run_all(jobs, workers), strict=True):
        found[name, request] = prediction
        stores[name].remember(request, prediction)
        progress(len(found))
    for store in stores.values():
        store.save()
    return found


def available_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_Job = tuple[Chip, Request, str]


def _run_all(jobs: Sequence[_Job], workers: int | None) -> Iterator[Prediction]:
    """Predictions in the order of the jobs, as they come."""
    workers = workers or available_processors()
    if workers == 1 or len(jobs) < _WORTH_PROCESSES:
        yield from map(_run_one, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield from pool.map(_run_one, jobs, chunksize=_CHUNK)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_one(job: _Job) -> Prediction:
    chip, request, fidelity = job
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


class _Store:
    """Predictions of one chip on disk: one file, always whole; of two processes that write it the later one's new entries
    join those of the earlier.
    """

    def __init__(self, chip: Chip, fidelity: str) -> None:
        digest = hashlib.sha256(_sources_key().encode())
        digest.update(chip.model_dump_json().encode())
        digest.update(fidelity.encode())
        self._path = cache_directory() / "predictions" / f"{digest.hexdigest()}.json"
        self._entries = self._read()
        self._unsaved = 0

    def recall(self, request: Request) -> Prediction | None:
        """An earlier prediction, None if there is none or its file is damaged."""
        with suppress(KeyError, TypeError):
            return Prediction(**self._entries[repr(request)])
        return None

    def remember(self, request: Request, prediction: Prediction) -> None:
        """Keep a prediction; it is written now and then, and by :meth:`save`."""
        self._entries[repr(request)] = asdict(prediction)
        self._unsaved += 1
        if self._unsaved >= _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write what is new; without space for it, it is known to this process alone."""
        if not self._unsaved:
            return
        self._entries = self._read() | self._entries
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with replace_when_complete(self._path) as temporary:
                temporary.write_text(json.dumps(self._entries), "utf-8")
        self._unsaved = 0

    def _read(self) -> dict[str, Any]:
        try:
            entries = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}


@cache
def _sources_key() -> str:
    """Hash of everything in the packages that a prediction depends on: code, chip parts, memory standards."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[2]
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in (".py", ".toml"):
                digest.update(path.relative_to(root).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
