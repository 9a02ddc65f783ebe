"""At which clock and voltage a kernel ran, relative to the chip file."""

from __future__ import annotations

from typing import NamedTuple


class OperatingPoint(NamedTuple):
    """Clock, and what its voltage does to energy."""

    clock_ratio: float = 1.0
    """Core clocks over those of the chip file."""
    core_energy: float = 1.0
    """Dynamic energy of the core's supply over the energy table's: (V / nominal V)^2."""
    static_power: float = 1.0
    """Static power over that of the chip file."""


NOMINAL = OperatingPoint()
