"""Operating point: the clock and voltage at which a kernel ran, relative to the chip file."""

from __future__ import annotations

from typing import NamedTuple


class OperatingPoint(NamedTuple):
    """The clock at which a kernel ran, and what the voltage of that clock does to energy."""

    clock_ratio: float = 1.0
    """Ratio of the core clocks to those of the chip file."""
    core_energy: float = 1.0
    """Ratio of the dynamic energy of the core's supply to the energy table's: (V / nominal V)^2."""


NOMINAL = OperatingPoint()
"""The chip file's clock at the energy table's voltage."""
