"""Wafers, yields, prices, TDP."""

from __future__ import annotations

from math import exp, floor, pi, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uarch.chip_file import load_chip, preset_names
from uarch.chip_summary import physical_summary
from uarch.errors import InputError
from uarch.silicon.area import die_area_mm2
from uarch.silicon.cost import (
    cost_table,
    die_cost_usd,
    die_yield,
    dies_per_wafer,
    hardware_cost_usd,
    memory_cost_usd,
    wafer_usd,
)
from uarch.silicon.tdp import tdp_watts, tdp_watts_by_area
from uarch.silicon.wafer import dies_by_formula, dies_by_packing, yield_fraction

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")

# SPAD (arXiv 2510.08544), Table 3: die and memory cost in $, TDP in W, hardware cost relative to the H100.
SPAD_TABLE_3 = {
    "spad-prefill": (301, 192, 596, 0.48),
    "spad-decode": (187, 720, 507, 0.88),
    "spad-h100": (315, 720, 700, 1.0),
}

# SPAD, Table 9: hardware cost in $ with HBM at 6, 9, 12 $/GB.
SPAD_TABLE_9 = {"spad-decode": (667, 907, 1147), "spad-h100": (795, 1035, 1275)}

areas = st.floats(20, 2000)
densities = st.floats(1e-5, 0.01)


@pytest.mark.parametrize("name", SPAD_TABLE_3)
def test_spads_table_3(name: str) -> None:
    die, memory, tdp, relative = SPAD_TABLE_3[name]
    chip = load_chip(name)
    assert die_cost_usd(chip) == pytest.approx(die, rel=0.01)
    assert memory_cost_usd(chip) == pytest.approx(memory, rel=0.01)
    assert tdp_watts(chip) == pytest.approx(tdp, rel=0.01)
    assert hardware_cost_usd(chip) / hardware_cost_usd(load_chip("spad-h100")) == pytest.approx(relative, abs=0.005)


@pytest.mark.parametrize("name", SPAD_TABLE_9)
def test_spads_table_9(name: str) -> None:
    for price, expected in zip((6, 9, 12), SPAD_TABLE_9[name], strict=True):
        chip = load_chip(name, [f"cost.memory_usd_per_gb={price}"])
        assert hardware_cost_usd(chip) == pytest.approx(expected, rel=0.01)


@given(areas)
def test_packing_is_below_the_wafers_area_and_near_the_formula(area: float) -> None:
    """Without scribe lines and edge exclusion; small dies pack best."""
    packed = dies_by_packing(area, edge_exclusion_mm=0.0, scribe_mm=0.0)
    assert packed <= pi * 150**2 / area
    assert packed >= 0.85 * dies_by_formula(area) - 2


def test_packing_of_large_dies_by_hand() -> None:
    """Squares of 100 mm in a circle of 150 mm radius: a 2 x 2 grid has its corners at 141 mm, a fifth has no room."""
    assert dies_by_packing(100.0**2, edge_exclusion_mm=0.0, scribe_mm=0.0) == 4
    assert dies_by_packing(200.0**2, edge_exclusion_mm=0.0, scribe_mm=0.0) == 1
    assert dies_by_packing(220.0**2, edge_exclusion_mm=0.0, scribe_mm=0.0) == 0


@given(st.floats(400, 4000), st.floats(0, 0.5), st.floats(0, 0.5))
def test_no_position_of_the_grid_beats_the_packing_by_more_than_a_few(area: float, x: float, y: float) -> None:
    """A count by rows at any position; the packing tries 576 of them and may miss a die or two."""
    side = sqrt(area)
    count = 0
    for row in range(-20, 20):
        up = max(abs(row + y), abs(row + 1 + y)) * side
        if up <= 150:
            half = sqrt(150**2 - up**2) / side
            count += max(0, floor(half - x) + floor(half + x))
    assert dies_by_packing(area, edge_exclusion_mm=0.0, scribe_mm=0.0) >= count - 2


@given(areas, densities, st.floats(1, 20))
def test_yields_are_the_textbooks(area: float, defects: float, alpha: float) -> None:
    expected = area * defects
    assert yield_fraction(area, "none", defects) == 1
    assert yield_fraction(area, "poisson", defects) == pytest.approx(exp(-expected))
    murphy = ((1 - exp(-expected)) / expected) ** 2 if expected > 1e-3 else 1 - expected
    assert yield_fraction(area, "murphy", defects) == pytest.approx(murphy, rel=1e-5)
    clustered = (1 + expected / alpha) ** -alpha
    assert yield_fraction(area, "negative_binomial", defects, alpha=alpha) == pytest.approx(clustered, rel=0.02)


