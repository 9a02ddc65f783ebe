"""How far an energy may be off, from how far those of its components may be."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

Ranges = Mapping[str, tuple[float, float]]
"""Component -> both ends of its energy's range, relative to the energy itself, such as ``(0.7, 1.2)``."""


def total_range(joules: Mapping[str, float], ranges: Ranges) -> tuple[float, float]:
    """Low and high end of a sum over components whose errors are independent: deviations add in squares.

    ``joules``: energy by component, each of which is in ``ranges``.
    """
    total = sum(joules.values())
    below = sqrt(sum((value * (1 - ranges[name][0])) ** 2 for name, value in joules.items()))
    above = sqrt(sum((value * (ranges[name][1] - 1)) ** 2 for name, value in joules.items()))
    return total - below, total + above


def range_fields(
    joules: Mapping[str, float], ranges: Ranges, seconds: float, tokens: float, delivery_efficiency: float = 1.0
) -> dict[str, float]:
    """Fields of a roll-up: both ends of a chip's energy, of its power and of the energy per token, and the ranges themselves.

    ``tokens``: the chip's share of those that its group makes; ``delivery_efficiency``: the chip's power over the board's.
    """
    low, high = total_range(joules, ranges)
    fields = {"energy_low_joules": low, "energy_high_joules": high}
    for end, value in (("low", low), ("high", high)):
        fields[f"average_power_{end}_watts"] = value / seconds if seconds else 0.0
        fields[f"average_board_power_{end}_watts"] = value / seconds / delivery_efficiency if seconds else 0.0
        fields[f"energy_per_token_{end}_joules"] = value / tokens if tokens else 0.0
    for name, (lower, upper) in ranges.items():
        fields[f"energy_{name}_low_fraction"] = lower
        fields[f"energy_{name}_high_fraction"] = upper
    return fields
