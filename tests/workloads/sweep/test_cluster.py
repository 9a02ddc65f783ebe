"""Sweeps on a real Dask scheduler with two worker processes, which are killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_sweep import run_sweep_file
from uarch.errors import InputError
from workloads.sweep.cluster import cluster_executor
from workloads.sweep.execution import Progress, run_sweep
from workloads.sweep.sweep_file import load_sweep
from workloads.sweep.table import read_sweep

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.once("processes that compile nothing"),
    pytest.mark.filterwarnings("ignore"),  # Dask's own: ports, unclosed connections of processes that are killed
    pytest.mark.xdist_group("dask"),
]
POINTS = 60
DEADLINE_SECONDS = 120


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with two worker processes of one thread each, that are replaced when they die."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table of the sweep, made in one process, beside its file."""
    folder = tmp_path_factory.mktemp("whole")
    run_sweep(str(run_sweep_file(folder, POINTS)), folder / "whole.h5", workers=1)
    return folder / "whole.h5"


def worker_pids(scheduler: str) -> dict[str, int]:
    with distributed.Client(scheduler, set_as_default=False) as client:
        found: dict[str, int] = client.run(os.getpid)
        return found


def test_a_worker_that_is_killed_costs_no_point(scheduler: str, whole: Path, tmp_path: Path) -> None:
    pids = list(worker_pids(scheduler).values())
    assert len(pids) == 2

    def kill(progress: Progress) -> None:
        if progress.done == 10 and pids:
            os.kill(pids.pop(), signal.SIGKILL)

    with cluster_executor(scheduler) as executor:
        run_sweep(str(whole.with_name("tiny.toml")), tmp_path / "a.h5", executor=executor, progress=kill)
    assert len(pids) == 1, "one was killed"
    assert (tmp_path / "a.h5").read_bytes() == whole.read_bytes()


def test_a_client_that_is_killed_goes_on_where_its_table_ends(scheduler: str, whole: Path, tmp_path: Path) -> None:
    file, table = whole.with_name("tiny.toml"), tmp_path / "a.h5"
    command = [sys.executable, "-m", "uarch", "sweep", str(file), "-o", str(table), "--scheduler", scheduler]
    client = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not table.exists() and client.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    client.kill()
    client.wait()
    done = len(read_sweep(table).rows)
    assert 0 < done <= POINTS
    seen: list[Progress] = []
    with cluster_executor(scheduler) as executor:
        run_sweep(load_sweep(str(file)), table, executor=executor, progress=seen.append)
    assert [each.done for each in seen] == list(range(done, POINTS + 1)), "none twice"
    assert table.read_bytes() == whole.read_bytes()


def test_a_scheduler_that_is_lost_is_one_line_and_costs_nothing_that_is_done(whole: Path, tmp_path: Path) -> None:
    cluster: Any = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    try:

        def close(progress: Progress) -> None:
            if progress.done == 10:
                cluster.close()

        file, table = str(whole.with_name("tiny.toml")), tmp_path / "a.h5"
        with (
            pytest.raises(InputError, match="scheduler: lost"),
            cluster_executor(cluster.scheduler_address) as executor,
        ):
            run_sweep(file, table, executor=executor, progress=close)
    finally:
        cluster.close()
    assert 10 <= len(read_sweep(table).rows) < POINTS
    run_sweep(file, table, workers=1)
    assert table.read_bytes() == whole.read_bytes()


def test_a_scheduler_that_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workloads.sweep.cluster.CONNECT_SECONDS", 0.5)
    with pytest.raises(InputError, match="does not answer"), cluster_executor("tcp://127.0.0.1:1"):
        pass
