"""Values that a parameter of a sweep can take: a list, or a range in equal steps, in equal ratios or of powers of two."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from uarch.files.section import Section, TomlArray
from workloads.sweep.expressions import Value

Number = int | float
Scale = Literal["linear", "log", "powers-of-two"]
MOST_LEVELS = 1 << 20
"""Values of one parameter, at most."""


class Domain(Section):
    """Values of one parameter: ``values``, or a range from ``low`` to ``high``, both included.

    A range whose ends are both integers has integers only. Without ``count`` and ``step`` a linear or logarithmic range is
    continuous: it can be sampled, but has no grid.
    """

    values: Annotated[TomlArray[Value], Field(min_length=1)] | None = None
    low: Number | None = None
    high: Number | None = None
    scale: Scale = "linear"
    count: Annotated[int, Field(ge=1, le=MOST_LEVELS)] | None = None
    """Number of values, in equal steps or ratios."""
    step: Annotated[Number, Field(gt=0)] | None = None
    """Distance of two values of a linear range."""

    @model_validator(mode="after")
    def _consistent(self) -> Domain:
        if (self.values is None) == (self.low is None or self.high is None):
            raise ValueError("must have either values, or low and high")
        if self.values is not None:
            if len(set(map(repr, self.values))) < len(self.values):
                raise ValueError("must not have a value twice")
            if (self.count, self.step, self.scale) != (None, None, "linear"):
                raise ValueError("must not have count, step or scale beside values")
            return self
        low, high = self._ends()
        if low > high:
            raise ValueError(f"must not be empty: low = {low:g} is above high = {high:g}")
        if self.scale != "linear" and low <= 0:
            raise ValueError(f"must have low above 0 for scale = {self.scale!r}, not {low:g}")
        if self.step is not None and (self.scale != "linear" or self.count is not None):
            raise ValueError("must have step only with scale = 'linear' and without count")
        if self.step is not None and (high - low) / self.step >= MOST_LEVELS:
            raise ValueError(f"must have at most {MOST_LEVELS} values")
        if self.scale == "powers-of-two" and not self._powers():
            raise ValueError(f"must not be empty: no power of two lies between {low:g} and {high:g}")
        return self

    def levels(self) -> tuple[Value, ...] | None:
        """All values in order; None for a continuous range."""
        if self.values is not None:
            return self.values
        low, high = self._ends()
        if self.scale == "powers-of-two":
            return self._powers()
        if self.step is not None:
            n_steps = math.floor((high - low) / self.step * (1 + 1e-12))
            return tuple(self._typed(low + i * self.step) for i in range(n_steps + 1))
        if self.count is None:
            return None
        places = [i / (self.count - 1) for i in range(self.count)] if self.count > 1 else [0.0]
        return tuple(dict.fromkeys(self._between(place) for place in places))

    def at(self, place: float) -> Value:
        """Value at a place from 0 to 1 of the range, or of the list."""
        levels = self.levels()
        if levels is None:
            return self._between(place)
        return levels[min(int(place * len(levels)), len(levels) - 1)]

    def _between(self, place: float) -> Value:
        low, high = self._ends()
        if place in (0.0, 1.0):  # the ends as they were written, without a rounding error
            return high if place else low
        if self.scale == "log":
            return self._typed(low * (high / low) ** place)
        return self._typed(low + (high - low) * place)

    def _typed(self, value: Number) -> Number:
        return round(value) if isinstance(self.low, int) and isinstance(self.high, int) else value

    def _powers(self) -> tuple[int, ...]:
        low, high = self._ends()
        first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
        return tuple(1 << exponent for exponent in range(max(first, 0), last + 1))

    def _ends(self) -> tuple[Number, Number]:
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high
