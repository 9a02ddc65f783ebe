"""The demonstration: two models in both phases on a GPU and on SPAD's two specialised chips, in parallel processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib import import_module
from multiprocessing import get_context
from typing import Any

from results.trace.trace import Trace

WORKERS = 2


@dataclass(frozen=True)
class Job:
    """One run: the arguments of :func:`workloads.running.runner.simulate`, by name."""

    chip: str
    model: str
    phase: str
    batch: int
    seq: int
    tp: int

    @property
    def name(self) -> str:
        """Tells the runs of the demonstration apart; fit for a file name."""
        return f"{self.model}-{self.phase}-{self.chip}"

    @property
    def tokens(self) -> int:
        """Tokens that are computed."""
        return self.batch * (self.seq if self.phase == "prefill" else 1)


MODELS = {"bloom-176b": 8, "llama-3-70b": 4}
"""Degree of tensor parallelism."""
PHASES = {"prefill": 2, "decode": 32}
"""Batch; of 64 sequences BLOOM's KV cache would not fit on SPAD's prefill chips."""
CHIPS = ("spad-h100", "spad-prefill", "spad-decode")
SEQ = 1024

JOBS = tuple(
    Job(chip, model, phase, batch, SEQ, tp)
    for model, tp in MODELS.items()
    for phase, batch in PHASES.items()
    for chip in CHIPS
)
"""Default stack (graph), flash attention, fp16."""


FIRST = Job("spad-h100", "llama-68m", "prefill", 1, 16, 1)
"""The smallest run that needs all jitted code."""


def run_jobs(jobs: Sequence[Job], workers: int = WORKERS) -> Iterator[tuple[Job, Trace]]:
    """Simulate jobs in new processes; yields each with its trace as it ends.

    If nothing is compiled yet, the process of ``FIRST`` does that for all others, which load the result; meanwhile another
    one measures the chips' memories. Jobs with most tokens come first, so that all processes end at about the same time.
    """
    chips = tuple(dict.fromkeys(job.chip for job in jobs if job.chip != FIRST.chip))
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start) as pool:
        try:
            prepared: list[Future[Any]] = [pool.submit(simulate_job, FIRST), pool.submit(measure_memories, chips)]
            for preparation in prepared:
                preparation.result()
            ordered = sorted(jobs, key=lambda job: job.tokens, reverse=True)
            running = {pool.submit(simulate_job, job): job for job in ordered}
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def simulate_job(job: Job) -> Trace:
    """Simulate a job in this process."""
    from workloads.running.runner import simulate

    return simulate(**asdict(job))


def measure_memories(chips: Sequence[str]) -> None:
    """Have the service times of the chips' memories measured and remembered."""
    from uarch.chip_file import load_chip
    from uarch.engine.machine import lower_dram

    for chip in chips:
        lower_dram(load_chip(chip), "tile")


def _start() -> None:
    """Load what jobs need. Ctrl-C reaches every process of the terminal: workers end at once, the parent says so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    import_module("workloads.running.runner")
