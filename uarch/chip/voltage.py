"""Core voltage as a function of the clock: a curve of a technology node, or of one chip."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from uarch.files.section import Section

Volts = Annotated[float, Field(gt=0, le=10)]
CurveHertz = Annotated[float, Field(ge=1e6, le=1e11)]
PointCount = Field(min_length=1, max_length=64, strict=False)


class VoltageFrequency(Section):
    """Lowest voltage at which the core runs at a clock, as points between which it is linear.

    Below the first point the voltage stays at its minimum; above the last one the last segment goes on.
    """

    nominal_volts: Volts
    """Supply for which the energy table states dynamic energies."""
    hz: Annotated[tuple[CurveHertz, ...], PointCount]
    volts: Annotated[tuple[Volts, ...], PointCount]
    source: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _rising(self) -> VoltageFrequency:
        if len(self.hz) != len(self.volts):
            raise ValueError(f"must have as many volts as hz, not {len(self.volts)} and {len(self.hz)}")
        if any(a >= b for a, b in pairwise(self.hz)) or any(a > b for a, b in pairwise(self.volts)):
            raise ValueError("must have rising hz, and volts that do not fall")
        return self

    def volts_at(self, hz: float) -> float:
        """Voltage in V at a clock in Hz."""
        if hz <= self.hz[0] or len(self.hz) == 1:
            return self.volts[0]
        segment = next((i for i in range(1, len(self.hz)) if hz <= self.hz[i]), len(self.hz) - 1)
        low, high = self.hz[segment - 1], self.hz[segment]
        rise = (self.volts[segment] - self.volts[segment - 1]) / (high - low)
        return self.volts[segment - 1] + rise * (hz - low)

    def energy_factor(self, hz: float) -> float:
        """Dynamic energy at a clock over that of the energy table: (V / nominal V)^2."""
        return (self.volts_at(hz) / self.nominal_volts) ** 2
