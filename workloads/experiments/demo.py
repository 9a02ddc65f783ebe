"""The demonstration: two models in both phases on a GPU and on SPAD's two specialised chips, in parallel processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass
from typing import Any

from results.trace.trace import Trace
from workloads.running.workers import completed, worker_pool

WORKERS = 2


@dataclass(frozen=True)
class Job:
    """One run of the demonstration: arguments of :func:`workloads.running.runner.simulate` by name."""

    chip: str
    model: str
    phase: str
    batch: int
    seq: int
    tp: int

    @property
    def name(self) -> str:
        """Name of the run, unique in the demonstration and fit for a file name."""
        return f"{self.model}-{self.phase}-{self.chip}"

    @property
    def tokens(self) -> int:
        """Number of tokens that the run computes."""
        return self.batch * (self.seq if self.phase == "prefill" else 1)


MODELS = {"bloom-176b": 8, "llama-3-70b": 4}
"""Models of the demonstration, each with its degree of tensor parallelism."""
PHASES = {"prefill": 2, "decode": 32}
"""Phases of the demonstration, each with its batch; BLOOM's KV cache of 64 sequences would not fit on SPAD's prefill chips."""
CHIPS = ("spad-h100", "spad-prefill", "spad-decode")
SEQ = 1024

JOBS = tuple(
    Job(chip, model, phase, batch, SEQ, tp)
    for model, tp in MODELS.items()
    for phase, batch in PHASES.items()
    for chip in CHIPS
)
"""All runs of the demonstration; they use the stack ``graph``, flash attention and fp16."""


FIRST = Job("spad-h100", "llama-68m", "prefill", 1, 16, 1)
"""Smallest run that compiles all jitted code which the others need."""


def run_demo(
    jobs: Sequence[Job] = JOBS, *, workers: int = WORKERS, executor: Executor | None = None
) -> Iterator[tuple[Job, Trace]]:
    """Simulate jobs in ``workers`` new processes, or in ``executor``; yield each job with its trace as it ends.

    If nothing is compiled yet, the process of ``FIRST`` does that for all others, which load the result; meanwhile another
    one measures the chips' memories. Jobs with most tokens come first, so that all processes end at about the same time.
    """
    chips = tuple(dict.fromkeys(job.chip for job in jobs if job.chip != FIRST.chip))
    with worker_pool(workers, executor) as pool:
        prepared: list[Future[Any]] = [pool.submit(simulate_job, FIRST), pool.submit(measure_memories, chips)]
        for preparation in prepared:
            preparation.result()
        yield from completed(pool, simulate_job, sorted(jobs, key=lambda job: job.tokens, reverse=True))


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
