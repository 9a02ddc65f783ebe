"""Numbers of declarative files that carry their source and the range of what is published or plausible."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from uarch.files.section import Section, TomlArray

Amount = Annotated[float, Field(ge=0, le=1e9)]
Positive = Annotated[float, Field(gt=0, le=1e12)]
Source = Annotated[str, Field(min_length=1)]
Points = Annotated[TomlArray[Positive], Field(min_length=1, max_length=64)]
"""Positive numbers at the points of a curve, such as technology nodes."""


class Sourced(Section):
    """A value with its range; ``VALUE`` is the name of the field between ``low`` and ``high``."""

    VALUE: ClassVar[str]

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        low, value, high = (getattr(self, name) for name in ("low", self.VALUE, "high"))
        if not low <= value <= high:
            raise ValueError(f"must have low <= {self.VALUE} <= high, not {low} <= {value} <= {high}")
        return self


class EventEnergy(Sourced):
    """Energy of one event, pJ."""

    VALUE = "pj"

    pj: Amount
    low: Amount
    high: Amount
    source: Source

    def times(self, factor: float, low: float | None = None, high: float | None = None) -> EventEnergy:
        """The energy and both ends of its range, scaled."""
        return EventEnergy(
            pj=self.pj * factor,
            low=self.low * (factor if low is None else low),
            high=self.high * (factor if high is None else high),
            source=self.source,
        )

    def plus(self, other: EventEnergy) -> EventEnergy:
        """Both events together."""
        source = f"{self.source}; {other.source}"
        return EventEnergy(pj=self.pj + other.pj, low=self.low + other.low, high=self.high + other.high, source=source)


class Factor(Sourced):
    """A ratio of energies."""

    VALUE = "factor"

    factor: Positive
    low: Positive
    high: Positive
    source: Source


class Watts(Sourced):
    """A power, W; by mm2 of die, or by mm2 and GHz."""

    VALUE = "watts"

    watts: Amount
    low: Amount
    high: Amount
    source: Source


class Price(Sourced):
    """A price, US dollars per GB."""

    VALUE = "usd_per_gb"

    usd_per_gb: Positive
    low: Positive
    high: Positive
    source: Source
