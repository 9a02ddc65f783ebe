"""Worker pools: results by job, on processes, on an executor of the caller's own, and in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from workloads.running.workers import completed, run_jobs, worker_pool


def square(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number


def process_of(_: int) -> int:
    return os.getpid()


class Counting(Executor):
    """An executor of a caller's own: it runs what it is given at once and counts it."""

    def __init__(self) -> None:
        self.submitted, self.is_shut_down = 0, False

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.is_shut_down = True


def test_one_worker_is_this_process_and_keeps_the_order() -> None:
    assert list(run_jobs(square, [3, 1, 2], workers=1)) == [(3, 9), (1, 1), (2, 4)]
    assert list(run_jobs(process_of, [0], workers=1)) == [(0, os.getpid())]


def test_several_workers_are_other_processes() -> None:
    assert os.getpid() not in dict(run_jobs(process_of, [0, 1], workers=2)).values()


def test_an_executor_of_the_callers_own_runs_everything_and_stays_open() -> None:
    mine = Counting()
    assert dict(run_jobs(square, range(5), workers=1, executor=mine)) == {n: n * n for n in range(5)}
    assert (mine.submitted, mine.is_shut_down) == (5, False)
    with worker_pool(executor=mine) as pool:
        assert pool is mine


def test_a_failure_reaches_the_caller_and_cancels_what_has_not_started() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="-1 is negative"):
        list(completed(pool, square, [-1, *range(100)]))
