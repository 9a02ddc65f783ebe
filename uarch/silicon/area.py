"""Area of a die, block by block, from the chip's fields and the constants in ``uarch/silicon/area.toml``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from uarch.chip.schema import Chip
from uarch.datatypes import datatype
from uarch.dram.standards.technology import load_technology
from uarch.files.interpolation import log_log
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section
from uarch.files.sourced import Points, Positive

_TABLE = Path(__file__).with_suffix(".toml")

BLOCKS = ("cores", "l2", "crossbar", "memory_phy", "memory_controllers", "pcie", "link", "unused")
"""Parts of a die; ``unused`` is white space and disabled parts."""
CORE_BLOCKS = ("arrays", "vector", "registers", "l1", "control", "fp64", "texture")

NotNegative = Annotated[float, Field(ge=0)]


class Nodes(Section):
    """Density by technology node."""

    nm: Points
    million_transistors_per_mm2: Points
    sram_um2_per_bit: Points


class Sram(Section):
    """Constants of all SRAMs."""

    array_efficiency: Annotated[float, Field(gt=0, le=1)]
    source: str


class Unit(Section):
    """A unit of logic."""

    million_transistors: Positive
    source: str
    multiplier_share: Annotated[float, Field(ge=0, le=1)] = 0.0


class Logic(Section):
    """All units of logic."""

    pe: Unit
    vector_lane: Unit
    special_unit: Unit
    core_control: Unit
    fp64_unit: Unit
    texture_unit: Unit
    crossbar_port: Unit


class Port(Section):
    """One lane of PCIe or one chip-to-chip link."""

    phy_mm2: NotNegative
    controller_million_transistors: NotNegative
    source: str
    bytes_per_second: Annotated[float, Field(gt=0)] = 1.0
    """Rate of a link in one direction."""


class AreaTable(Section):
    """Contents of ``uarch/silicon/area.toml``."""

    node: Nodes
    sram: Sram
    logic: Logic
    pcie: dict[str, Port]
    link: dict[str, Port]


@cache
def area_table() -> AreaTable:
    """The constants of the area model."""
    return validate(AreaTable, read_toml(_TABLE), "area table")


def logic_mm2(chip: Chip, million_transistors: float) -> float:
    """Area of placed logic at the chip's technology node."""
    node = area_table().node
    return million_transistors / log_log(node.nm, node.million_transistors_per_mm2, chip.process_nm)


def sram_mm2(chip: Chip, n_bytes: float) -> float:
    """Area of an SRAM with its periphery at the chip's technology node."""
    table = area_table()
    um2_per_bit = log_log(table.node.nm, table.node.sram_um2_per_bit, chip.process_nm)
    return n_bytes * 8 * um2_per_bit * 1e-6 / table.sram.array_efficiency


def core_breakdown_mm2(chip: Chip) -> dict[str, float]:
    """Area of one core by block (the keys are ``CORE_BLOCKS``), mm2."""
    core, logic = chip.core, area_table().logic
    pes = core.lanes * core.systolic.rows * core.systolic.cols
    lanes = core.lanes * core.vector.width * logic.vector_lane.million_transistors
    special = core.lanes * core.vector.special_width * logic.special_unit.million_transistors
    return {
        "arrays": logic_mm2(chip, pes * _pe_million_transistors(chip)),
        "vector": logic_mm2(chip, lanes + special),
        "registers": sram_mm2(chip, core.register_bytes),
        "l1": sram_mm2(chip, core.l1.bytes),
        "control": logic_mm2(chip, logic.core_control.million_transistors),
        "fp64": logic_mm2(chip, chip.die.fp64_units_per_core * logic.fp64_unit.million_transistors),
        "texture": logic_mm2(chip, chip.die.texture_units_per_core * logic.texture_unit.million_transistors),
    }


def _pe_million_transistors(chip: Chip) -> float:
    """A PE's multiplier is as large as its most demanding datatype: rate times the square of the significand."""
    pe = area_table().logic.pe
    multiplier = max(
        rate * (datatype(dtype).significand_bits / datatype("fp16").significand_bits) ** 2
        for dtype, rate in chip.core.systolic.macs_per_pe_per_cycle.items()
    )
    return pe.million_transistors * (1 - pe.multiplier_share + pe.multiplier_share * multiplier)


def area_breakdown_mm2(chip: Chip) -> dict[str, float]:
    """Modelled area of the die by block (the keys are ``BLOCKS``), mm2."""
    table, die, memory = area_table(), chip.die, chip.memory
    cores = die.cores or chip.core.count
    interface = load_technology(memory.technology).interface_area
    pcie, link = table.pcie[die.pcie_generation], table.link[die.link_phy]
    on_die = (die.memory_interfaces or memory.packages) / memory.packages
    controllers = memory.bus_bits / interface.unit_bits * interface.controller_million_transistors
    links = chip.link.bandwidth_bytes_per_second / link.bytes_per_second
    blocks = {
        "cores": cores * sum(core_breakdown_mm2(chip).values()),
        "l2": sram_mm2(chip, die.l2_bytes or chip.l2.bytes),
        "crossbar": logic_mm2(chip, cores * table.logic.crossbar_port.million_transistors),
        "memory_phy": on_die * memory.bandwidth_bytes_per_second * 1e-9 * interface.phy_mm2_per_gb_per_second,
        "memory_controllers": logic_mm2(chip, on_die * controllers),
        "pcie": die.pcie_lanes * _port_mm2(chip, pcie),
        "link": links * _port_mm2(chip, link),
    }
    used = sum(blocks.values())
    return blocks | {"unused": used / die.used_fraction - used}


def _port_mm2(chip: Chip, port: Port) -> float:
    return port.phy_mm2 + logic_mm2(chip, port.controller_million_transistors)


def modelled_die_area_mm2(chip: Chip) -> float:
    """Area of the die by the model, mm2."""
    return sum(area_breakdown_mm2(chip).values())


def die_area_mm2(chip: Chip) -> float:
    """Published area of the die if the chip file states one, else the modelled area, mm2."""
    return chip.die.area_mm2 or modelled_die_area_mm2(chip)
