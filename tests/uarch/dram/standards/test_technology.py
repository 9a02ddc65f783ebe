"""Memory technologies: every standard has one, every chip can use any, and what each costs is in proportion."""

from __future__ import annotations

import pytest

from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.dram.standards.energy import command_energy
from uarch.dram.standards.standard import load_standard, standard_names
from uarch.dram.standards.technology import TECHNOLOGIES, FullRatePower, load_technology
from uarch.energy.per_event import event_energies
from uarch.silicon.area import area_breakdown_mm2
from uarch.silicon.cost import memory_cost_usd
from uarch.silicon.tdp import memory_watts


def chip_with(standard: str) -> Chip:
    """The H100 with one package of another memory at about its own data rate, nothing else changed."""
    memory = load_standard(standard)
    return load_chip(
        "h100",
        [
            f"memory.standard={standard}",
            f"memory.technology={memory.technology}",
            "memory.packages=1",
            "memory.channels=32",
            f"memory.bandwidth_bytes_per_second={32 * memory.bytes_per_second}",
        ],
    )


def test_every_technology_has_a_standard_and_every_standard_a_technology() -> None:
    assert {load_standard(name).technology for name in standard_names()} == set(TECHNOLOGIES.names)


@pytest.mark.parametrize("standard", standard_names())
def test_a_chip_can_use_any_standard(standard: str) -> None:
    """Every byte costs device and interface, the bus has the pins of the channels, and the PHY, the devices and power count."""
    chip, memory = chip_with(standard), load_standard(standard)
    technology = load_technology(memory.technology)
    assert chip.memory.bus_bits == 32 * memory.organisation.width_bits
    command = command_energy(memory)
    device = (command.read_pj + command.io_pj) / memory.burst_bytes * technology.device_energy.factor
    read = event_energies(chip, "fp16")["dram_read_byte"]
    assert read.pj == pytest.approx(device + technology.interface_byte.pj)
    assert read.low < read.pj < read.high
    assert memory_cost_usd(chip) == chip.memory.capacity_gib * technology.price.usd_per_gb
    assert min(memory_watts(chip), area_breakdown_mm2(chip)["memory_phy"]) > 0


@pytest.mark.parametrize("standard", [name for name in standard_names() if not name.startswith("dramsim3")])
def test_a_stream_draws_about_what_the_technology_states(standard: str) -> None:
    """From the currents: reads, pins, an activation a row and standby, within a quarter of the energy per bit that is cited."""
    memory = load_standard(standard)
    command = command_energy(memory)
    standby_pj = command.active_standby_pj_per_ns / memory.bytes_per_second * 1e9
    per_byte = (
        (command.read_pj + command.io_pj) / memory.burst_bytes + command.activate_pj / memory.row_bytes + standby_pj
    )
    stated = {"hbm2": 3.92, "hbm2e": 4.3, "hbm3": 3.9, "hbm3e": 3.4, "hbm4": 3.2}
    per_bit = stated.get(memory.technology) or load_technology(memory.technology).full_rate_power.pj_per_bit
    assert per_bit is not None
    assert per_byte / 8 == pytest.approx(per_bit, rel=0.25)


def test_power_is_counted_by_package_or_by_bit_but_not_both() -> None:
    assert FullRatePower(watts_per_package=30.0, source="x").watts(5, 1e12) == 150
    assert FullRatePower(pj_per_bit=4.5, source="x").watts(5, 1e12) == pytest.approx(36)
    with pytest.raises(ValueError, match="either watts_per_package or pj_per_bit"):
        FullRatePower(source="x")
