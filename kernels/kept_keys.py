"""Which keys a query sees: the one description that every attention mask is turned into before a schedule is made of it.

Each query has a list of key ranges (queries may share one) and a range of visible keys; it keeps the keys that are in both.
Causal and window masks are one list with moving limits, sparse patterns a list for each row of blocks, trees a list for
each query.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from uarch.jit import kernel

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class KeptKeys:
    """The kept scores of one sequence, in ranges ``begin`` to ``end - 1`` of keys.

    int64 arrays: ``list_of``, ``first`` and ``limit`` of shape ``(queries,)``; list r holds the disjoint, ascending ranges
    ``begin[starts[r]:starts[r + 1]]`` and ``end[...]``. Query i keeps key j if j is in list ``list_of[i]`` and
    ``first[i] <= j < limit[i]``.
    """

    kv_len: int
    list_of: IntArray
    first: IntArray
    limit: IntArray
    starts: IntArray
    begin: IntArray
    end: IntArray
    gathers: int = 0
    """Keys that a schedule should gather in groups of so many where a tile of keys is kept in part only; 0: in none."""

    @property
    def q_len(self) -> int:
        """Queries."""
        return len(self.list_of)

    def scores(self) -> int:
        """Kept scores of one head."""
        return int(self.tile_counts(max(1, self.q_len), self.kv_len).sum())

    def tile_counts(self, tile_q: int, tile_k: int) -> IntArray:
        """Kept scores of every tile of ``tile_q`` queries and ``tile_k`` keys; shape ``(query tiles, key tiles)``."""
        counts = np.zeros((-(-self.q_len // tile_q), -(-self.kv_len // tile_k)), np.int64)
        _count(counts, tile_q, tile_k, self.list_of, self.first, self.limit, self.starts, self.begin, self.end)
        return counts

    def queries(self, tiles: IntArray, tile_q: int) -> KeptKeys:
        """The same for the queries of some tiles of ``tile_q`` alone."""
        chosen = (tiles[:, None] * tile_q + np.arange(tile_q)).ravel()
        chosen = chosen[chosen < self.q_len]
        return replace(self, list_of=self.list_of[chosen], first=self.first[chosen], limit=self.limit[chosen])

    def tile(self, q0: int, n_q: int, key: int, n_keys: int) -> npt.NDArray[np.bool_]:
        """Which of the keys from ``key`` on queries ``q0`` to ``q0 + n_q - 1`` keep; shape ``(n_q, n_keys)``."""
        kept = np.zeros((n_q, n_keys), np.bool_)
        _fill(kept, q0, key, self.list_of, self.first, self.limit, self.starts, self.begin, self.end)
        return kept

    def elements(self, q0: int, n_q: int, keys: IntArray) -> npt.NDArray[np.bool_]:
        """The same for ascending keys that need not lie together; shape ``(n_q, len(keys))``."""
        kept = np.zeros((n_q, len(keys)), np.bool_)
        _evaluate(kept, q0, keys, self.list_of, self.first, self.limit, self.starts, self.begin, self.end)
        return kept

    def key_union(self, q0: int, n_q: int) -> npt.NDArray[np.bool_]:
        """Keys that any of the queries ``q0`` to ``q0 + n_q - 1`` keeps; shape ``(kv_len,)``."""
        union = np.zeros(self.kv_len, np.bool_)
        _unite(union, q0, n_q, self.list_of, self.first, self.limit, self.starts, self.begin, self.end)
        return union


def from_limits(kv_len: int, first: IntArray, limit: IntArray) -> KeptKeys:
    """Queries that see all keys from ``first`` to ``limit - 1``."""
    queries = np.zeros(len(first), np.int64)
    return KeptKeys(
        kv_len,
        queries,
        np.maximum(first, 0),
        np.minimum(limit, kv_len),
        starts=np.array([0, 1]),
        begin=np.array([0]),
        end=np.array([kv_len]),
    )


def from_blocks(
    kv_len: int, list_of: IntArray, limit: IntArray, block: int, kept: Iterable[IntArray], *, gathers: int = 0
) -> KeptKeys:
    """Queries that see whole blocks of ``block`` keys; ``kept[r]``: ascending block numbers of list r."""
    runs = [_runs(numbers) for numbers in kept]
    begin = np.concatenate([run[0] for run in runs]) * block
    end = np.minimum(np.concatenate([run[1] for run in runs]) * block, kv_len)
    starts = np.cumsum([0, *(len(run[0]) for run in runs)])
    return KeptKeys(
        kv_len, list_of, np.zeros(len(list_of), np.int64), np.minimum(limit, kv_len), starts, begin, end, gathers
    )


def from_elements(kept: npt.NDArray[np.bool_]) -> KeptKeys:
    """Any mask, given score by score; shape ``(queries, keys)``."""
    n_q, kv_len = kept.shape
    no_limit = np.full(n_q, kv_len)
    return from_blocks(kv_len, np.arange(n_q), no_limit, 1, map(np.flatnonzero, kept))


def _runs(numbers: IntArray) -> tuple[IntArray, IntArray]:
    """Ranges of consecutive numbers: (first of each, one behind the last of each)."""
    if len(numbers) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    breaks = np.flatnonzero(np.diff(numbers) > 1)
    return numbers[np.r_[0, breaks + 1]], numbers[np.r_[breaks, len(numbers) - 1]] + 1


@kernel
def _count(
    counts: IntArray,
    tile_q: int,
    tile_k: int,
    list_of: IntArray,
    first: IntArray,
    limit: IntArray,
    starts: IntArray,
    begin: IntArray,
    end: IntArray,
) -> None:
    """Add the kept scores of each query to the tiles that they lie in; whole tiles of a range by their ends alone."""
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
def _fill(
    kept: npt.NDArray[np.bool_],
    q0: int,
    key0: int,
    list_of: IntArray,
    first: IntArray,
    limit: IntArray,
    starts: IntArray,
    begin: IntArray,
    end: IntArray,
) -> None:
    """Mark each query's ranges in a tile."""
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
def _evaluate(
    kept: npt.NDArray[np.bool_],
    q0: int,
    keys: IntArray,
    list_of: IntArray,
    first: IntArray,
    limit: IntArray,
    starts: IntArray,
    begin: IntArray,
    end: IntArray,
) -> None:
    """Go through the ascending keys and each query's ranges side by side."""
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
def _unite(
    union: npt.NDArray[np.bool_],
    q0: int,
    n_q: int,
    list_of: IntArray,
    first: IntArray,
    limit: IntArray,
    starts: IntArray,
    begin: IntArray,
    end: IntArray,
) -> None:
    """Mark the keys of some queries."""
    for i in range(q0, q0 + n_q):
        for r in range(starts[list_of[i]], starts[list_of[i] + 1]):
            for key in range(max(begin[r], first[i]), min(end[r], limit[i])):
                union[key] = True
