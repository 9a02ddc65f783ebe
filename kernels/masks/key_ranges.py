"""Kept scores of a sequence as plain arrays, and jitted loops over them; :mod:`kernels.masks.kept_keys` has the object."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uarch.arrays import BoolArray, IntArray
from uarch.jit import kernel


class KeyRanges(NamedTuple):
    """Key ranges of queries; all int64.

    List r holds the disjoint, ascending ranges ``begin[starts[r]:starts[r + 1]]`` to ``end[...] - 1``. Query i keeps key j if
    j is in list ``list_of[i]`` and ``first[i] <= j < limit[i]``.
    """

    list_of: IntArray
    """List of each query, shape ``(queries,)``, like ``first`` and ``limit``."""
    first: IntArray
    limit: IntArray
    starts: IntArray
    begin: IntArray
    end: IntArray

    def of(self, queries: IntArray) -> KeyRanges:
        """Ranges of some queries alone; int64, shape ``(chosen queries,)``."""
        return self._replace(list_of=self.list_of[queries], first=self.first[queries], limit=self.limit[queries])


@kernel
def count_scores(
    counts: IntArray,
    tile_q: int,
    tile_k: int,
    ranges: KeyRanges,
) -> None:
    """Add the kept scores of each query to the tiles of ``tile_q`` queries and ``tile_k`` keys that they lie in.

    ``counts``: shape ``(query tiles, key tiles)``. Whole tiles of a range are counted by their ends alone.
    """
    list_of, first, limit, starts, begin, end = ranges
    whole = np.zeros(counts.shape[1] + 1, np.int64)
    for i in range(len(list_of)):
        row = counts[i // tile_q]
        for r in range(starts[list_of[i]], starts[list_of[i] + 1]):
            if begin[r] >= limit[i]:
                break
            key, stop = max(begin[r], first[i]), min(end[r], limit[i])
            if key >= stop:
                continue
            tile, last = key // tile_k, (stop - 1) // tile_k
            if tile == last:
                row[tile] += stop - key
            else:
                row[tile] += (tile + 1) * tile_k - key
                row[last] += stop - last * tile_k
                whole[tile + 1] += 1
                whole[last] -= 1
        if (i + 1) % tile_q == 0 or i + 1 == len(list_of):
            covering = 0
            for tile in range(len(row)):
                covering += whole[tile]
                row[tile] += covering * tile_k
            whole[:] = 0


@kernel
def mark_scores(
    kept: BoolArray,
    q0: int,
    key0: int,
    ranges: KeyRanges,
) -> None:
    """Mark what the queries from ``q0`` on keep of the keys from ``key0`` on; ``kept``: shape ``(queries, keys)``."""
    list_of, first, limit, starts, begin, end = ranges
    for n in range(len(kept)):
        i = q0 + n
        high = starts[list_of[i] + 1]
        r = starts[list_of[i]] + np.searchsorted(end[starts[list_of[i]] : high], key0, side="right")
        while r < high and begin[r] < key0 + kept.shape[1]:
            left = max(begin[r], first[i]) - key0
            right = min(end[r], limit[i]) - key0
            for c in range(max(left, 0), min(right, kept.shape[1])):
                kept[n, c] = True
            r += 1


@kernel
def mark_keys(
    kept: BoolArray,
    q0: int,
    keys: IntArray,
    ranges: KeyRanges,
) -> None:
    """Mark what the queries from ``q0`` on keep of ascending ``keys``; ``kept``: shape ``(queries, len(keys))``."""
    list_of, first, limit, starts, begin, end = ranges
    for n in range(len(kept)):
        i = q0 + n
        high = starts[list_of[i] + 1]
        r = starts[list_of[i]] + np.searchsorted(end[starts[list_of[i]] : high], keys[0], side="right")
        for c in range(len(keys)):
            key = keys[c]
            while r < high and end[r] <= key:
                r += 1
            if r == high or key >= limit[i]:
                break
            kept[n, c] = begin[r] <= key and key >= first[i]


@kernel
def unite_keys(
    union: BoolArray,
    q0: int,
    n_q: int,
    ranges: KeyRanges,
) -> None:
    """Mark the keys that any of ``n_q`` queries keeps; ``union``: shape ``(keys,)``."""
    list_of, first, limit, starts, begin, end = ranges
    for i in range(q0, q0 + n_q):
        for r in range(starts[list_of[i]], starts[list_of[i] + 1]):
            for key in range(max(begin[r], first[i]), min(end[r], limit[i])):
                union[key] = True
