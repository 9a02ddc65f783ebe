"""Kinds of plots are the modules of a folder."""

from __future__ import annotations

from importlib import import_module
from inspect import signature

import pytest

from results.plots.catalogue import check_kind, takes_several
from results.plots.kinds import KINDS
from results.plots.style import PlotError


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_of_a_kind_say_what_it_takes(kind: str) -> None:
    first, *others = signature(import_module(f"results.plots.of_traces.{kind}").plot).parameters
    assert first == ("traces" if takes_several(kind) else "trace")
    assert set(others) <= {"x", "y", "op"}


def test_runs_are_compared_and_swept() -> None:
    assert [kind for kind in KINDS if takes_several(kind)] == ["comparison", "pareto", "sweep"]


def test_a_kind_of_one_refuses_two_traces_and_says_which_take_them() -> None:
    check_kind("comparison", 2)
    with pytest.raises(
        PlotError, match="kind layers: takes one trace, got 2; allowed for several: comparison, pareto, sweep"
    ):
        check_kind("layers", 2)
