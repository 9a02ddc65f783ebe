"""Sections ``die`` and ``cost`` of a chip file: what area and cost need to know beyond the architecture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from uarch.files.section import Section, Whole

Units = Annotated[Whole, Field(ge=0, le=65536)]
Usd = Annotated[float, Field(ge=0, le=1e7)]
DiesPerWafer = Literal["formula", "packing"]
YieldModel = Literal["none", "poisson", "murphy", "negative_binomial"]
PcieGeneration = Literal["pcie3", "pcie4", "pcie5", "pcie6"]
LinkPhy = Literal["nvlink3", "nvlink4", "infinity_fabric", "none"]


class Die(Section):
    """The die around the architecture: what is on it but switched off, and what is not for inference."""

    area_mm2: Annotated[float, Field(gt=0, le=1e12)] | None = None
    """Published area; cost and TDP use it. If absent, they use the modelled area."""
    cores: Annotated[Whole, Field(ge=1, le=65536)] | None = None
    """Cores on the die, the disabled ones included; ``core.count`` if absent."""
    l2_bytes: Annotated[Whole, Field(ge=1 << 16, le=1 << 40)] | None = None
    """L2 on the die; ``l2.bytes`` if absent."""
    memory_interfaces: Annotated[Whole, Field(ge=1, le=256)] | None = None
    """Interfaces on the die, each as wide as that of one package in use; ``memory.packages`` if absent."""
    used_fraction: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Part of the die that the modelled blocks take; the rest is white space and, unless counted above, disabled parts."""
    fp64_units_per_core: Units = 0
    texture_units_per_core: Units = 0
    """Texture units, each with its share of the graphics pipeline."""
    pcie_generation: PcieGeneration = "pcie5"
    pcie_lanes: Units = 16
    link_phy: LinkPhy = "nvlink4"


class Cost(Section):
    """Assumptions about cost that differ from the tables in ``uarch/silicon/cost.toml``."""

    wafer_usd: Usd | None = None
    """Price of a processed wafer; by technology node if absent."""
    defects_per_mm2: Annotated[float, Field(ge=0, le=1)] | None = None
    """Density of defects; by technology node if absent."""
    dies_per_wafer: DiesPerWafer = "formula"
    yield_model: YieldModel = "none"
    harvest_cores: bool = True
    """Whether a die whose spare cores (``die.cores`` - ``core.count``) are defective can be sold."""
    memory_usd_per_gb: Usd | None = None
    """Price of device memory; by memory technology if absent."""
    packaging_usd: Usd = 0.0
    """Substrate, interposer and assembly."""
