"""Kept keys of each query: the one description into which every attention mask is turned before a schedule is made of it.

Each query has a list of key ranges (queries may share one) and a range of visible keys; it keeps the keys that are in both.
Causal and window masks are one list with moving limits, sparse patterns a list for each row of blocks, trees a list for
each query.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kernels.masks.key_ranges import KeyRanges, count_scores, mark_keys, mark_scores, unite_keys
from uarch.arrays import IntArray


@dataclass(frozen=True, eq=False)
class KeptKeys:
    """The kept scores of one sequence."""

    kv_len: int
    ranges: KeyRanges
    gathers: int = 0
    """Group size in which a schedule should gather keys where a tile of keys is kept in part only; 0: it gathers none."""

    @property
    def q_len(self) -> int:
        """Queries."""
        return len(self.ranges.list_of)

    def scores(self) -> int:
        """Kept scores of one head."""
        return int(self.tile_counts(max(1, self.q_len), self.kv_len).sum())

    def tile_counts(self, tile_q: int, tile_k: int) -> IntArray:
        """Kept scores of every tile of ``tile_q`` queries and ``tile_k`` keys; shape ``(query tiles, key tiles)``."""
        counts = np.zeros((-(-self.q_len // tile_q), -(-self.kv_len // tile_k)), np.int64)
        count_scores(counts, tile_q, tile_k, self.ranges)
        return counts

    def queries(self, tiles: IntArray, tile_q: int) -> KeptKeys:
        """Kept keys of the queries of some tiles of ``tile_q`` alone."""
        chosen = (tiles[:, None] * tile_q + np.arange(tile_q)).ravel()
        return replace(self, ranges=self.ranges.of(chosen[chosen < self.q_len]))

    def tile(self, q0: int, n_q: int, key: int, n_keys: int) -> npt.NDArray[np.bool_]:
        """Whether queries ``q0`` to ``q0 + n_q - 1`` keep each key from ``key`` on; shape ``(n_q, n_keys)``."""
        kept = np.zeros((n_q, n_keys), np.bool_)
        mark_scores(kept, q0, key, self.ranges)
        return kept

    def elements(self, q0: int, n_q: int, keys: IntArray) -> npt.NDArray[np.bool_]:
        """Whether queries ``q0`` to ``q0 + n_q - 1`` keep each of some ascending keys; shape ``(n_q, len(keys))``."""
        kept = np.zeros((n_q, len(keys)), np.bool_)
        mark_keys(kept, q0, keys, self.ranges)
        return kept

    def key_union(self, q0: int, n_q: int) -> npt.NDArray[np.bool_]:
        """Keys that any of the queries ``q0`` to ``q0 + n_q - 1`` keeps; shape ``(kv_len,)``."""
        union = np.zeros(self.kv_len, np.bool_)
        unite_keys(union, q0, n_q, self.ranges)
        return union


def from_limits(kv_len: int, first: IntArray, limit: IntArray) -> KeptKeys:
    """Queries that see all keys from ``first`` to ``limit - 1``."""
    ranges = KeyRanges(
        list_of=np.zeros(len(first), np.int64),
        first=np.maximum(first, 0),
        limit=np.minimum(limit, kv_len),
        starts=np.array([0, 1]),
        begin=np.array([0]),
        end=np.array([kv_len]),
    )
    return KeptKeys(kv_len, ranges)


def from_blocks(
    kv_len: int, list_of: IntArray, limit: IntArray, block: int, kept: Iterable[IntArray], *, gathers: int = 0
) -> KeptKeys:
    """Queries that see whole blocks of ``block`` keys; ``kept[r]``: ascending block numbers of list r."""
    runs = [_runs(numbers) for numbers in kept]
    begin = np.concatenate([run[0] for run in runs]) * block
    end = np.minimum(np.concatenate([run[1] for run in runs]) * block, kv_len)
    starts = np.cumsum([0, *(len(run[0]) for run in runs)])
    first = np.zeros(len(list_of), np.int64)
    return KeptKeys(kv_len, KeyRanges(list_of, first, np.minimum(limit, kv_len), starts, begin, end), gathers)


def from_elements(kept: npt.NDArray[np.bool_]) -> KeptKeys:
    """Kept keys of any mask, given score by score; shape ``(queries, keys)``."""
    n_q, kv_len = kept.shape
    no_limit = np.full(n_q, kv_len)
    return from_blocks(kv_len, np.arange(n_q), no_limit, 1, map(np.flatnonzero, kept))


def _runs(numbers: IntArray) -> tuple[IntArray, IntArray]:
    """Ranges of consecutive numbers: (first of each, one behind the last of each)."""
    if len(numbers) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    breaks = np.flatnonzero(np.diff(numbers) > 1)
    return numbers[np.r_[0, breaks + 1]], numbers[np.r_[breaks, len(numbers) - 1]] + 1
