"""Whole replays: idle latency, energy, page policies, the second controller policy, load curve.

Exercised with it: driver.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import WITHOUT_JIT
from tests.oracles.dram_checker import violations
from uarch.dram.controller.options import ControllerOptions
from uarch.dram.controller.state import COMMANDS
from uarch.dram.replay.channel import simulate_channel
from uarch.dram.replay.load_curve import measure_load_curve
from uarch.dram.replay.requests import PatternName, RequestStream, make_pattern
from uarch.dram.standards.energy import command_energy
from uarch.dram.standards.standard import load_standard, standard_names
from uarch.errors import InputError

ROW_AFTER_ROW = "ro-sid-ba-bg-co"
REQUESTS = 200 if WITHOUT_JIT else 5000


def one_read(*addresses: int) -> RequestStream:
    """Reads 1001 ticks apart: each meets an idle channel."""
    count = len(addresses)
    arrival = 1001 * np.arange(count, dtype=np.int64)
    return RequestStream(arrival, np.zeros(count, dtype=np.int64), np.array(addresses, dtype=np.int64))


@pytest.mark.parametrize("name", [name for name in standard_names() if not name.startswith("dramsim3")])
def test_idle_read_of_an_open_row_takes_cl_and_bl(name: str) -> None:
    """One clock until the controller sees it (two ticks at most), nCL + nBL, and the rest of a long read command."""
    standard = load_standard(name)
    options = ControllerOptions(refresh="none")
    result = simulate_channel(standard, one_read(0, standard.burst_bytes), options, ROW_AFTER_ROW)
    bus = standard.command_bus
    clocks = standard.timing.nCL + standard.timing.nBL + (bus.column_ticks - 1) // bus.ticks_per_clock
    ticks = result.read_latency_ns[1] / standard.tick_ns
    assert clocks * bus.ticks_per_clock + 1 <= round(ticks) <= clocks * bus.ticks_per_clock + 2


@pytest.mark.compiled("too long a stream for the interpreter")
@pytest.mark.parametrize("name", standard_names())
def test_a_sequential_stream_keeps_the_bus_busy_under_the_standards_own_mapping(name: str) -> None:
    standard = load_standard(name)
    result = simulate_channel(standard, make_pattern("sequential", standard, 50_000))
    assert result.peak_fraction > 0.9 * (1 - standard.timing.nRFCab / standard.timing.nREFI)


@pytest.mark.parametrize("name", standard_names())
@pytest.mark.parametrize("pattern", ["sequential", "random", "strided", "mix"])
def test_no_stream_beats_the_peak_or_breaks_a_constraint(name: str, pattern: PatternName) -> None:
    standard = load_standard(name)
    result = simulate_channel(standard, make_pattern(pattern, standard, 300), with_commands=True)
    assert 0 < result.peak_fraction <= 1
    log = [(tick, COMMANDS[command], bank, row) for tick, command, bank, row in result.commands.tolist()]
    assert violations(standard, log) == []


@pytest.mark.parametrize("name", ["dramsim3-hbm2", "dramsim3-gddr6", "dramsim3-gddr6-bg"])
@pytest.mark.parametrize("pattern", ["sequential", "random", "mix"])
def test_round_robin_policy_breaks_no_constraint(name: str, pattern: PatternName) -> None:
    standard = load_standard(name)
    options = ControllerOptions(scheduler="dramsim3")
    result = simulate_channel(standard, make_pattern(pattern, standard, 600), options, with_commands=True)
    log = [(tick, COMMANDS[command], bank, row) for tick, command, bank, row in result.commands.tolist()]
    assert violations(standard, log) == []


def test_round_robin_policy_shares_the_data_of_equal_addresses() -> None:
    """Two reads of one address make one command; a read of what waits to be written takes one tick."""
    standard = load_standard("dramsim3-hbm2")
    options = ControllerOptions(scheduler="dramsim3", refresh="none")
    zeros = np.zeros(3, dtype=np.int64)
    shared = simulate_channel(standard, RequestStream(zeros, zeros, zeros), options, with_commands=True)
    assert sorted(shared.commands[:, 1].tolist()) == [COMMANDS.index("ACT"), COMMANDS.index("RD")]
    forwarded = simulate_channel(standard, RequestStream(zeros, np.array([1, 0, 0]), zeros), options)
    assert forwarded.read_latency_ns.tolist() == [1.0, 1.0]


def test_more_row_hits_with_open_pages_than_with_capped_or_closed() -> None:
    standard = load_standard("hbm3-6400")
    stream = make_pattern("sequential", standard, REQUESTS)
    spread = stream._replace(arrival=400 * np.arange(REQUESTS, dtype=np.int64))
    activates = {}
    for page in ("open", "capped", "closed"):
        options = ControllerOptions(page=page, row_hit_cap=4, refresh="none")
        activates[page] = simulate_channel(standard, spread, options, ROW_AFTER_ROW).activates
    assert activates["open"] == -(-REQUESTS // 32)
    assert activates["capped"] == -(-REQUESTS // 4)
    assert activates["closed"] == REQUESTS


def test_energy_of_a_command_is_that_of_the_currents() -> None:
    """HBM2 of DRAMsim3, by hand: 1.2 V (65 mA 48 - 55 mA 34 - 40 mA 14) ns = 828 pJ for an activate."""
    cost = command_energy(load_standard("dramsim3-hbm2"))
    assert cost.activate_pj == pytest.approx(828)
    assert cost.read_pj == pytest.approx(1.2 * (390 - 55) * 2)
    assert cost.write_pj == pytest.approx(1.2 * (500 - 55) * 2)
    assert cost.refresh_all_pj == pytest.approx(1.2 * (250 - 55) * 260)


def test_energy_is_the_sum_over_commands_and_time() -> None:
    standard = load_standard("hbm3-6400")
    result = simulate_channel(standard, make_pattern("mix", standard, REQUESTS))
    cost = command_energy(standard)
    assert result.energy.activate == pytest.approx(result.activates * cost.activate_pj * 1e-12)
    assert result.energy.refresh == pytest.approx(result.refreshes * cost.refresh_all_pj * 1e-12)
    seconds = result.ticks * standard.tick_ns * 1e-9
    standby = result.energy.active_standby + result.energy.precharge_standby
    assert (
        cost.precharge_standby_pj_per_ns * 1e-3 * seconds
        <= standby
        <= 1.01 * cost.active_standby_pj_per_ns * 1e-3 * seconds
    )
    assert result.energy.total == pytest.approx(sum(result.energy))


@pytest.mark.compiled("needs long streams")
@pytest.mark.parametrize(("name", "pj_per_bit"), [("hbm2-2000", 3.92), ("hbm3-6400", 3.9), ("gddr7-28000", 4.5)])
def test_streaming_costs_what_is_published(name: str, pj_per_bit: float) -> None:
    standard = load_standard(name)
    options = ControllerOptions()
    result = simulate_channel(standard, make_pattern("sequential", standard, 50_000), options, "ro-sid-co-ba-bg")
    assert result.summary()["energy_pj_per_bit"] == pytest.approx(pj_per_bit, rel=0.1)


def test_refresh_by_bank_needs_a_standard_that_has_it() -> None:
    standard = load_standard("gddr6-14000")
    with pytest.raises(InputError, match="no refresh by bank"):
        simulate_channel(standard, one_read(0), ControllerOptions(refresh="bank"))


def test_latency_grows_with_load() -> None:
    standard = load_standard("gddr6-14000")
    curve = measure_load_curve(standard, make_pattern("random", standard, REQUESTS), loads=(0.02, 0.1, 0.5))
    assert np.all(np.diff(curve.mean_read_latency_ns) > 0)
    assert np.all(curve.p99_read_latency_ns >= curve.mean_read_latency_ns)
    assert curve.bandwidth_bytes_per_second[0] == pytest.approx(curve.offered_bytes_per_second[0], rel=0.05)
