"""Energy of each counted event on one chip: the energy table applied to the chip's capacities, ports and distances."""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from typing import NamedTuple

from uarch.chip.schema import Chip
from uarch.dram.standards.energy import command_energy
from uarch.dram.standards.standard import STANDARDS, load_standard
from uarch.dram.standards.technology import load_technology
from uarch.energy.table import EnergyTable
from uarch.energy.tables_on_disk import TABLES, load_energy_table
from uarch.errors import InputError
from uarch.files.sourced import EventEnergy, Factor
from uarch.silicon.area import die_area_mm2

REGISTER_BYTES_PER_VECTOR_OP = 16
"""Three fp32 operands read, one result written."""
REGISTER_BYTES_PER_SPECIAL_OP = 8

COMPONENT_OF_EVENT = {
    "matrix_mac": "matrix",
    "vector_op": "vector",
    "special_op": "vector",
    "l1_byte": "l1",
    "l2_byte": "l2",
    "noc_byte": "noc",
    "dram_read_byte": "dram",
    "dram_write_byte": "dram",
    "dram_activate": "dram",
    "dram_refresh": "dram",
    "link_byte": "link",
}
"""Every event that costs energy, and the part of the chip that it is counted under."""


class StaticPower(NamedTuple):
    """Power that is drawn whatever the chip does, with its range, watts."""

    watts: float
    low: float
    high: float
    clock_share: float
    """Part that the clock tree draws, which falls with the clock; the rest is leakage."""


_Stamps = tuple[str, str]


def _stamps(chip: Chip) -> _Stamps:
    """Stamps of the files that a chip's energies come from: what is remembered of a user's own is dropped when it changes."""
    return TABLES.stamp(chip.energy.table), STANDARDS.stamp(chip.memory.standard)


def event_energies(chip: Chip, dtype: str) -> dict[str, EventEnergy]:
    """Energy of every event of ``COMPONENT_OF_EVENT`` at nominal voltage, matrix work being in ``dtype``.

    A bank is a macro of L1, a slice is one of L2; bytes travel the mean Manhattan distance of a square die, two thirds of
    its side, between a core and an L2 slice. DRAM commands cost what the standard's currents say.

    Raises :class:`uarch.InputError` if the chip's energy table or DRAM standard cannot be loaded, or the table has no energy
    for the datatype.
    """
    return _event_energies(chip, dtype, _stamps(chip))


@lru_cache(maxsize=256)
def _event_energies(chip: Chip, dtype: str, stamps: _Stamps) -> dict[str, EventEnergy]:
    table, l1, l2 = load_energy_table(chip.energy.table), chip.core.l1, chip.l2
    l1_macro = table.sram.per_byte(l1.bytes / l1.banks, l1.bank_bytes)
    l2_macro = table.sram.per_byte(l2.bytes / l2.slices, l2.bytes_per_cycle_per_slice)
    return {
        "matrix_mac": _multiply_accumulate(table, dtype),
        "vector_op": table.vector_op.plus(table.register_byte.times(REGISTER_BYTES_PER_VECTOR_OP)),
        "special_op": table.special_op.plus(table.register_byte.times(REGISTER_BYTES_PER_SPECIAL_OP)),
        "l1_byte": table.l1_byte or _times(l1_macro, table.l1_factor),
        "l2_byte": table.l2_byte or _times(l2_macro, table.l2_factor),
        "noc_byte": table.noc_byte or table.noc_byte_mm.times(sqrt(die_area_mm2(chip)) * 2 / 3),
        **_dram_energies(chip, table),
        "link_byte": table.link_byte,
    }


def _multiply_accumulate(table: EnergyTable, dtype: str) -> EventEnergy:
    if dtype not in table.matrix_mac:
        known = ", ".join(table.matrix_mac)
        raise InputError(f"energy table {table.name}: matrix_mac.{dtype} is missing; it has {known}")
    return table.matrix_mac[dtype]


def _dram_energies(chip: Chip, table: EnergyTable) -> dict[str, EventEnergy]:
    standard = load_standard(chip.memory.standard)
    technology = load_technology(standard.technology)
    device = table.dram_device.get(standard.technology, technology.device_energy)
    interface = table.dram_interface_byte.get(standard.technology, technology.interface_byte)
    command = command_energy(standard)
    refresh_pj = command.refresh_bank_pj if chip.memory.refresh_mode == "bank" else command.refresh_all_pj

    def of_device(pj: float) -> EventEnergy:
        source = f"currents of {chip.memory.standard}: {device.source}"
        return _times(EventEnergy(pj=pj, low=pj, high=pj, source=source), device)

    per_byte = 1 / standard.burst_bytes
    return {
        "dram_read_byte": table.dram_byte or of_device((command.read_pj + command.io_pj) * per_byte).plus(interface),
        "dram_write_byte": table.dram_byte or of_device((command.write_pj + command.io_pj) * per_byte).plus(interface),
        "dram_activate": of_device(command.activate_pj),
        "dram_refresh": of_device(refresh_pj),
    }


def _times(energy: EventEnergy, factor: Factor) -> EventEnergy:
    return energy.times(factor.factor, factor.low, factor.high)


def static_power(chip: Chip) -> StaticPower:
    """Leakage and clock tree at the nominal clock.

    ``power.static_watts``, if the chip states it, replaces the sum; its range stays in proportion.
    """
    return _static_power(chip, _stamps(chip))


@lru_cache(maxsize=256)
def _static_power(chip: Chip, stamps: _Stamps) -> StaticPower:
    table, area, giga = load_energy_table(chip.energy.table), die_area_mm2(chip), chip.clock.tensor_hz * 1e-9
    leakage, clock = table.leakage_per_mm2, table.clock_tree_per_mm2_ghz
    low, high = area * (leakage.low + clock.low * giga), area * (leakage.high + clock.high * giga)
    watts, stated = area * (leakage.watts + clock.watts * giga), chip.power.static_watts
    clock_share = area * clock.watts * giga / watts if watts else 0.0
    if stated is None or not watts:
        return StaticPower(stated or watts, stated or low, stated or high, clock_share)
    return StaticPower(stated, low * stated / watts, high * stated / watts, clock_share)


def dram_background_watts(chip: Chip) -> float:
    """Power of device memory without any command, rows open, W; it belongs to the component ``dram``."""
    command = command_energy(load_standard(chip.memory.standard))
    return chip.memory.channels * command.active_standby_pj_per_ns * 1e-3
