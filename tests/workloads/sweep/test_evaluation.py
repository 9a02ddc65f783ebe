from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import uarch
from tests.support.small_sweep import run_sweep_of, static_sweep
from uarch.chip_file import load_chip
from uarch.silicon.area import die_area_mm2
from uarch.silicon.cost import hardware_cost_usd
from workloads.sweep.design import Point
from workloads.sweep.evaluation import Job, Row, run_job
from workloads.sweep.schema import Sweep


def row_of(sweep: Sweep, values: dict[str, Any]) -> Row:
    return run_job(Job(sweep, Point(0, values), "analytical"))


def test_outputs_are_those_of_the_same_run_alone(tmp_path: Path) -> None:
    run = {"model": "llama-3-8b", "phase": "decode", "batch": 4, "seq": 128, "options": {"tp": 2}}
    sweep = run_sweep_of(tmp_path, run={"decode": run})
    row = row_of(sweep, {"core.count": 66})
    chip = load_chip("h100", ["core.count=66"])
    rollup = uarch.simulate(chip, "llama-3-8b", "decode", batch=4, seq=128, tp=2, fidelity="analytical").rollup
    assert row.status == "done"
    assert row.outputs["decode.seconds"] == rollup["seconds"]
    assert row.outputs["decode.bound_by"] == rollup["bound_by"]
    per_usd = rollup["tokens_per_second"] / (2 * hardware_cost_usd(chip))
    assert row.outputs["decode.tokens_per_second_per_usd"] == pytest.approx(per_usd)
    assert row.outputs["die_area_mm2"] == die_area_mm2(chip)


def test_a_point_that_breaks_a_constraint_is_not_run() -> None:
    row = row_of(static_sweep(constraints=["core.count <= 80"]), {"core.count": 132})
    assert (row.status, row.message) == ("excluded", "core.count <= 80")


def test_a_constraint_on_a_result_excludes_after_the_run(tmp_path: Path) -> None:
    row = row_of(run_sweep_of(tmp_path, constraints=["seconds < 1e-9"]), {})
    assert (row.status, row.message) == ("excluded", "seconds < 1e-9")
    assert float(row.outputs["decode.seconds"] or 0) > 1e-9


def test_what_is_wrong_with_a_point_is_in_its_row(tmp_path: Path) -> None:
    assert row_of(static_sweep(), {"core.count": 0}).message.startswith("chip h100: core.count = 0: must be")
    huge = row_of(
        run_sweep_of(
            tmp_path,
            run={"a": {"model": "llama-3-70b", "phase": "decode", "batch": 1, "seq": 1}},
            objective=[{"minimise": "a.seconds"}],
        ),
        {},
    )
    assert huge.status == "failed"
    assert "does not fit" in huge.message or "memory" in huge.message
    assert (
        row_of(static_sweep(objective=[{"minimise": "1 / (core.count - 66)"}]), {"core.count": 66}).status == "failed"
    )


def test_a_defect_in_one_point_becomes_its_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("boom\nbang")

    monkeypatch.setattr("workloads.sweep.evaluation.simulate_phase", broken)
    row = row_of(run_sweep_of(tmp_path), {})
    assert (row.status, row.message) == ("failed", "RuntimeError: boom bang")
