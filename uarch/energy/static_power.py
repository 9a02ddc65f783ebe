"""Power that a chip draws whatever it does: leakage, which grows with voltage and temperature, clock tree, and a constant.

A die is warmer than its coolant by its thermal resistance times the power of the board, and that power contains the leakage,
which grows with temperature: a fixed point of two straight lines, which has a closed form (:func:`board_watts`). Totals of a
run do not depend on how long its kernels last compared with the seconds in which a die warms up: leakage is linear in power.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from uarch.chip.schema import Chip
from uarch.dram.standards.energy import CommandEnergy, command_energy
from uarch.dram.standards.standard import STANDARDS, load_standard
from uarch.energy.supply_voltage import operating_point
from uarch.energy.tables_on_disk import TABLES, load_energy_table
from uarch.engine.operating_point import NOMINAL, OperatingPoint
from uarch.errors import InputError
from uarch.silicon.area import die_area_mm2

_WATTS_PER_PJ_PER_NS = 1e-3


class StaticPower(NamedTuple):
    """Power that is drawn whatever the chip does, its die being as cool as its coolant, with its range, watts."""

    leakage_watts: float
    clock_tree_watts: float
    constant_watts: float
    """Part that follows neither voltage nor clock."""
    low: float
    """Low end of the range of the sum."""
    high: float
    leakage_per_watt: float
    """Growth of the leakage, in watts, by watt that the board draws."""

    @property
    def watts(self) -> float:
        """Sum of the parts."""
        return self.leakage_watts + self.clock_tree_watts + self.constant_watts


def static_power(chip: Chip, point: OperatingPoint = NOMINAL) -> StaticPower:
    """Leakage, clock tree and constant power at a clock and voltage, by default the nominal ones.

    ``power.static_watts``, if the chip states it, is the sum of leakage and clock tree at nominal clock and voltage.
    """
    return _static_power(chip, point, TABLES.stamp(chip.energy.table))


@lru_cache(maxsize=1024)
def _static_power(chip: Chip, point: OperatingPoint, stamp: str) -> StaticPower:
    table, area, giga = load_energy_table(chip.energy.table), die_area_mm2(chip), chip.clock.tensor_hz * 1e-9
    leakage, clock, stated = table.leakage_per_mm2, table.clock_tree_per_mm2_ghz, chip.power.static_watts
    nominal = area * (leakage.watts + clock.watts * giga)
    scale = 1.0 if stated is None or not nominal else stated / nominal
    by_voltage, by_clock = area * scale * point.core_energy, giga * point.clock_ratio
    constant = chip.power.constant_watts + (stated if stated is not None and not nominal else 0.0)
    leakage_watts = by_voltage * leakage.watts
    resistance = chip.power.thermal_resistance_kelvin_mm2_per_watt / area
    return StaticPower(
        leakage_watts,
        by_voltage * clock.watts * by_clock,
        constant,
        by_voltage * (leakage.low + clock.low * by_clock) + constant,
        by_voltage * (leakage.high + clock.high * by_clock) + constant,
        leakage_watts * table.leakage_per_kelvin.factor * resistance,
    )


def board_watts(chip: Chip, point: OperatingPoint, other_watts: float) -> float:
    """Power that the board draws while all but static power, memory included, takes ``other_watts`` at the chip.

    ``board = (static + leakage's growth x board + other) / delivery efficiency``, solved for the board's power.

    Raises :class:`uarch.InputError` if leakage grows faster with the die's temperature than the coolant takes heat away.
    """
    static, efficiency = static_power(chip, point), chip.power.delivery_efficiency
    if static.leakage_per_watt >= efficiency:
        raise InputError(
            f"{chip.name}: leakage grows by {static.leakage_per_watt:.2g} W for each watt of the board, without end; "
            "allowed: a smaller power.thermal_resistance_kelvin_mm2_per_watt, or an energy.table with less leakage"
        )
    return (static.watts + other_watts) / (efficiency - static.leakage_per_watt)


def static_watts(chip: Chip, point: OperatingPoint, other_watts: float) -> float:
    """Static power at the temperature that the die reaches while everything else takes ``other_watts``."""
    return board_watts(chip, point, other_watts) * chip.power.delivery_efficiency - other_watts


def dram_background_watts(chip: Chip) -> float:
    """What device memory draws without any command, rows open; it belongs to the component ``dram``."""
    return _standby(chip).active_standby_pj_per_ns * chip.memory.channels * _WATTS_PER_PJ_PER_NS


def idle_board_watts(chip: Chip, clock_ratio: float = 1.0) -> float:
    """Power that the board draws at a clock while nothing runs: static power, and memory with all rows closed."""
    standby = _standby(chip).precharge_standby_pj_per_ns * chip.memory.channels * _WATTS_PER_PJ_PER_NS
    return board_watts(chip, operating_point(chip, clock_ratio), standby)


def _standby(chip: Chip) -> CommandEnergy:
    return _command_energy(chip.memory.standard, STANDARDS.stamp(chip.memory.standard))


@lru_cache(maxsize=64)
def _command_energy(standard: str, stamp: str) -> CommandEnergy:
    return command_energy(load_standard(standard))
