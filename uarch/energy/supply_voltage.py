"""Supply voltage of the core: which curve a chip follows, and what a clock's voltage does to dynamic energy and leakage."""

from __future__ import annotations

from uarch.chip.schema import Chip
from uarch.chip.voltage import VoltageFrequency
from uarch.energy.tables_on_disk import load_energy_table
from uarch.engine.operating_point import OperatingPoint


def voltage_frequency(chip: Chip) -> VoltageFrequency:
    """The chip's own curve, or that of its energy table."""
    return chip.power.voltage_frequency or load_energy_table(chip.energy.table).voltage


def operating_point(chip: Chip, clock_ratio: float = 1.0) -> OperatingPoint:
    """Voltage effects of running the core at ``clock_ratio`` of its nominal clock.

    A chip with a power cap or a curve of its own runs at the voltage that its clock needs. Others, such as chips of papers, say
    nothing about their voltage and run at that for which the energy table is made.
    """
    if not (chip.power_capped or chip.power.voltage_frequency):
        return OperatingPoint(clock_ratio)
    return OperatingPoint(clock_ratio, voltage_frequency(chip).energy_factor(chip.clock.tensor_hz * clock_ratio))
