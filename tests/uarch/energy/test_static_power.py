"""Static power: what idle boards draw, how leakage follows voltage, and where a warm die settles."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uarch.chip_file import load_chip
from uarch.energy.account import component_ranges
from uarch.energy.static_power import (
    board_watts,
    dram_background_watts,
    idle_board_watts,
    static_power,
    static_watts,
)
from uarch.energy.supply_voltage import operating_point, voltage_frequency
from uarch.energy.tables_on_disk import load_energy_table
from uarch.engine.operating_point import NOMINAL, OperatingPoint
from uarch.errors import InputError

pytestmark = pytest.mark.once("sums on paper: nothing is jitted")


def test_static_power_by_hand() -> None:
    """A100: 826 mm2 x (0.023 + 0.0063 x 1.41) W at 0.75 V are 19.0 and 7.3 W, with 28 W that follow neither."""
    found = static_power(load_chip("a100"))
    assert found.leakage_watts == pytest.approx(826 * 0.023)
    assert found.clock_tree_watts == pytest.approx(826 * 0.0063 * 1.41)
    assert found.constant_watts == 28
    assert found.low < found.watts < found.high


def test_leakage_and_clock_tree_follow_the_square_of_the_voltage_and_the_tree_the_clock() -> None:
    chip = load_chip("h100")
    nominal, half = static_power(chip), static_power(chip, OperatingPoint(0.5, 1.44))
    assert half.leakage_watts == pytest.approx(1.44 * nominal.leakage_watts)
    assert half.clock_tree_watts == pytest.approx(0.72 * nominal.clock_tree_watts)
    assert half.constant_watts == nominal.constant_watts


def test_stated_static_power_replaces_leakage_and_clock_tree() -> None:
    derived, stated = static_power(load_chip("a100")), static_power(load_chip("a100", ["power.static_watts=90"]))
    assert stated.watts == pytest.approx(90 + 28)
    assert stated.leakage_watts / stated.clock_tree_watts == pytest.approx(
        derived.leakage_watts / derived.clock_tree_watts
    )


def test_what_costs_nothing_has_no_range(tmp_path: Path) -> None:
    path = tmp_path / "free.toml"
    nothing = '{} = 0.0\nlow = 0.0\nhigh = 0.0\nsource = "test"\n'
    sections = {"leakage_per_mm2": "watts", "clock_tree_per_mm2_ghz": "watts", "link_byte": "pj"}
    path.write_text(
        'name = "free"\nbase = "n7"\n' + "".join(f"[{name}]\n{nothing.format(unit)}" for name, unit in sections.items())
    )
    free = [f"energy.table={path}", "power.constant_watts=0"]
    chip = load_chip("a100", free)
    assert static_power(chip).watts == 0
    assert component_ranges(chip, "fp16")["static"] == component_ranges(chip, "fp16")["link"] == (1, 1)
    assert static_power(load_chip("a100", [*free, "power.static_watts=50"])).watts == 50


@given(st.sampled_from(["h100", "a100", "a40", "spad-h100"]), st.floats(0, 800), st.floats(0.5, 2))
def test_the_closed_form_is_the_fixed_point(name: str, other_watts: float, core_energy: float) -> None:
    """Oracle: iterate temperature, leakage and power until they agree."""
    chip, point = load_chip(name), OperatingPoint(1.0, core_energy)
    static = static_power(chip, point)
    power = chip.power
    per_kelvin = load_energy_table(chip.energy.table).leakage_per_kelvin.factor
    area = chip.die.area_mm2 or 0.0
    board = 0.0
    for _ in range(200):
        warmer = power.thermal_resistance_kelvin_mm2_per_watt / area * board
        hot = static.leakage_watts * (1 + per_kelvin * warmer) + static.clock_tree_watts + static.constant_watts
        board = (hot + other_watts) / power.delivery_efficiency
    assert board_watts(chip, point, other_watts) == pytest.approx(board)
    assert static_watts(chip, point, other_watts) == pytest.approx(hot)


def test_a_die_that_heats_itself_without_end_is_refused() -> None:
    chip = load_chip("h100", ["power.thermal_resistance_kelvin_mm2_per_watt=5000"])
    with pytest.raises(
        InputError, match=r"^h100: leakage grows by .* W for each watt of the board, without end; allowed"
    ):
        board_watts(chip, NOMINAL, 100)


@pytest.mark.parametrize(
    ("name", "megahertz", "measured"),
    [
        *(("h100", 510, 72.1), ("h100", 1410, 90.0), ("h100", 1830, 118.2), ("h100", 1980, 120.1)),
        *(("a100", 510, 60.9), ("a100", 1095, 65.1), ("a100", 1410, 82.3)),
    ],
)
def test_an_idle_board_draws_what_was_measured_at_locked_clocks(name: str, megahertz: float, measured: float) -> None:
    """EnergAIzer (ISPASS 2026), idle_power.json."""
    chip = load_chip(name)
    watts = idle_board_watts(chip, megahertz * 1e6 / chip.clock.tensor_hz)
    assert watts == pytest.approx(measured, rel=0.08)


def test_an_idle_memory_draws_less_than_one_with_open_rows() -> None:
    chip = load_chip("h100")
    static = board_watts(chip, operating_point(chip), 0.0)
    idle = (idle_board_watts(chip) - static) * (chip.power.delivery_efficiency - 0.05)
    assert 0 < idle < dram_background_watts(chip)


def test_voltage_follows_the_clock_where_a_cap_or_a_curve_says_how() -> None:
    h100, paper = load_chip("h100"), load_chip("spad-h100")
    assert operating_point(h100).core_energy == voltage_frequency(h100).energy_factor(h100.clock.tensor_hz)
    assert operating_point(h100, 0.5).core_energy < operating_point(h100).core_energy
    assert operating_point(load_chip("h100", ["power.cap=false"])) == operating_point(h100)
    assert operating_point(paper, 0.5) == OperatingPoint(0.5, 1.0)
