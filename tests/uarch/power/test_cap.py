"""The power cap: what it solves, and what the engine makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.gemm.gemm import GemmMapping
from tests.support.small_programs import gemm_program, small_chip
from uarch.chip_file import load_chip
from uarch.energy.account import energy_joules
from uarch.energy.per_event import event_energies
from uarch.energy.static_power import dram_background_watts
from uarch.energy.supply_voltage import operating_point
from uarch.energy.tables_on_disk import energy_table_names, load_energy_table
from uarch.engine.execute import execute
from uarch.errors import InputError
from uarch.events import Event
from uarch.power.cap import (
    CLOCK_STEPS,
    Draw,
    at_clock,
    highest_clock_ratio,
    sustained_clock_ratio,
    watts_at,
)
from uarch.power.capped_execution import execute_capped
from uarch.silicon.tdp import tdp_watts

draws = st.builds(
    Draw,
    core_joules=st.floats(0.01, 3),
    memory_joules=st.floats(0, 0.2),
    seconds=st.just(1e-3),
    clock_ratio=st.floats(0.3, 1),
    core_share=st.floats(0, 1),
)


def scaled(draw: Draw, tdp_watts: float) -> Draw:
    """A draw whose energies are multiples of what the TDP would give in its time."""
    joules = tdp_watts * draw.seconds
    return draw._replace(core_joules=draw.core_joules * joules, memory_joules=draw.memory_joules * joules)


@given(st.sampled_from(["h100", "a100"]), draws)
def test_the_clock_is_the_highest_within_the_tdp(name: str, draw: Draw) -> None:
    chip = load_chip(name)
    draw, tdp = scaled(draw, tdp_watts(chip)), tdp_watts(chip)
    ratio = sustained_clock_ratio(chip, draw)
    assert 0 < ratio <= highest_clock_ratio(chip)
    assert watts_at(chip, draw, ratio) <= tdp
    if ratio < highest_clock_ratio(chip):
        assert watts_at(chip, draw, ratio + 1 / CLOCK_STEPS) > tdp


@given(st.sampled_from(["h100", "a100"]), draws, st.floats(1, 3))
def test_more_energy_never_means_a_higher_clock(name: str, draw: Draw, more: float) -> None:
    chip = load_chip(name)
    draw = scaled(draw, tdp_watts(chip))
    hotter = draw._replace(core_joules=draw.core_joules * more)
    assert sustained_clock_ratio(chip, hotter) <= sustained_clock_ratio(chip, draw)


def test_a_flat_curve_gives_the_closed_form() -> None:
    """All time with the core clock r: 120 W of leakage and clock tree, of which the latter falls with r, and 1160 r W.

    The die is as cool as its coolant, so that leakage does not grow: ``leakage + tree r + memory + 1160 r = 700``.
    """
    curve = "power.voltage_frequency={nominal_volts=1.0, hz=[1e9], volts=[1.0], source='test'}"
    cold = ["power.constant_watts=0", "power.thermal_resistance_kelvin_mm2_per_watt=0"]
    chip = load_chip("h100", ["power.static_watts=120", "power.delivery_efficiency=1", curve, *cold])
    tree = 120 * 0.0048 * 1.83 / (0.053 + 0.0048 * 1.83)
    draw = Draw(core_joules=1.16, memory_joules=0.0, seconds=1e-3, clock_ratio=1.0)
    assert sustained_clock_ratio(chip, draw) == pytest.approx(
        (700 - (120 - tree) - dram_background_watts(chip)) / (1160 + tree), abs=1 / CLOCK_STEPS
    )


def test_memory_is_slowed_only_where_the_lowest_clock_is_not_enough() -> None:
    chip = load_chip("h100")
    half = at_clock(chip, 0.5)
    assert half.clock.l2_hz == chip.clock.l2_hz / 2
    assert half.memory == chip.memory
    tenth = at_clock(chip, 0.015)
    assert tenth.memory.bandwidth_bytes_per_second == pytest.approx(chip.memory.bandwidth_bytes_per_second / 10)
    assert tenth.link.bandwidth_bytes_per_second == pytest.approx(chip.link.bandwidth_bytes_per_second / 10)
    assert at_clock(chip, 1.0) is chip


def test_a_tdp_below_static_power_is_refused() -> None:
    chip = load_chip("h100", ["power.tdp_watts=30"])
    with pytest.raises(InputError, match=r"^power.tdp_watts = 30: h100 exceeds it at any clock, .*power.cap = false$"):
        sustained_clock_ratio(chip, Draw(1e-3, 0.0, 1e-3, 1.0))


@pytest.mark.parametrize("name", energy_table_names())
def test_voltage_rises_with_the_clock_and_stays_above_its_minimum(name: str) -> None:
    curve = load_energy_table(name).voltage
    clocks = [0.1e9 * i for i in range(1, 30)]
    volts = [curve.volts_at(hz) for hz in clocks]
    assert volts == sorted(volts)
    assert volts[0] == curve.volts[0]
    for hz, expected in zip(curve.hz, curve.volts, strict=True):
        assert curve.volts_at(hz) == pytest.approx(expected)
    assert curve.energy_factor(clocks[0]) == (curve.volts[0] / curve.nominal_volts) ** 2


BARE = (
    "power.static_watts=2",
    "power.constant_watts=0",
    "power.delivery_efficiency=1",
    "clock.max_tensor_hz=1.83e9",
)
"""Fields of a chip of few cores that draws next to nothing by itself and does not boost."""
SMALL_GEMM = gemm_program(256, 256, 512, GemmMapping(64, 64, 32, 3))


@pytest.fixture(scope="module")
def uncapped_watts() -> float:
    """Power of the small GEMM at the nominal clock and its voltage."""
    chip = small_chip("h100", *BARE, "power.tdp_watts=1000")
    result, _ = execute_capped(chip, SMALL_GEMM)
    assert result.point.clock_ratio == 1
    return sum(energy_joules(chip, result, "fp16").values()) / result.seconds


def test_ample_power_changes_nothing_but_the_voltage(uncapped_watts: float) -> None:
    chip = small_chip("h100", *BARE, f"power.tdp_watts={uncapped_watts * 1.01}")
    free, state = execute(chip, SMALL_GEMM)
    capped, capped_state = execute_capped(chip, SMALL_GEMM)
    assert (capped.total_ps, capped.events.tolist()) == (free.total_ps, free.events.tolist())
    assert capped_state.key() == state.key()
    assert capped.point == operating_point(chip, 1.0)


@pytest.mark.parametrize("share", [0.9, 0.8, 0.65])
def test_a_tight_tdp_lowers_the_clock_until_the_power_fits(uncapped_watts: float, share: float) -> None:
    tdp = uncapped_watts * share
    chip = small_chip("h100", *BARE, f"power.tdp_watts={tdp}")
    free, _ = execute(chip, SMALL_GEMM)
    capped, _ = execute_capped(chip, SMALL_GEMM)
    again, _ = execute_capped(chip, SMALL_GEMM)
    joules = energy_joules(chip, capped, "fp16")
    assert 0.9 * tdp <= sum(joules.values()) / capped.seconds <= 1.02 * tdp
    assert capped.point.clock_ratio < 1
    assert free.total_ps < capped.total_ps == again.total_ps
    assert capped.count(Event.MACS) == free.count(Event.MACS)
    assert capped.tensor_hz == chip.clock.tensor_hz * capped.point.clock_ratio
    assert joules["matrix"] == pytest.approx(energy_joules(chip, free, "fp16")["matrix"] * capped.point.core_energy)


def test_the_cap_can_be_switched_off(uncapped_watts: float) -> None:
    off = small_chip(
        "h100",
        *BARE,
        f"power.tdp_watts={uncapped_watts / 2}",
        "power.cap=false",
    )
    free, capped = execute(off, SMALL_GEMM)[0], execute_capped(off, SMALL_GEMM)[0]
    assert capped.total_ps == free.total_ps
    assert capped.point == operating_point(off)
    assert not load_chip("spad-prefill").power_capped
    assert load_chip("h100").power_capped


def test_clocks_rise_above_nominal_where_power_allows() -> None:
    boosted = small_chip("h100", *BARE[:3], "clock.max_tensor_hz=1.98e9")
    plain = small_chip("h100", *BARE)
    assert highest_clock_ratio(boosted) == pytest.approx(1.98 / 1.83)
    assert execute_capped(boosted, SMALL_GEMM)[0].total_ps < execute_capped(plain, SMALL_GEMM)[0].total_ps
    assert highest_clock_ratio(small_chip("h100", "clock.max_tensor_hz=1e9")) == 1


def test_the_tdp_orders_the_cards() -> None:
    """The same A100 as a card of 300 W, of 400 W and without limit: measured 220 to 245 and 255 to 290 TFLOP/s of 312."""
    chips = [load_chip("a100", [f"power.tdp_watts={watts}"]) for watts in (300, 400, 1000)]
    energy, uncapped = event_energies(chips[0], "fp16"), 0.95 * chips[0].peak_flops("fp16")
    # per MAC: the product, 128 B of L1 per 1024 of them, L2 and NoC for tiles of 128 x 128
    pj = energy["matrix_mac"].pj + energy["l1_byte"].pj / 8
    pj += (energy["l2_byte"].pj + energy["noc_byte"].pj) * 2 * (1 / 128 + 1 / 128)
    draw = Draw(uncapped / 2 * pj * 1e-12, memory_joules=30.0, seconds=1.0, clock_ratio=1.0)
    tflops = [uncapped * sustained_clock_ratio(chip, draw) * 1e-12 for chip in chips]
    assert tflops == [pytest.approx(235, rel=0.1), pytest.approx(275, rel=0.1), pytest.approx(0.95 * 312, rel=1e-3)]
    assert tflops == sorted(tflops)