@given(areas, densities, st.integers(2, 200), st.data())
def test_harvesting_cores_helps_and_needs_the_rest_of_the_die(
    area: float, defects: float, cores: int, data: st.DataObject
) -> None:
    core_mm2 = area * 0.6 / cores
    spares = data.draw(st.integers(1, cores - 1))
    for model in ("poisson", "murphy", "negative_binomial"):
        plain = yield_fraction(area, model, defects, core_mm2=core_mm2, cores=cores)
        few = yield_fraction(area, model, defects, core_mm2=core_mm2, cores=cores, spare_cores=spares)
        everything = yield_fraction(area, model, defects, core_mm2=core_mm2, cores=cores, spare_cores=cores)
        assert plain == pytest.approx(yield_fraction(area, model, defects))
        assert plain <= few * (1 + 1e-9)
        assert few <= everything * (1 + 1e-9)
        assert everything == pytest.approx(yield_fraction(area * 0.4, model, defects))


def test_one_spare_by_hand() -> None:
    """Two cores of 50 mm2 and nothing else, one may fail: 1 - (1 - e^-0.05)^2."""
    harvested = yield_fraction(100, "poisson", 0.001, core_mm2=50, cores=2, spare_cores=1)
    assert harvested == pytest.approx(1 - (1 - exp(-0.05)) ** 2)


def test_the_h100_sells_dies_with_defective_cores() -> None:
    chip = load_chip("h100", ["cost.yield_model=negative_binomial"])
    strict = load_chip("h100", ["cost.yield_model=negative_binomial", "cost.harvest_cores=false"])
    assert die_yield(strict) < die_yield(chip) < 1
    assert die_cost_usd(chip) == pytest.approx(die_cost_usd(load_chip("h100")) / die_yield(chip))
    alpha, defects = cost_table().wafer.cluster_alpha, 0.0012
    assert die_yield(strict) == pytest.approx((1 + die_area_mm2(chip) * defects / alpha) ** -alpha, rel=1e-3)


@pytest.mark.parametrize("name", preset_names())
def test_costs_follow_from_their_parts(name: str) -> None:
    chip = load_chip(name, ["cost.packaging_usd=100"])
    assert die_cost_usd(chip) == pytest.approx(wafer_usd(chip) / dies_per_wafer(chip))
    assert hardware_cost_usd(chip) == pytest.approx(die_cost_usd(chip) + memory_cost_usd(chip) + 100)
    packed = load_chip(name, ["cost.dies_per_wafer=packing"])
    assert dies_per_wafer(packed) == int(dies_per_wafer(packed))
    assert dies_per_wafer(packed) == pytest.approx(dies_per_wafer(chip), rel=0.1)


@given(st.integers(32, 256), st.sampled_from([8, 16, 32, 64]), st.floats(0.5e12, 4e12), st.integers(16, 256))
def test_overrides_move_cost_and_tdp_by_the_formulas(cores: int, rows: int, bandwidth: float, capacity: int) -> None:
    changes = [
        f"core.count={cores}",
        f"core.systolic.rows={rows}",
        f"memory.bandwidth_bytes_per_second={bandwidth!r}",
        f"memory.capacity_gib={capacity}",
    ]
    chip = load_chip("spad-prefill", changes)
    area = die_area_mm2(chip)
    dies = pi * 150**2 / area - pi * 300 / sqrt(2 * area)
    assert die_cost_usd(chip) == pytest.approx(20_000 / dies)
    assert memory_cost_usd(chip) == 3 * capacity
    assert tdp_watts(chip) == pytest.approx((area * 480 / 814 + bandwidth * 8 * 4.5e-12) / 0.9)


def test_a_stated_tdp_stays_and_the_rule_stands_beside_it() -> None:
    chip = load_chip("h100", ["core.count=66", "die.cores=72"])
    assert tdp_watts(chip) == 700
    assert tdp_watts_by_area(chip) < 600
    assert tdp_watts_by_area(load_chip("h100")) == pytest.approx(700, rel=0.01)


def test_a_die_larger_than_a_wafer_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"^chip h100: a die of 50000 mm2 does not fit on a wafer; allowed: a smaller one$"
    ):
        die_cost_usd(load_chip("h100", ["die.area_mm2=50000"]))
    summary = physical_summary(load_chip("h100", ["die.area_mm2=50000"]))
    assert summary["die_cost_usd"] is summary["hardware_cost_usd"] is None
    assert summary["dies_per_wafer"] == 0
    assert summary["tdp_watts"] == 700
