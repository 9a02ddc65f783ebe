"""The table of mechanisms: every one can be taken from every chip, and all studies read the same table."""

from __future__ import annotations

import pytest

from uarch.chip_file import load_chip, preset_names
from uarch.errors import InputError
from workloads.experiments.schema import load_experiment
from workloads.settings.mechanisms import (
    ABLATION_SUITES,
    all_mechanisms,
    chip_without,
    explaining_mechanisms,
    find_mechanism,
)


def test_names_are_unique_and_each_mechanism_serves_a_study() -> None:
    names = [mechanism.name for mechanism in all_mechanisms()]
    assert len(set(names)) == len(names)
    shown = set(load_experiment("spad-chips").mechanisms.without)
    for mechanism in all_mechanisms():
        assert mechanism.suites or mechanism.lacking or mechanism.name in shown
    assert {suite for mechanism in all_mechanisms() for suite in mechanism.suites} == set(ABLATION_SUITES)


@pytest.mark.parametrize("name", preset_names())
def test_mechanisms_can_be_taken_from_every_chip(name: str) -> None:
    chip = load_chip(name)
    for mechanism in all_mechanisms():
        by_value, by_text = chip_without(chip, mechanism), load_chip(name, mechanism.overrides(chip))
        assert by_text.model_copy(update={"die": chip.die}) == by_value.model_copy(update={"die": chip.die})
    found = explaining_mechanisms(chip)
    assert len(found) >= 5
    assert all(each.lacking and chip_without(chip, each) != chip for each in found)


def test_a_factor_multiplies_what_the_chip_has() -> None:
    mechanism = find_mechanism("refresh, row misses and turnarounds (12 % more bandwidth)")
    chip = load_chip("h100")
    bandwidth = 1.12 * chip.memory.bandwidth_bytes_per_second
    assert dict(mechanism.values(chip)) == {"memory.bandwidth_bytes_per_second": bandwidth}
    assert chip_without(chip, mechanism).memory.bandwidth_bytes_per_second == bandwidth


def test_an_unknown_mechanism_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'inline ECC'"):
        find_mechanism("inline EC")
