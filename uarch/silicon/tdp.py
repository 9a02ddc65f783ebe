"""Thermal design power: as published, by SPAD's rule of thumb, and by the energy model."""

from __future__ import annotations

from uarch.chip.schema import Chip
from uarch.dram.standards.technology import load_technology
from uarch.silicon.area import die_area_mm2
from uarch.silicon.cost import cost_table


def memory_watts(chip: Chip) -> float:
    """Power of the memory at full rate by SPAD's rule, W: by package or by bit, as its technology says."""
    memory = chip.memory
    power = load_technology(memory.technology).full_rate_power
    return power.watts(memory.packages, memory.bandwidth_bytes_per_second)


def tdp_watts_by_area(chip: Chip) -> float:
    """SPAD's rule (Section 6.1): (die area x 480 W / 814 mm2 + memory) / 0.9."""
    rule = cost_table().tdp
    return (die_area_mm2(chip) * rule.die_watts / rule.die_mm2 + memory_watts(chip)) / rule.package_efficiency


def tdp_watts(chip: Chip) -> float:
    """The TDP that the chip file states, else by SPAD's rule."""
    stated = chip.power.tdp_watts
    return tdp_watts_by_area(chip) if stated is None else stated
