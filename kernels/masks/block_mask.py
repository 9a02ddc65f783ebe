"""Block masks: kept keys at the granularity of a schedule, in compressed sparse rows (CSR) over blocks of scores.

A block is a tile of ``tile_q`` queries and ``tile_k`` keys. Blocks without a kept score are skipped, full ones are computed
as they are, partial ones with an element mask. Attention programs are built from block masks alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import gcd

import numpy as np

from kernels.masks.kept_keys import KeptKeys
from uarch.arrays import BoolArray, IntArray
from uarch.program.records import NONE

GATHERED_BELOW = 4
"""Share of a tile's keys, as one in this number, below which its kept keys are gathered singly instead of loading the tile."""

COUNTED_TILES = 128
"""Number of query tiles whose kept scores are counted at a time."""


@dataclass(frozen=True, eq=False)
class BlockMask:
    """Blocks of one sequence that a schedule visits.

    Query tile t visits the key tiles ``key_tile[starts[t]:starts[t + 1]]`` in ascending order; ``pattern`` of the same
    length has the number of the element mask in ``patterns``, or NONE for a full block. Then it visits the gathered tiles
    ``gathered_starts[t]`` to ``gathered_starts[t + 1] - 1``: ``gathered_keys``, int64 of shape ``(gathered tiles,
    tile_k)``, lists their keys, and ``gathered_pattern`` their masks.
    """

    q_len: int
    kv_len: int
    tile_q: int
    tile_k: int
    last_width: int
    """Keys of the last key tile as it is loaded: whole runs of rows."""
    starts: IntArray
    key_tile: IntArray
    pattern: IntArray
    gather_run: int
    """Consecutive keys in a gathered tile."""
    gathered_starts: IntArray
    gathered_keys: IntArray
    gathered_pattern: IntArray
    patterns: tuple[BoolArray, ...]
    kept_scores: int

    @property
    def has_short_tile(self) -> BoolArray:
        """Whether each query tile visits a last key tile that is shorter than the others."""
        short = -(-self.kv_len // self.tile_k) - 1 if self.last_width < self.tile_k else NONE
        last = self.key_tile[np.maximum(self.starts[1:] - 1, 0)] if len(self.key_tile) else self.starts[1:] * 0
        visits: BoolArray = (np.diff(self.starts) > 0) & (last == short)
        return visits

    @cached_property
    def tiles(self) -> IntArray:
        """Key tiles that each query tile visits, gathered ones included."""
        return np.diff(self.starts) + np.diff(self.gathered_starts)

    @cached_property
    def computed_scores(self) -> int:
        """Scores of all visited blocks: kept ones and padding."""
        n_q = np.minimum(self.tile_q, self.q_len - self.tile_q * np.arange(len(self.tiles)))
        keys = self.tiles * self.tile_k - np.where(self.has_short_tile, self.tile_k - self.last_width, 0)
        return int((n_q * keys).sum())


@dataclass
class Patterns:
    """Element masks, each kept once."""

    numbers: dict[tuple[tuple[int, ...], bytes], int] = field(default_factory=dict)
    masks: list[BoolArray] = field(default_factory=list)

    def number(self, kept: BoolArray) -> int:
        """Number of a mask in ``masks``, which it enters if it is new; NONE if it keeps everything."""
        if kept.all():
            return NONE
        key = kept.shape, np.packbits(kept).tobytes()
        if key not in self.numbers:
            self.numbers[key] = len(self.masks)
            self.masks.append(kept)
        return self.numbers[key]


def block_mask(kept: KeptKeys, tile_q: int, tile_k: int, *, run: int = 1, visit_all: bool = False) -> BlockMask:
    """The blocks of ``tile_q x tile_k`` scores in which some score is kept, or with ``visit_all`` all blocks.

    ``run``: keys lie in memory in runs of so many rows, which are loaded as a whole, also the last one.
    """
    n_tiles, last_tile = -(-kept.q_len // tile_q), -(-kept.kv_len // tile_k) - 1
    last_width = -(-(kept.kv_len - last_tile * tile_k) // run) * run
    patterns, kept_scores = Patterns(), 0
    rows: list[IntArray] = []
    numbers: list[IntArray] = []
    gathered = _Gathered(tile_k, gcd(kept.gathers, tile_k, run if run > 1 else 0) if kept.gathers else 1)
    for t in range(n_tiles):
        if t % COUNTED_TILES == 0:
            chunk = np.arange(t, min(t + COUNTED_TILES, n_tiles))
            counts = kept.queries(chunk, tile_q).tile_counts(tile_q, tile_k)
            kept_scores += int(counts.sum())
        of_tile = counts[t % COUNTED_TILES]
        q0 = t * tile_q
        n_q = min(tile_q, kept.q_len - q0)
        visited = np.arange(last_tile + 1) if visit_all else np.flatnonzero(of_tile)
        if kept.gathers and not visit_all:
            visited = gathered.take(kept, q0, n_q, visited, patterns)
        widths = np.where(visited == last_tile, last_width, tile_k)
        pattern = np.full(len(visited), NONE)
        for entry in np.flatnonzero(of_tile[visited] < n_q * widths):
            pattern[entry] = patterns.number(kept.tile(q0, n_q, visited[entry] * tile_k, widths[entry]))
        rows.append(visited)
        numbers.append(pattern)
        gathered.starts.append(len(gathered.keys))
    return BlockMask(
        q_len=kept.q_len,
        kv_len=kept.kv_len,
        tile_q=tile_q,
        tile_k=tile_k,
        last_width=last_width,
        starts=np.cumsum([0, *map(len, rows)]),
        key_tile=np.concatenate(rows),
        pattern=np.concatenate(numbers),
        gather_run=gathered.run,
        gathered_starts=np.array(gathered.starts),
        gathered_keys=np.array(gathered.keys, np.int64).reshape(-1, tile_k),
        gathered_pattern=np.array(gathered.numbers, np.int64),
        patterns=tuple(patterns.masks),
        kept_scores=kept_scores,
    )


@dataclass
class _Gathered:
    """Tiles of keys that do not lie together, collected over the query tiles."""

    tile_k: int
    run: int
    starts: list[int] = field(default_factory=lambda: [0])
    keys: list[IntArray] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def take(self, kept: KeptKeys, q0: int, n_q: int, visited: IntArray, patterns: Patterns) -> IntArray:
        """Gather the kept keys of sparsely kept tiles; returns the visited tiles without those.

        Single keys are gathered where they are few, longer runs from all tiles that are not seen from end to end. The last
        tile, which may be shorter, is always visited as it is.
        """
        runs = np.unique(np.flatnonzero(kept.key_union(q0, n_q)) // self.run)
        runs_of_tile = self.tile_k // self.run
        per_tile = np.bincount(runs // runs_of_tile, minlength=int(visited.max(initial=0)) + 1)
        least = runs_of_tile if self.run > 1 else -(-runs_of_tile // GATHERED_BELOW)
        sparse = visited[(per_tile[visited] < least) & (visited < (kept.kv_len - 1) // self.tile_k)]
        runs = runs[np.isin(runs // runs_of_tile, sparse)]
        keys = (runs[:, None] * self.run + np.arange(self.run)).ravel()
        for first in range(0, len(keys), self.tile_k):
            some = keys[first : first + self.tile_k]
            elements = np.zeros((n_q, self.tile_k), np.bool_)
            elements[:, : len(some)] = kept.elements(q0, n_q, some)
            last_run = np.tile(some[-self.run :], (self.tile_k - len(some)) // self.run)
            self.keys.append(np.concatenate([some, last_run]))
            self.numbers.append(patterns.number(elements))
        return np.setdiff1d(visited, sparse)
