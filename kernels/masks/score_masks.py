"""Kinds of attention masks: which scores an operator keeps, whatever schedule computes them.

Query i of ``q_len`` has position ``i + kv_len - q_len``. All masks but ``FullMask`` and the draft part of ``TreeMask`` are
causal on top of what they say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kernels.masks.kept_keys import KeptKeys, from_blocks, from_elements, from_limits
from kernels.masks.key_ranges import IntArray, KeyRanges

SLASH_BLOCK = 64
"""Slashes are kept as whole blocks of so many queries and keys (MInference, arXiv 2407.02490)."""


class ScoreMask(Protocol):
    """A kind of mask with its parameters."""

    @property
    def drawn(self) -> bool:
        """Whether sequences and K/V heads have different masks, drawn at random."""

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of the queries of a sequence; ``seed`` tells sequences and K/V heads apart if the mask is drawn."""


def positions(q_len: int, kv_len: int) -> IntArray:
    """Position of each query in its sequence."""
    return np.arange(kv_len - q_len, kv_len)


@dataclass(frozen=True)
class FullMask:
    """Every query sees every key."""

    drawn: bool = False

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """See :class:`ScoreMask`."""
        return from_limits(kv_len, np.zeros(q_len, np.int64), np.full(q_len, kv_len))


@dataclass(frozen=True)
class CausalMask:
    """Every query sees the keys up to its own."""

    drawn: bool = False

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """See :class:`ScoreMask`."""
        position = positions(q_len, kv_len)
        return from_limits(kv_len, np.zeros_like(position), position + 1)


@dataclass(frozen=True)
class WindowMask:
    """Every query sees the last ``window`` keys, its own included (Mistral 7B: 4096)."""

    window: int
    drawn: bool = False

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """See :class:`ScoreMask`."""
        position = positions(q_len, kv_len)
        return from_limits(kv_len, position + 1 - self.window, position + 1)


@dataclass(frozen=True)
class SinkMask:
    """The first ``sinks`` keys and the last ``window`` ones (StreamingLLM, arXiv 2309.17453)."""

    sinks: int
    window: int
    drawn: bool = False

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """See :class:`ScoreMask`."""
        position = positions(q_len, kv_len)
        sinks = min(self.sinks, kv_len)
        recent = np.maximum(position + 1 - self.window, sinks)
        begin = np.stack([np.zeros_like(recent), recent], axis=1).ravel()
        end = np.stack([np.full_like(recent, sinks), np.maximum(position + 1, recent)], axis=1).ravel()
        starts = 2 * np.arange(q_len + 1)
        ranges = KeyRanges(np.arange(q_len), np.zeros_like(position), position + 1, starts, begin, end)
        return KeptKeys(kv_len, ranges)


