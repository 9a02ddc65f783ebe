"""Cost of a chip: die, memory, packaging. Data and assumptions are in ``uarch/silicon/cost.toml``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from uarch.chip.die import YieldModel
from uarch.chip.schema import Chip
from uarch.dram.standards.technology import load_technology
from uarch.errors import InputError
from uarch.files.interpolation import log_log
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section
from uarch.files.sourced import Points, Positive
from uarch.silicon.area import area_breakdown_mm2, die_area_mm2, modelled_die_area_mm2
from uarch.silicon.wafer import dies_by_formula, dies_by_packing, yield_fraction

_TABLE = Path(__file__).with_suffix(".toml")


class Nodes(Section):
    """Prices and defect densities by technology node."""

    nm: Points
    wafer_usd: Points
    defects_per_mm2: Points


class Wafer(Section):
    """Geometry of a wafer."""

    diameter_mm: Positive
    edge_exclusion_mm: Positive
    scribe_mm: Positive
    cluster_alpha: Positive


class TdpRule(Section):
    """SPAD's rule of thumb."""

    die_watts: Positive
    die_mm2: Positive
    package_efficiency: Annotated[float, Field(gt=0, le=1)]


class CostTable(Section):
    """Contents of ``uarch/silicon/cost.toml``."""

    node: Nodes
    wafer: Wafer
    tdp: TdpRule


@cache
def cost_table() -> CostTable:
    """Prices and rules."""
    return validate(CostTable, read_toml(_TABLE), "cost table")


def wafer_usd(chip: Chip) -> float:
    """Price of a processed wafer, US dollars."""
    node, stated = cost_table().node, chip.cost.wafer_usd
    return log_log(node.nm, node.wafer_usd, chip.process_nm) if stated is None else stated


def dies_per_wafer(chip: Chip) -> float:
    """Dies on a wafer, working or not; by the formula not a whole number, 0 if it holds less than one."""
    wafer, area = cost_table().wafer, die_area_mm2(chip)
    if chip.cost.dies_per_wafer == "packing":
        return dies_by_packing(
            area, wafer.diameter_mm, edge_exclusion_mm=wafer.edge_exclusion_mm, scribe_mm=wafer.scribe_mm
        )
    dies = dies_by_formula(area, wafer.diameter_mm)
    return dies if dies >= 1 else 0.0


def die_yield(chip: Chip, model: YieldModel | None = None) -> float:
    """Fraction of dies that can be sold, by ``model`` or the chip's own; spare cores may be defective if they are harvested."""
    node, stated = cost_table().node, chip.cost.defects_per_mm2
    defects = log_log(node.nm, node.defects_per_mm2, chip.process_nm) if stated is None else stated
    cores = chip.die.cores or chip.core.count
    spare = max(0, cores - chip.core.count) if chip.cost.harvest_cores else 0
    core_mm2 = area_breakdown_mm2(chip)["cores"] / cores * die_area_mm2(chip) / modelled_die_area_mm2(chip)
    return yield_fraction(
        die_area_mm2(chip),
        model or chip.cost.yield_model,
        defects,
        alpha=cost_table().wafer.cluster_alpha,
        core_mm2=core_mm2,
        cores=cores,
        spare_cores=spare,
    )


def die_cost_usd(chip: Chip) -> float:
    """Price of a wafer over the dies that can be sold, US dollars.

    Raises :class:`InputError` if the wafer holds no die.
    """
    dies = dies_per_wafer(chip)
    if dies == 0:
        area = die_area_mm2(chip)
        raise InputError(f"chip {chip.name}: a die of {area:.0f} mm2 does not fit on a wafer; allowed: a smaller one")
    return wafer_usd(chip) / (dies * die_yield(chip))


def memory_cost_usd(chip: Chip) -> float:
    """Price of the device memory, US dollars."""
    stated = chip.cost.memory_usd_per_gb
    per_gb = load_technology(chip.memory.technology).price.usd_per_gb if stated is None else stated
    return chip.memory.capacity_gib * per_gb


def hardware_cost_usd(chip: Chip) -> float:
    """Die, memory and packaging, US dollars; no masks, no design, no margin."""
    return die_cost_usd(chip) + memory_cost_usd(chip) + chip.cost.packaging_usd
