"""The registry of predictors, and the lists of fidelities that must agree with it."""

from __future__ import annotations

from typing import get_args

from uarch.engine.execute import ENGINE_FIDELITIES
from workloads.predictors.registry import FIDELITY_PREDICTORS, PREDICTORS
from workloads.settings.choices import EngineFidelity, Fidelity, KernelFidelity, runs_engine


def test_fidelities_are_closed_forms_predictors_and_those_of_the_engine() -> None:
    assert get_args(EngineFidelity) == ENGINE_FIDELITIES
    assert set(get_args(Fidelity)) == {"analytical", *FIDELITY_PREDICTORS, *ENGINE_FIDELITIES}
    assert set(get_args(KernelFidelity)) == {"analytical", *ENGINE_FIDELITIES}
    assert [name for name in get_args(Fidelity) if runs_engine(name)] == list(ENGINE_FIDELITIES)


def test_fidelities_among_the_predictors_are_marked() -> None:
    assert set(FIDELITY_PREDICTORS) == {name for name, each in PREDICTORS.items() if each.is_fidelity} == {"lltile"}
