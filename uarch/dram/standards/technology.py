"""Memory technologies as data: what HBM3 or GDDR7 costs a chip in energy, area, power and money, whatever the speed grade.

Each technology is a file ``uarch/dram/technologies/<name>.toml``, and the only place that knows it: a new one needs that
file and a standard (``uarch/dram/standards``) that names it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from uarch.files.presets import Presets
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section, Whole
from uarch.files.sourced import Amount, EventEnergy, Factor, Positive, Price, Source

TECHNOLOGIES = Presets("memory technology", Path(__file__).parent.parent / "technologies")
"""Technologies that come with the package."""


class InterfaceArea(Section):
    """PHY and controllers on the die of the chip."""

    phy_mm2_per_gb_per_second: Positive
    """Area of the PHY by the bandwidth of the bus in GB/s; it is analogue and does not shrink with the node."""
    unit_bits: Annotated[Whole, Field(gt=0)]
    """Bits of the bus that a controller serves."""
    controller_million_transistors: Amount
    """Size of a controller, in millions of transistors."""
    source: Source


class FullRatePower(Section):
    """Power of the memory in SPAD's rule for the TDP of a chip: by package, or by bit at the full rate of the bus."""

    watts_per_package: Positive | None = None
    """Power of one package, W."""
    pj_per_bit: Positive | None = None
    """Energy of one bit, pJ."""
    source: Source

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.watts_per_package is None) == (self.pj_per_bit is None):
            raise ValueError("must have either watts_per_package or pj_per_bit")
        return self

    def watts(self, packages: int, bytes_per_second: float) -> float:
        """Power of all packages of a chip at the full rate of its bus, W."""
        if self.watts_per_package is not None:
            return self.watts_per_package * packages
        assert self.pj_per_bit is not None
        return bytes_per_second * 8 * self.pj_per_bit * 1e-12


class Technology(Section):
    """A kind of device memory, common to all its speed grades."""

    title: Source
    """Name and specification, such as ``HBM3 (JESD238)``."""
    refresh_is_hidden: bool = False
    """Whether controllers refresh banks while others are used, at no cost of bandwidth, unless a chip says otherwise."""
    device_energy: Factor
    """Energy of commands over what the currents of a standard say."""
    interface_byte: EventEnergy
    """Energy of one byte through PHY and controller of the chip."""
    interface_area: InterfaceArea
    price: Price
    """Price of the devices."""
    full_rate_power: FullRatePower


def load_technology(name_or_path: str) -> Technology:
    """A technology by its name or from a TOML file.

    Raises ``InputError`` for an unknown technology or an invalid file.
    """
    return _load(name_or_path, TECHNOLOGIES.stamp(name_or_path))


@lru_cache(maxsize=64)
def _load(name_or_path: str, stamp: str) -> Technology:
    path = TECHNOLOGIES.find(name_or_path, "technology")
    return validate(Technology, read_toml(path), f"memory technology {name_or_path}")
