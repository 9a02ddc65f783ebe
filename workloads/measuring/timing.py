"""The timing loop, and the rows that it gives; everything that touches a device is behind :class:`Backend`."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from uarch.files.writing import output_file, text_of
from workloads.measuring.plan import Job

WARM_UPS = 3
REPEATS = 20
POWER_SECONDS = 2.0
"""Kernel time for which a warm kernel is repeated while the board's joules are counted: sensors average over up to a second, of
which the first half is let go by."""
MEMORY_SHARE = 0.5
"""Share of the device's free memory that a job may take; larger ones are left out."""
USABLE_SPREAD = 0.3
"""Rows whose repeats differ by more, from the 10th to the 90th percentile, are marked B: with care."""

COLUMNS = (
    *("suite", "chip", "source", "dtype", "M", "N", "K", "phase", "batch", "q_heads", "kv_heads", "head_dim", "q_len"),
    *(
        "kv_len",
        "causal",
        "op",
        "rows",
        "cols",
        "collective",
        "devices",
        "bytes",
        "l2",
        "time_us",
        "power_w",
        "energy_j",
        "use",
        "note",
    ),
)


@dataclass(frozen=True)
class Device:
    """The device that is timed, as it names itself."""

    name: str
    count: int
    free_bytes: int
    software: str
    """Driver and framework, with versions."""


class Backend(Protocol):
    """A framework on a device."""

    def device(self) -> Device:
        """What is timed."""

    def prepare(self, job: Job) -> Callable[[], None]:
        """Allocate the operands of a job and return what launches it once, without waiting."""

    def flush_l2(self) -> None:
        """Replace the contents of the device's L2, without waiting."""

    def hold(self) -> None:
        """Keep the device busy for some microseconds, without waiting, so that what follows is queued before it starts."""

    def seconds(self, launch: Callable[[], None]) -> float:
        """Device time of what ``launch`` queues, by events before and after it; waits for its end."""

    def joules(self) -> float | None:
        """Joules that the board has drawn since some moment in the past, after waiting for all launches; None if not known."""

    def state(self) -> str:
        """Clocks and power at the moment, as text; empty if they cannot be read."""


def measure(
    backend: Backend, jobs: Sequence[Job], *, progress: Callable[[int], None] = lambda done: None
) -> Iterator[dict[str, Any]]:
    """Time all jobs that fit the device: two rows each, with a cold L2 (flushed before each run) and with a warm one.

    Times are medians of ``REPEATS`` runs. With a warm L2, power and energy are those of the board while the kernel is repeated
    without a pause, where the board counts its joules. ``progress`` hears how many jobs are done.
    """
    device = backend.device()
    for done, job in enumerate(jobs):
        if job.operand_bytes <= MEMORY_SHARE * device.free_bytes:
            yield from _measure_one(backend, device, job)
        progress(done + 1)


def _measure_one(backend: Backend, device: Device, job: Job) -> Iterator[dict[str, Any]]:
    launch = backend.prepare(job)
    for _ in range(WARM_UPS):
        backend.seconds(launch)
    for l2, before in (("cold", backend.flush_l2), ("warm", backend.hold)):
        times = []
        for _ in range(REPEATS):
            before()
            times.append(backend.seconds(launch))
        yield {
            "suite": job.suite,
            "chip": device.name,
            "source": "measure",
            "dtype": "fp16",
            **job.columns,
            "l2": l2,
            "time_us": round(median(times) * 1e6, 3),
            **(_power(backend, launch, median(times)) if l2 == "warm" else {}),
            "use": "A" if _spread(times) <= USABLE_SPREAD else "B",
            "note": "; ".join(filter(None, (device.software, backend.state()))),
        }


def _power(backend: Backend, launch: Callable[[], None], seconds: float) -> dict[str, float]:
    """Board power and energy of one launch, measured over repeated ones; nothing if the board does not count."""
    if backend.joules() is None:
        return {}
    launches = max(1, round(POWER_SECONDS / 2 / seconds))

    def repeat() -> None:
        for _ in range(launches):
            launch()

    backend.seconds(repeat)
    before = backend.joules()
    taken_seconds = backend.seconds(repeat)
    after = backend.joules()
    if before is None or after is None or not taken_seconds:
        return {}
    return {
        "power_w": round((after - before) / taken_seconds, 2),
        "energy_j": round((after - before) / launches, 9),
    }


def _spread(times: Sequence[float]) -> float:
    """Distance from the 10th to the 90th percentile, as a fraction of the median."""
    ordered = sorted(times)
    cut = len(ordered) // 10
    return (ordered[-1 - cut] - ordered[cut]) / median(ordered)


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the CSV, completely or not at all; raises :class:`OSError` if it cannot be written."""
    with output_file(path) as file, text_of(file) as text:
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
