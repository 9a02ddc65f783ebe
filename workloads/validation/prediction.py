"""Predicting requests: each once, on several processes, remembered on disk by chip, request and simulator sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from results.files import replace_when_complete
from uarch.chip.schema import Chip
from uarch.jit import cache_directory
from workloads.running.kernel_run import KernelRun
from workloads.running.workers import run_jobs
from workloads.validation.requests import Request

_PACKAGES = ("uarch", "kernels", "workloads")
_WORTH_PROCESSES = 16
"""Fewer requests are run by the calling process: another one takes seconds to start."""
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
    executor: Executor | None = None,
    progress: Progress = lambda done: None,
) -> dict[tuple[str, Request], Prediction]:
    """Predict requests on chips, given by name, each once; ``progress`` is called with how many are done.

    ``workers``: new processes, by default one for each available processor; ``executor`` runs the requests instead if given.

    Raises :class:`uarch.InputError` for a request that cannot be run on its chip.
    """
    stores = {name: _Store(chip, fidelity) for name, chip in chips.items()}
    found = {}
    for name, request in requests:
        known = stores[name].recall(request)
        if known is not None:
            found[name, request] = known
    jobs = [(name, chips[name], request, fidelity) for name, request in requests if (name, request) not in found]
    progress(len(found))
    if executor is None and len(jobs) < _WORTH_PROCESSES:
        workers = 1
    for (name, _, request, _), prediction in run_jobs(_run_one, jobs, workers=workers, executor=executor):
        found[name, request] = prediction
        stores[name].remember(request, prediction)
        progress(len(found))
    for store in stores.values():
        store.save()
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
