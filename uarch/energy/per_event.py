"""Energy of each counted event on one chip: the energy table applied to the chip's capacities, ports and distances."""

from __future__ import annotations

from functools import lru_cache
from math import sqrt

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
    "padding_mac": "matrix",
    "vector_op": "vector",
    "special_op": "vector",
    "l1_byte": "l1",
    "l2_byte": "l2",
    "noc_byte": "noc",
    "noc_copy_byte": "noc",
    "dram_read_byte": "dram",
    "dram_write_byte": "dram",
    "dram_activate": "dram",
    "dram_refresh": "dram",
    "link_byte": "link",
}
"""Every event that costs energy, and the part of the chip that it is counted under."""


_Stamps = tuple[str, str]


def _stamps(chip: Chip) -> _Stamps:
    """Stamps of the files that a chip's energies come from: what is remembered of a user's own is dropped when it changes."""
    return TABLES.stamp(chip.energy.table), STANDARDS.stamp(chip.memory.standard)


def event_energies(chip: Chip, dtype: str) -> dict[str, EventEnergy]:
    """Energy of every event of ``COMPONENT_OF_EVENT`` at nominal voltage, matrix work being in ``dtype``.

    A bank is a macro of L1, a slice is one of L2; bytes travel the mean Manhattan distance of a square die, two thirds of
    its side, between a core and an L2 slice. A response that neighbouring cores share travels it once, and goes on to each
    further core over the side of one core's share of the die. A vector operation is an instruction's share, its arithmetic
    and its registers. DRAM commands cost what the standard's currents say.

    Raises :class:`uarch.InputError` if the chip's energy table or DRAM standard cannot be loaded, or the table has no energy
    for the datatype.
    """
    return _event_energies(chip, dtype, _stamps(chip))


@lru_cache(maxsize=256)
def _event_energies(chip: Chip, dtype: str, stamps: _Stamps) -> dict[str, EventEnergy]:
    table, l1, l2 = load_energy_table(chip.energy.table), chip.core.l1, chip.l2
    l1_macro = table.sram.per_byte(l1.bytes / l1.banks, l1.bank_bytes)
    l2_macro = table.sram.per_byte(l2.bytes / l2.slices, l2.bytes_per_cycle_per_slice)
    across_mm, copied_mm = sqrt(die_area_mm2(chip)) * 2 / 3, sqrt(die_area_mm2(chip) / chip.core.count)
    across = table.noc_byte or _times(table.noc_byte_mm.times(across_mm), table.noc_factor)
    return {
        "matrix_mac": (multiply := _multiply_accumulate(table, dtype)),
        "padding_mac": _times(multiply, table.matrix_mac_padding),
        "vector_op": _instruction(table, table.vector_op, REGISTER_BYTES_PER_VECTOR_OP),
        "special_op": _instruction(table, table.special_op, REGISTER_BYTES_PER_SPECIAL_OP),
        "l1_byte": table.l1_byte or _times(l1_macro, table.l1_factor),
        "l2_byte": table.l2_byte or _times(l2_macro, table.l2_factor),
        "noc_byte": across,
        "noc_copy_byte": across.times(copied_mm / across_mm),
        **_dram_energies(chip, table),
        "link_byte": table.link_byte,
    }


def _multiply_accumulate(table: EnergyTable, dtype: str) -> EventEnergy:
    if dtype not in table.matrix_mac:
        known = ", ".join(table.matrix_mac)
        raise InputError(f"energy table {table.name}: matrix_mac.{dtype} is missing; it has {known}")
    return table.matrix_mac[dtype]


def _instruction(table: EnergyTable, operation: EventEnergy, register_bytes: int) -> EventEnergy:
    """One lane's operation, its registers, and its share of the instruction."""
    return operation.plus(table.instruction_lane).plus(table.register_byte.times(register_bytes))


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
