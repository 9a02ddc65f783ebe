from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.small_sweep import run_sweep_of, static_sweep
from uarch.errors import InputError
from workloads.sweep.design import Design, Point
from workloads.sweep.execution import Progress, run_sweep
from workloads.sweep.table import read_sweep


@settings(max_examples=15)
@given(
    st.lists(st.integers(8, 140), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(4, 60), min_size=1, max_size=4, unique=True),
)
def test_the_front_has_every_optimum_of_an_enumerated_space(
    tmp_path_factory: pytest.TempPathFactory, cores: list[int], l2_mib: list[int]
) -> None:
    l2_bytes = [each << 20 for each in l2_mib]
    sweep = static_sweep(parameter={"core.count": {"values": cores}, "l2.bytes": {"values": l2_bytes}})
    table = run_sweep(sweep, tmp_path_factory.mktemp("front") / "a.h5", workers=1)
    found = {
        tuple(pair)
        for pair in zip(*(table.rows[name][table.front()].tolist() for name in table.inputs[:2]), strict=True)
    }
    values = {}
    for number, (count, size) in enumerate(product(cores, l2_bytes)):
        design = Design(sweep, Point(number, {"core.count": count, "l2.bytes": size}))
        values[count, size] = (float(design.value("die_area_mm2")), -count * size)
    best = {
        place
        for place, (area, size) in values.items()
        if not any(a <= area and s <= size and (a, s) != (area, size) for a, s in values.values())
    }
    assert found == best


def test_any_executor_and_any_interruption_give_the_same_file(tmp_path: Path) -> None:
    sweep, whole = run_sweep_of(tmp_path), tmp_path / "whole.h5"
    run_sweep(sweep, whole, workers=1)

    class StoppedError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.done == 3:
            raise StoppedError

    parts = tmp_path / "parts.h5"
    with pytest.raises(StoppedError):
        run_sweep(sweep, parts, workers=1, progress=stop)
    assert len(read_sweep(parts).rows) == 3
    with ThreadPoolExecutor(2) as pool:
        run_sweep(sweep, parts, executor=pool)
    assert parts.read_bytes() == whole.read_bytes()


def test_progress_counts_to_the_total_and_knows_the_best(tmp_path: Path) -> None:
    seen: list[Progress] = []
    table = run_sweep(static_sweep(), tmp_path / "a.h5", workers=1, progress=seen.append)
    assert [each.done for each in seen] == list(range(10))
    assert {each.total for each in seen} == {9}
    assert seen[0].best == ""
    assert seen[-1].best.startswith(f"best die_area_mm2 = {table.rows['die_area_mm2'].min():.4g} at core.count = 66")


def test_halving_runs_the_best_points_again(tmp_path: Path) -> None:
    sweep = run_sweep_of(tmp_path, points=4, fidelities=["analytical", "lltile"], keep=0.5)
    table = run_sweep(sweep, tmp_path / "a.h5", workers=1)
    fidelity, seconds = table.column("fidelity"), table.column("decode.seconds")
    first = fidelity == "analytical"
    assert first.sum() == 4
    best = set(np.argsort(seconds[first])[:2].tolist())
    assert set(table.rows["point"][~first].astype(int).tolist()) == best
    assert (table.done() == ~first).all(), "what counts is the last fidelity"


def test_what_cannot_be_run_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of 9 points satisfies the constraints; 9 break 'die_area_mm2 < 10'"):
        run_sweep(static_sweep(constraints=["die_area_mm2 < 10"]), tmp_path / "a.h5", workers=1)
    with pytest.raises(OSError, match="no such directory"):
        run_sweep(static_sweep(), tmp_path / "none" / "a.h5", workers=1)
    assert not (tmp_path / "a.h5").exists()


def test_a_restart_replaces_the_file_of_another_sweep(tmp_path: Path) -> None:
    run_sweep(static_sweep(), tmp_path / "a.h5", workers=1)
    other = static_sweep(name="other")
    with pytest.raises(InputError, match="of another sweep, small"):
        run_sweep(other, tmp_path / "a.h5", workers=1)
    assert run_sweep(other, tmp_path / "a.h5", workers=1, resume=False).sweep.name == "other"


@pytest.mark.compiled("processes that compile nothing")
def test_a_worker_process_that_is_killed_costs_no_point(tmp_path: Path) -> None:
    sweep = run_sweep_of(tmp_path, points=40)
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.done == 5 and not killed:
            killed.append(kill_a_child())

    table = run_sweep(sweep, tmp_path / "a.h5", workers=2, progress=kill)
    run_sweep(sweep, tmp_path / "b.h5", workers=1)
    assert killed
    assert (table.column("status") == "done").all()
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def kill_a_child() -> int:
    """Kill one spawned worker of this process, by its number in /proc."""
    me = os.getpid()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            arguments = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == me and b"spawn_main" in arguments:
            os.kill(int(status.parent.name), signal.SIGKILL)
            return int(status.parent.name)
    raise AssertionError("no worker")
