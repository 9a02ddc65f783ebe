"""Quantities that are known at some points, such as technology nodes or capacities, interpolated between them."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log


def log_log(points: Sequence[float], values: Sequence[float], x: float) -> float:
    """Value at ``x``, linear in the logarithms between ``points`` (positive, rising); beyond them that of the last point."""
    if x <= points[0]:
        return values[0]
    for i in range(1, len(points)):
        if x <= points[i]:
            share = log(x / points[i - 1]) / log(points[i] / points[i - 1])
            return exp((1 - share) * log(values[i - 1]) + share * log(values[i])) if share < 1 else values[i]
    return values[-1]
