"""Power of a package as its chip file states it: TDP, regulators, what follows neither clock nor voltage, cooling, voltage."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from uarch.chip.voltage import VoltageFrequency
from uarch.files.section import Section

Watts = Annotated[float, Field(ge=0, le=1e5)]


class Power(Section):
    """Power of the package."""

    tdp_watts: Annotated[Watts, Field(gt=0)] | None = None
    """Published TDP; if absent, SPAD's rule from die area and memory (:func:`uarch.silicon.tdp.tdp_watts`)."""
    static_watts: Watts | None = None
    """Leakage and clock tree at nominal clock and voltage, of a die as cool as its coolant.

    If absent, it follows from die area, clock and energy table (:func:`uarch.energy.static_power.static_power`).
    """
    constant_watts: Watts = 18.0
    """Power that follows neither voltage nor clock, without device memory: PHYs of idle links and memory, clocks, sensors.

    By the idle power of an H100 and an A100-40 at locked clocks 17.6 and 18.3, of an A100-80 28 W (EnergAIzer, ISPASS 2026).
    """
    thermal_resistance_kelvin_mm2_per_watt: Annotated[float, Field(ge=0, le=1e4)] = 50.0
    """How much warmer than its coolant a die gets: kelvin x mm2 of die by watt of the board.

    From 40 to 75: 595 W at 52 C (H100), 572 W at 57 C (H200), 230 W at 43 to 52 C (A100), 205 W at 42 and 50 C (L40, A40), with
    air or water of 20 to 30 C.
    """
    delivery_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Part of the board's power that reaches chip and memory; regulators take the rest. SPAD, section 6.1; 0.85 to 0.93."""
    cap: bool | None = None
    """Whether the clock falls where the TDP would be exceeded; if absent, it does on ``silicon``."""
    voltage_frequency: VoltageFrequency | None = None
    """Voltage that a clock needs; if absent, the curve of the energy table."""
