"""Remembered results: the same as executed ones, and told apart by everything that they depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.attention.attention import Attention, FlashMapping
from tests.support.empty_cache import flip, keep_in
from tests.support.small_programs import flash_program, small_chip
from uarch.engine.execute import execute
from uarch.engine.l2 import L2State
from uarch.program.records import LinkUse
from workloads.running import result_store
from workloads.running.result_store import Outcome, remembered


@pytest.fixture
def executions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An empty store that remembers every kernel; the list grows with each execution."""
    monkeypatch.setattr(result_store, "LONG_VISITS", 0)
    keep_in(tmp_path, monkeypatch)
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
    for position in (500, 900, -1):
        flip(file, position)
        assert run(executions)[0].total_ps == first.total_ps
    assert len(executions) == 4


def test_how_remote_data_travels_and_what_a_start_takes_change_the_key() -> None:
    program = flash_program(Attention(1, 2, 1, 16, 32, 64), FlashMapping(16, 16, 2))
    others = (replace(program, link=LinkUse(1.25, 1e-6)), replace(program, launch_seconds=1e-6))
    assert len({each.key() for each in (program, *others)}) == 3


@pytest.mark.parametrize(
    "change",
    [
        ("picoseconds", lambda array: array + 1),
        ("picoseconds", lambda array: array.astype(float)),
        ("causes_ps", lambda array: array[:, 1:]),
        ("events", lambda array: array[1:]),
        ("clock", lambda array: array * np.inf),
        ("granules", lambda array: array[1:]),
        ("records", lambda array: array["valid"]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: tuple[str, Any], executions: list[int]) -> None:
    name, changed = change
    arrays = dict(result_store._to_arrays(run(executions)))
    assert result_store._from_arrays(arrays)
    with pytest.raises(ValueError, match=r"instead of|not finite|add up"):
        result_store._from_arrays(arrays | {name: changed(arrays[name])})


def test_short_kernels_are_not_remembered(
    executions: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_store, "LONG_VISITS", 1 << 40)
    run(executions)
    run(executions)
    assert len(executions) == 2
    assert not list(tmp_path.iterdir())
