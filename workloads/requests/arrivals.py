"""Arrival processes: times between arrivals that are drawn."""

from __future__ import annotations

import numpy as np

from uarch.arrays import FloatArray


def renewal_arrivals(count: int, rate_per_second: float, cv: float, random: np.random.Generator) -> FloatArray:
    """Draw ``count`` arrival times (seconds, float64, rising) with independent Gamma-distributed gaps between them.

    ``cv`` is the gaps' standard deviation over their mean: 1 makes a Poisson process, 0 a constant rate, above 1 bursts.
    The first gap starts at 0.
    """
    if cv == 0:
        return np.arange(1, count + 1) / rate_per_second
    shape = 1 / (cv * cv)
    gaps = random.exponential(1.0, count) if cv == 1 else random.gamma(shape, 1 / shape, count)
    return np.asarray(np.cumsum(gaps) / rate_per_second, np.float64)
