"""Independent simulations in worker processes, or wherever an executor of the caller's own runs them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def available_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def worker_pool(workers: int | None = None, executor: Executor | None = None) -> Iterator[Executor]:
    """Give the body an executor that runs functions with their arguments elsewhere.

    Args:
        workers: new processes to start, by default one for each available processor; they end with the body.
        executor: the caller's own, used instead and left open; whatever it sends functions to must be able to import them.
    """
    if executor is not None:
        yield executor
        return
    with ProcessPoolExecutor(workers or available_processors(), get_context("spawn"), initializer=_start) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def completed(pool: Executor, function: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[tuple[Job, Result]]:
    """Run ``function`` on every job in ``pool`` and yield each job with its result as it ends.

    Jobs start in the order given. If one fails, or the caller stops listening, those that have not started are cancelled.
    """
    running: dict[Future[Result], Job] = {}
    try:
        for job in jobs:
            running[pool.submit(function, job)] = job
        for future in as_completed(running):
            yield running[future], future.result()
    finally:
        for future in running:
            future.cancel()


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int | None = None,
    executor: Executor | None = None,
) -> Iterator[tuple[Job, Result]]:
    """Run ``function`` on every job and yield each job with its result as it ends.

    With one worker and no ``executor`` they run in this process, one after the other; otherwise as :func:`worker_pool` and
    :func:`completed` say.
    """
    if workers == 1 and executor is None:
        yield from ((job, function(job)) for job in jobs)
        return
    with worker_pool(workers, executor) as pool:
        yield from completed(pool, function, jobs)


def _start() -> None:
    """Let Ctrl-C, which reaches every process of the terminal, end a worker at once: the parent tells the user."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
