from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.small_sweep import run_sweep_of, static_sweep
from uarch.chip_file import load_chip
from uarch.errors import InputError
from uarch.silicon.cost import hardware_cost_usd
from workloads.sweep.design import Design, Point

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")


def test_a_point_sets_fields_of_the_chip_and_those_derived_from_them() -> None:
    design = Design(static_sweep(), Point(0, {"core.count": 66}))
    assert (design.chip.core.count, design.chip.die.cores) == (66, 72)
    assert design.value("die.cores") == 72
    assert design.value("l2.bytes") == load_chip("h100").l2.bytes
    assert design.value("memory.technology") == "hbm3"


def test_a_listed_point_is_taken_as_it_is() -> None:
    design = Design(static_sweep(set=["core.count=9"]), Point(0, {"chip": "a100"}, is_given=True))
    assert design.chip == load_chip("a100")
    assert design.value("hardware_cost_usd") == hardware_cost_usd(load_chip("a100"))


def test_a_chip_that_is_not_possible_says_why() -> None:
    with pytest.raises(InputError, match=r"core\.count"):
        _ = Design(static_sweep(), Point(0, {"core.count": -4})).chip


def test_fields_of_one_run_override_those_of_all_runs(tmp_path: Path) -> None:
    run = {"model": "llama-3-8b", "phase": "decode", "batch": 4, "seq": 128, "options": {"tp": 2}}
    sweep = run_sweep_of(tmp_path, run={"a": run, "b": run}, objective=[{"minimise": "a.seconds"}])
    design = Design(sweep, Point(0, {"workload.batch": 8, "b.batch": 16, "a.dtype": "fp8", "b.model": "llama-3-70b"}))
    a, b = (design.phase(name, "analytical") for name in "ab")
    assert (a.batch, a.dtype, a.tp, b.batch, b.dtype) == (8, "fp8", 2, 16, "fp16")
    assert (design.model("a"), design.model("b")) == ("llama-3-8b", "llama-3-70b")
    assert (design.value("a.batch"), design.value("b.seq"), design.value("b.pp")) == (8, 128, 1)


def test_an_option_without_a_value_has_none_in_expressions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"decode\.mask: has no value"):
        Design(run_sweep_of(tmp_path), Point(0, {})).value("decode.mask")
