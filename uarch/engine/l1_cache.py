"""The part of L1 that keeps what plain loads have brought: a set-associative cache in each core.

Loads that are marked ``cached`` (:data:`uarch.program.records.OPERAND`) look here first and stay here, as loads of a GPU's
threads do: the scale of a norm, which every row needs, crosses the network once a core, or once for each block that starts
before it has come. The cache has what the resident blocks leave of L1 and replaces the line of a set that was used longest
ago.
"""

from __future__ import annotations

import numpy as np

from uarch.jit import hash_bucket, inline
from uarch.program.records import GRANULE_ROW_BYTES, GRANULE_ROWS, StructArray

LINE = np.dtype(
    [
        ("key", np.int64),  # granule and row, from 1 on
        ("arrival_ps", np.int64),
        ("used_ps", np.int64),
    ]
)
WAYS = 8
"""Lines of a set; assumed, 4 (microbenchmarks of GPUs of 2017) to 64 (Accel-Sim's V100)."""
ABSENT = -1


def open_l1_cache(cores: int, capacity_bytes: int) -> StructArray:
    """Empty caches: ``LINE``, shape ``(cores, sets, WAYS)``; without a set if ``capacity_bytes`` are less than one."""
    return np.zeros((cores, max(0, capacity_bytes) // (GRANULE_ROW_BYTES * WAYS), WAYS), LINE)


@inline
def arrival_in_l1(cache: StructArray, core: int, granule: int, first: int, count: int, now_ps: int) -> int:
    """Picosecond at which ``count`` rows of a granule from ``first`` on are in L1; ABSENT if one is not on its way either."""
    arrival_ps = now_ps
    for row in range(first, first + count):
        way = _way_of(cache, core, granule, row)
        if way == ABSENT:
            return ABSENT
        line = cache[core, _set_of(cache, granule, row), way]
        line["used_ps"] = now_ps
        arrival_ps = max(arrival_ps, line["arrival_ps"])
    return arrival_ps


@inline
def keep_in_l1(cache: StructArray, core: int, granule: int, rows: int, arrival_ps: int, now_ps: int) -> None:
    """Put a set of rows of a granule that arrives at ``arrival_ps`` in the place of lines that were used longest ago."""
    if cache.shape[1] == 0:
        return
    for row in range(GRANULE_ROWS):
        if (rows >> row) & 1 and _way_of(cache, core, granule, row) == ABSENT:
            lines = cache[core, _set_of(cache, granule, row)]
            oldest = 0
            for way in range(1, WAYS):
                if lines[way]["used_ps"] < lines[oldest]["used_ps"]:
                    oldest = way
            lines[oldest]["key"] = _key(granule, row)
            lines[oldest]["arrival_ps"] = arrival_ps
            lines[oldest]["used_ps"] = now_ps


@inline
def _key(granule: int, row: int) -> int:
    return granule * GRANULE_ROWS + row + 1


@inline
def _set_of(cache: StructArray, granule: int, row: int) -> int:
    """Set of a row's line, hashed so that no pitch of rows meets few sets only."""
    return int(hash_bucket(_key(granule, row), cache.shape[1]))


@inline
def _way_of(cache: StructArray, core: int, granule: int, row: int) -> int:
    if cache.shape[1] == 0:
        return ABSENT
    lines = cache[core, _set_of(cache, granule, row)]
    for way in range(WAYS):
        if lines[way]["key"] == _key(granule, row):
            return way
    return ABSENT
