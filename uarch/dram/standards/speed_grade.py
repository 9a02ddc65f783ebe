"""A standard at another data rate: what a chip file gets whose bandwidth is not that of its standard's speed grade."""

from __future__ import annotations

from uarch.dram.standards.standard import Standard
from uarch.errors import InputError
from uarch.picoseconds import rate_of

FASTEST = 256
"""Times the data rate of the standard."""
_OF_THE_DATA_BUS = {"nBL", "nCCD_S", "nCCD_L", "nCCD_R", "nPPD"}


def at_bandwidth(standard: Standard, bytes_per_second: float) -> tuple[Standard, int]:
    """The standard with the clock at which one of its pseudo-channels moves ``bytes_per_second``, and its tick's rate.

    Bursts and command distances of the data bus keep their clocks; the array's timings keep their nanoseconds, in the
    nearest whole number of the new clocks.

    Raises :class:`InputError` for a rate that is no longer that of such a memory.
    """
    faster = bytes_per_second / standard.bytes_per_second
    if faster > FASTEST:
        raise InputError(
            f"memory.bandwidth_bytes_per_second: {bytes_per_second:g} for each of memory.channels, {faster:.3g} times what "
            f"memory.standard gives; at most {FASTEST} times is allowed"
        )
    timing = standard.timing
    changed = {
        name: max(1, round(clocks * faster)) for name, clocks in timing if clocks > 0 and name not in _OF_THE_DATA_BUS
    }
    clocks_per_second = bytes_per_second / standard.burst_bytes * max(timing.nBL, timing.nCCD_S)
    scaled = standard.model_copy(
        update={
            "assumed": {},
            "tCK_ps": max(1, round(1e12 / clocks_per_second)),
            "timing": timing.model_copy(update=changed),
        }
    )
    return scaled, rate_of(clocks_per_second * standard.command_bus.ticks_per_clock)