@dataclass(frozen=True, eq=False)
class BlockSparseMask:
    """Blocks of ``block x block`` scores; ``rows[r]``: ascending key blocks of query block r."""

    block: int
    rows: tuple[IntArray, ...]
    drawn: bool = False

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """See :class:`ScoreMask`; ``ValueError`` if the pattern has no row for some query."""
        position = positions(q_len, kv_len)
        if kv_len > self.block * len(self.rows):
            raise ValueError(f"{len(self.rows)} rows of blocks of {self.block}: fewer than {kv_len} positions need")
        return from_blocks(kv_len, position // self.block, position + 1, self.block, self._inside(kv_len))

    def _inside(self, kv_len: int) -> list[IntArray]:
        return [row[row * self.block < kv_len] for row in self.rows]


@dataclass(frozen=True)
class RandomBlocksMask:
    """Blocks of ``block x block`` scores, each kept with probability ``share``, and those on the diagonal."""

    block: int
    share: float
    drawn: bool = True

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """See :class:`ScoreMask`."""
        random, n_blocks = np.random.default_rng(seed), -(-kv_len // self.block)
        rows = []
        for r in range(n_blocks):
            chosen = random.random(r + 1) < self.share
            chosen[r] = True
            rows.append(np.flatnonzero(chosen))
        return BlockSparseMask(self.block, tuple(rows)).kept(q_len, kv_len)


@dataclass(frozen=True)
class VerticalSlashMask:
    """``vertical`` keys that all queries see, and ``slashes`` distances at which every query sees a key (MInference).

    Vertical keys are drawn evenly, the first key among them. Slashes come in bands: one half are the shortest distances, the
    other half bands of 64 at drawn distances. A slash is kept as the blocks of 64 queries and 64 keys that it passes through,
    as MInference's kernel does; vertical keys outside of those are gathered one by one.
    """

    vertical: int
    slashes: int
    drawn: bool = True

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """See :class:`ScoreMask`."""
        random = np.random.default_rng(seed)
        columns = _draw_with_first(random, kv_len, self.vertical)
        distances = _draw_bands(random, kv_len, self.slashes)
        position = positions(q_len, kv_len)
        first_row = int(position[0]) // SLASH_BLOCK
        rows = (self._row(r, kv_len, columns, distances) for r in range(first_row, -(-kv_len // SLASH_BLOCK)))
        return from_blocks(kv_len, position // SLASH_BLOCK - first_row, position + 1, 1, rows, gathers=1)

    def _row(self, row: int, kv_len: int, columns: IntArray, distances: IntArray) -> IntArray:
        first = row * SLASH_BLOCK - distances
        blocks = np.concatenate([first, first + SLASH_BLOCK - 1]) // SLASH_BLOCK
        kept = np.zeros((-(-kv_len // SLASH_BLOCK), SLASH_BLOCK), np.bool_)
        kept[np.unique(blocks[(blocks >= 0) & (blocks <= row)])] = True
        kept.ravel()[columns] = True
        return np.flatnonzero(kept.ravel()[: min(kv_len, (row + 1) * SLASH_BLOCK)])


@dataclass(frozen=True)
class PagesMask:
    """``budget`` keys on whole pages of ``page`` keys, the newest page among them (Quest, arXiv 2406.10774).

    All queries of a sequence share their pages, which are drawn evenly: what a selection pass chooses depends on the values.
    Tiles of keys are gathered from pages.
    """

    page: int
    budget: int
    drawn: bool = True

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """See :class:`ScoreMask`."""
        n_pages = -(-kv_len // self.page)
        newest = np.arange((kv_len - q_len) // self.page, n_pages)
        others = max(0, min(self.budget // self.page, n_pages) - len(newest))
        chosen = np.random.default_rng(seed).choice(n_pages - len(newest), others, replace=False)
        return pages_kept(q_len, kv_len, self.page, np.sort(np.concatenate([chosen, newest])))


def pages_kept(q_len: int, kv_len: int, page: int, chosen: IntArray) -> KeptKeys:
    """Queries that see the given pages, as far as they are causal."""
    position = positions(q_len, kv_len)
    return from_blocks(kv_len, np.zeros(q_len, np.int64), position + 1, page, [chosen], gathers=page)


@dataclass(frozen=True)
class TreeMask:
    """The drafted tokens of a tree see all keys before the draft and their own ancestors in it (Medusa, EAGLE).

    ``parents[i]``: index of the node that node i continues, below i; -1 for the root, the last token that is certain.
    """

    parents: tuple[int, ...]
    drawn: bool = False

    def ancestors(self) -> npt.NDArray[np.bool_]:
        """Whether node i sees node j; shape ``(nodes, nodes)``."""
        seen = np.eye(len(self.parents), dtype=np.bool_)
        for i, parent in enumerate(self.parents):
            if parent >= 0:
                seen[i] |= seen[parent]
        return seen

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """See :class:`ScoreMask`; ``ValueError`` if ``q_len`` is not the number of nodes."""
        if q_len != len(self.parents):
            raise ValueError(f"{q_len} queries, but a tree of {len(self.parents)} nodes")
        context = np.ones((q_len, kv_len - q_len), np.bool_)
        return from_elements(np.concatenate([context, self.ancestors()], axis=1))


def _draw_with_first(random: np.random.Generator, n: int, count: int) -> IntArray:
    """``count`` of the numbers below ``n``, ascending, 0 among them; all of them if there are no more."""
    others = random.choice(n - 1, min(count, n) - 1, replace=False) + 1 if n > 1 else np.zeros(0, np.int64)
    return np.sort(np.concatenate([[0], others]))


def _draw_bands(random: np.random.Generator, n: int, count: int) -> IntArray:
    """``count`` numbers below ``n``: the smallest ones, and as many in bands of SLASH_BLOCK or fewer that begin anywhere."""
    near = -(-min(count, n) // 2)
    bands = random.integers(near, max(n, near + 1), -(-(count - near) // SLASH_BLOCK))
    far = (bands[:, None] + np.arange(SLASH_BLOCK)).ravel()[: max(0, count - near)]
    return np.concatenate([np.arange(near), far[far < n]])
