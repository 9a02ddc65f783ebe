"""Remembered results: the same as executed ones, and told apart by everything that they depend on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kernels.attention.attention import Attention, FlashMapping
from tests.support.small_programs import flash_program, small_chip
from uarch.engine.execute import execute
from uarch.engine.l2 import L2State
from workloads.running import result_store
from workloads.running.result_store import Outcome, remembered


@pytest.fixture
def executions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An empty store that remembers every kernel; the list grows with each execution."""
    monkeypatch.setattr(result_store, "LONG_VISITS", 0)
    monkeypatch.setattr(result_store, "cache_directory", lambda: tmp_path)
    return []


def run(executions: list[int], *, kv_len: int = 64, l2: L2State | None = None, launch_seconds: float = 0.0) -> Outcome:
    chip, state = small_chip(), l2 or L2State.empty()
    program = flash_program(Attention(1, 2, 1, 16, 32, kv_len), FlashMapping(16, 16, 2))

    def engine() -> Outcome:
        executions.append(1)
        return execute(chip, program, state, launch_seconds=launch_seconds)

    return remembered(chip, program, state, launch_seconds, "tile", engine)


def test_a_result_is_executed_once(executions: list[int]) -> None:
    first, l2 = run(executions)
    again, l2_again = run(executions)
    assert len(executions) == 1
    assert (again.total_ps, again.seconds) == (first.total_ps, first.seconds)
    np.testing.assert_array_equal(again.events, first.events)
    np.testing.assert_array_equal(again.causes_ps, first.causes_ps)
    assert l2_again.key() == l2.key()


def test_whatever_changes_the_result_changes_the_key(executions: list[int]) -> None:
    _, l2 = run(executions)
    run(executions, kv_len=65)
    run(executions, l2=l2)
    run(executions, launch_seconds=1e-6)
    assert len(executions) == 4


def test_a_damaged_file_is_executed_again(executions: list[int], tmp_path: Path) -> None:
    first, _ = run(executions)
    (file,) = (tmp_path / "results").iterdir()
    file.write_bytes(b"no pickle")
    assert run(executions)[0].total_ps == first.total_ps
    assert len(executions) == 2


def test_short_kernels_are_not_remembered(
    executions: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_store, "LONG_VISITS", 1 << 40)
    run(executions)
    run(executions)
    assert len(executions) == 2
    assert not list(tmp_path.iterdir())
