"""Sweep files: the schema, the names that may be used, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.small_sweep import run_sweep_file, run_sweep_of
from uarch.errors import InputError
from workloads.sweep.names import needs_runs, reached
from workloads.sweep.sampling import planned_points
from workloads.sweep.schema import SWEEPS
from workloads.sweep.sweep_file import load_sweep

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")


@pytest.mark.parametrize("name", SWEEPS.names)
def test_shipped_sweeps_are_valid_and_have_points(name: str) -> None:
    assert len(planned_points(load_sweep(name))) > 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"parameter": {"core.cuont": {"values": [1]}}}, "core.cuont is not a field; did you mean 'count'"),
        (
            {"parameter": {"core.systolic": {"values": [1]}}},
            "core.systolic is a table; allowed: one of its fields rows",
        ),
        ({"parameter": {"core.count.x": {"values": [1]}}}, "core.count is a value, it has no fields"),
        ({"parameter": {"decode.batsch": {"values": [1]}}}, "decode.batsch is not a field; did you mean 'batch'"),
        ({"parameter": {"core.count": {"low": 9, "high": 3}}}, "must not be empty"),
        ({"parameter": {}}, "at least one parameter"),
        ({"constraints": ["core.count <= lanes"]}, "lanes is not known"),
        ({"constraints": ["core.lans > 1"]}, "core.lans is not a field; did you mean 'lanes'"),
        ({"constraints": ["import os"]}, "not an expression"),
        ({"objective": [{"minimise": "decode.second"}]}, "did you mean 'seconds'"),
        ({"objective": [{"minimise": "seconds", "maximise": "seconds"}]}, "either minimise or maximise"),
        ({"objective": []}, "objective"),
        ({"derived": {"a": "b", "b": "1"}}, "b is derived from it or after it"),
        ({"derived": {"a": "a + 1"}}, "a is derived from it or after it"),
        ({"derived": {"l2.bytes": "die_area_mm2"}}, "known only of the finished chip"),
        ({"derived": {"area": "die_area_mm2", "l2.bytes": "area"}}, "known only of the finished chip"),
        ({"derived": {"core.count": "4"}}, "is a parameter already"),
        ({"derived": {"seconds": "4"}}, "must be a field, or a new name"),
        ({"run": {"core": {"model": "llama-3-8b", "phase": "decode", "batch": 1, "seq": 1}}}, "no field of a chip"),
        (
            {"run": {"a": {"model": "llama-3-8b", "phase": "decode", "batch": 1, "seq": 1, "options": {"tq": 1}}}},
            "options.tq is not an option of a run",
        ),
        ({"run": {"a": {"model": "llama-9", "phase": "decode", "batch": 1, "seq": 1}}}, "llama-9"),
        ({"chip": "h200x"}, "h200x"),
        ({"set": ["core.cuont=3"]}, "core.cuont"),
        ({"fidelities": ["tile", "tile"]}, "twice"),
        ({"sampling": {"method": "random"}}, "must have points"),
        ({"sampling": {"method": "grid", "points": 3}}, "must not have points"),
        ({"point": [{"chp": "h100"}]}, "point 1: chp is not a field"),
    ],
)
def test_a_mistake_is_refused_in_one_line(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_sweep(str(run_sweep_file(tmp_path, **changed)))
    assert "\n" not in str(caught.value)


def test_what_an_expression_depends_on_is_followed_through_derived_names(tmp_path: Path) -> None:
    sweep = run_sweep_of(tmp_path, derived={"rate": "decode.tokens / seconds", "cores": "core.count"})
    assert list(reached(sweep, "rate + cores")) == ["decode.tokens", "seconds", "core.count"]
    assert needs_runs(sweep, "rate > 1")
    assert not needs_runs(sweep, "cores + die_area_mm2 > 1")
