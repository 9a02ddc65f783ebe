"""A standard at another data rate: what a chip file gets whose bandwidth is not that of its standard's speed grade."""

from __future__ import annotations

from uarch.dram.standards.standard import Standard, Timing
from uarch.errors import InputError
from uarch.picoseconds import rate_of

FASTEST = 256
"""Times the data rate of the standard."""
_OF_THE_DATA_BUS = {"nBL", "nCCD_S", "nCCD_L", "nCCD_R", "nPPD"}


def at_bandwidth(standard: Standard, bytes_per_second: float, refresh: str = "none") -> tuple[Standard, int]:
    """The standard with the clock at which one of its pseudo-channels moves ``bytes_per_second``, and its tick's rate.

    Bursts and command distances of the data bus keep their clocks; the array's timings keep their nanoseconds, in the
    nearest whole number of the new clocks.

    Raises :class:`InputError` for a rate that is no longer that of such a memory: more than ``FASTEST`` times its own, or so
    low that refreshes (``all`` banks at once, ``bank`` by bank, or ``none``) leave no time for anything else.
    """
    faster = bytes_per_second / standard.bytes_per_second
    if faster > FASTEST:
        raise InputError(
            f"memory.bandwidth_bytes_per_second: {bytes_per_second:g} for each of memory.channels, {faster:.3g} times what "
            f"memory.standard gives; at most {FASTEST} times is allowed"
        )
    timing = standard.timing
    if not _refresh_leaves_time(_scaled(timing, faster), refresh):
        slowest = _slowest(timing, refresh) * standard.bytes_per_second
        raise InputError(
            f"memory.bandwidth_bytes_per_second: {bytes_per_second:g} for each of memory.channels; at less than {slowest:.3g}, "
            f"{standard.name} has no time beside its refreshes (memory.refresh = {refresh!r})"
        )
    clocks_per_second = bytes_per_second / standard.burst_bytes * max(timing.nBL, timing.nCCD_S)
    scaled = standard.model_copy(
        update={
            "assumed": {},
            "tCK_ps": max(1, round(1e12 / clocks_per_second)),
            "timing": _scaled(timing, faster),
        }
    )
    return scaled, rate_of(clocks_per_second * standard.command_bus.ticks_per_clock)


def _scaled(timing: Timing, faster: float) -> Timing:
    changed = {
        name: max(1, round(clocks * faster)) for name, clocks in timing if clocks > 0 and name not in _OF_THE_DATA_BUS
    }
    return timing.model_copy(update=changed)


def _refresh_leaves_time(timing: Timing, refresh: str) -> bool:
    """Whether two refreshes are at least twice as far apart as it takes to close a row, refresh, open it and move a burst."""
    if refresh == "none":
        return True
    interval, refreshing = (timing.nREFI, timing.nRFCab) if refresh == "all" else (timing.nREFIpb, 1)
    return interval >= 2 * (timing.nRP + refreshing + timing.nRCDRD + max(timing.nBL, timing.nCCD_S))


def _slowest(timing: Timing, refresh: str) -> float:
    """The lowest speed at which refreshes leave time, as a multiple of the standard's, by bisection."""
    low, high = 0.0, float(FASTEST)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if _refresh_leaves_time(_scaled(timing, middle), refresh) else (middle, high)
    return high
