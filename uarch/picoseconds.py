"""Rates in integers: how many picoseconds a unit (a cycle, a byte, an operation) takes.

A rate is that time in units of 2^-20 ps, so that clocks and bandwidths that are not whole picoseconds do not drift: the
relative error is below 1e-6 for rates up to 1e12 per second and falls with the rate.
"""

from __future__ import annotations

from fractions import Fraction

from uarch.jit import inline

PS_PER_SECOND = 10**12
_FRACTION_BITS = 20
_SAFE_BITS = 62 - _FRACTION_BITS
_ROUND_UP = (1 << _FRACTION_BITS) - 1


def rate_of(units_per_second: float) -> int:
    """The rate of ``units_per_second``, rounded to the nearest."""
    return round(Fraction(PS_PER_SECOND << _FRACTION_BITS) / Fraction(units_per_second))


def picoseconds(seconds: float) -> int:
    """Whole picoseconds, rounded to the nearest."""
    return round(seconds * PS_PER_SECOND)


@inline
def duration_ps(units: int, rate: int) -> int:
    """Time of ``units`` at a rate, rounded up to a picosecond.

    Whole and broken picoseconds of the rate are multiplied apart: their product in one number would overflow after 8.8 s.
    """
    return units * (rate >> _FRACTION_BITS) + ((units * (rate & _ROUND_UP) + _ROUND_UP) >> _FRACTION_BITS)


@inline
def whole_units(time_ps: int, rate: int) -> int:
    """Whole units at a rate (below 2^53) that a time holds: twice ten bits of a long division where one would overflow."""
    if time_ps >> _SAFE_BITS == 0:
        return (time_ps << _FRACTION_BITS) // rate
    units, rest = time_ps // rate, time_ps % rate
    for _ in range(2):
        rest <<= _FRACTION_BITS // 2
        units = (units << (_FRACTION_BITS // 2)) + rest // rate
        rest %= rate
    return units
