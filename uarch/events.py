"""What a run counts: the causes of core time and the events that cost energy or bandwidth."""

from __future__ import annotations

from enum import IntEnum


class Cause(IntEnum):
    """Why a core spends a picosecond; where several apply, the first of this list gets it."""

    MATRIX = 0
    VECTOR = 1
    L1 = 2
    L2_NOC = 3
    DRAM = 4
    LINK = 5
    """Waits for bytes from another chip."""
    DEPENDENCY = 6
    LAUNCH = 7
    IDLE = 8


class Event(IntEnum):
    """Counters of a run, in events, bytes or picoseconds as the name says."""

    MACS = 0
    VECTOR_OPS = 1
    SPECIAL_OPS = 2
    L1_BYTES = 3
    """Between L1 and the arrays or vector units, and fills of L1."""
    L2_READ_BYTES = 4
    """Read from L2's slices, whether hit or filled first; a response that cores share counts once."""
    L2_WRITE_BYTES = 5
    L2_HITS = 6
    """Granules found in L2 or already on their way."""
    L2_MISSES = 7
    DRAM_READ_BYTES = 8
    DRAM_WRITE_BYTES = 9
    DRAM_ROW_HITS = 10
    DRAM_ROW_MISSES = 11
    """Activates."""
    DRAM_REFRESHES = 12
    LINK_BYTES = 13
    """Payload received over the link; as much is sent."""
    DRAM_BUS_PS = 14
    """Data-bus time, summed over independent channels or channel groups."""
    NOC_BYTES = 15
    """Through the cores' ports, both directions."""
    STEPS = 16
    """Dynamic steps executed."""


CAUSES = tuple(cause.name.lower() for cause in Cause)
COMPONENTS = ("matrix", "vector", "l1", "l2", "noc", "dram", "link", "static")
"""Parts of the chip among which energy is split."""
