"""Kinds of attention masks: which scores an operator keeps, whatever schedule computes them.

Query i of ``q_len`` has position ``i + kv_len - q_len``. All masks but ``FullMask`` and the draft part of a tree are
causal on top of what they say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kernels.masks.kept_keys import KeptKeys, from_blocks, from_limits
from kernels.masks.key_ranges import KeyRanges
from uarch.arrays import IntArray
from uarch.errors import InputError
from uarch.files.reading import one_line

LARGEST = 1 << 24
"""Largest number in a mask."""
SLASH_BLOCK = 64
"""Edge of the blocks of queries and keys as which slashes are kept (MInference, arXiv 2407.02490)."""


class ScoreMask(Protocol):
    """Base of the masks, each a kind with its parameters."""

    @property
    def drawn(self) -> bool:
        """Whether sequences and K/V heads have different masks, drawn at random."""

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of the queries of a sequence; ``seed`` tells sequences and K/V heads apart if the mask is drawn."""


class WrittenMask:
    """A mask that users can ask for, by a name and numbers; see :mod:`kernels.masks.registry`."""

    @classmethod
    def written(cls, text: str, arguments: str, names: tuple[str, ...]) -> Any:
        """Make the mask of ``text``, in which ``arguments`` stand for ``names``; :class:`uarch.InputError` if they do not.

        This one takes numbers, in the order of the fields of the class.
        """
        return cls(*numbers(text, arguments, names))

    def problem(self, q_len: int, kv_len: int, phase: str) -> str:
        """Say why the mask does not suit sequences of such lengths in a phase; empty if it does."""
        return ""


def numbers(text: str, arguments: str, names: tuple[str, ...]) -> list[int]:
    """Read a whole number for each of ``names``; :class:`uarch.InputError` shows the mask's ``text`` if there is none."""
    parts = [part.strip() for part in arguments.split(",")] if names else []
    found = [int(part) for part in parts if part.isdecimal() and 1 <= int(part) <= LARGEST]
    if len(found) != len(names) or len(parts) != len(names):
        kind = text.partition(":")[0]
        raise InputError(
            f"mask = {one_line(text)!r}: must be {kind}:{','.join(names)} with numbers from 1 to {LARGEST}"
        )
    return found


def positions(q_len: int, kv_len: int) -> IntArray:
    """Position of each query in its sequence."""
    return np.arange(kv_len - q_len, kv_len)


@dataclass(frozen=True)
class FullMask(WrittenMask):
    """Mask under which every query sees every key."""

    drawn: bool = False

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of a sequence's queries: see :class:`ScoreMask`."""
        return from_limits(kv_len, np.zeros(q_len, np.int64), np.full(q_len, kv_len))


@dataclass(frozen=True)
class CausalMask(WrittenMask):
    """Mask under which every query sees the keys up to its own."""

    drawn: bool = False

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of a sequence's queries: see :class:`ScoreMask`."""
        position = positions(q_len, kv_len)
        return from_limits(kv_len, np.zeros_like(position), position + 1)


@dataclass(frozen=True)
class WindowMask(WrittenMask):
    """Mask under which every query sees the last ``window`` keys, its own included (Mistral 7B: 4096)."""

    window: int
    drawn: bool = False

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of a sequence's queries: see :class:`ScoreMask`."""
        position = positions(q_len, kv_len)
        return from_limits(kv_len, position + 1 - self.window, position + 1)


@dataclass(frozen=True)
class SinkMask(WrittenMask):
    """The first ``sinks`` keys and the last ``window`` ones (StreamingLLM, arXiv 2309.17453)."""

    sinks: int
    window: int
    drawn: bool = False

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of a sequence's queries: see :class:`ScoreMask`."""
        position = positions(q_len, kv_len)
        sinks = min(self.sinks, kv_len)
        recent = np.maximum(position + 1 - self.window, sinks)
        begin = np.stack([np.zeros_like(recent), recent], axis=1).ravel()
        end = np.stack([np.full_like(recent, sinks), np.maximum(position + 1, recent)], axis=1).ravel()
        starts = 2 * np.arange(q_len + 1)
        ranges = KeyRanges(np.arange(q_len), np.zeros_like(position), position + 1, starts, begin, end)
        return KeptKeys(kv_len, ranges)


@dataclass(frozen=True)
class VerticalSlashMask(WrittenMask):
    """``vertical`` keys that all queries see, and ``slashes`` distances at which every query sees a key (MInference).

    Vertical keys are drawn evenly, the first key among them. Slashes come in bands: one half are the shortest distances, the
    other half bands of 64 at drawn distances. A slash is kept as the blocks of 64 queries and 64 keys that it passes through,
    as MInference's kernel does; vertical keys outside of those are gathered one by one.
    """

    vertical: int
    slashes: int
    drawn: bool = True

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of a sequence's queries: see :class:`ScoreMask`."""
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
class PagesMask(WrittenMask):
    """``budget`` keys on whole pages of ``page`` keys, the newest page among them (Quest, arXiv 2406.10774).

    All queries of a sequence share their pages, which are drawn evenly: what a selection pass chooses depends on the values.
    Tiles of keys are gathered from pages.
    """

    page: int
    budget: int
    drawn: bool = True

    @classmethod
    def written(cls, text: str, arguments: str, names: tuple[str, ...]) -> PagesMask:
        """See :class:`WrittenMask`; the budget must be whole pages."""
        page, budget = numbers(text, arguments, names)
        if budget % page:
            raise InputError(f"mask = {one_line(text)!r}: BUDGET must be a multiple of PAGE")
        return cls(page, budget)

    def problem(self, q_len: int, kv_len: int, phase: str) -> str:
        """See :class:`WrittenMask`."""
        several = phase == "prefill" or (phase == "step" and q_len > 1)
        return "pages are selected for single new tokens, in decode" if several else ""

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of a sequence's queries: see :class:`ScoreMask`."""
        n_pages = -(-kv_len // self.page)
        newest = np.arange((kv_len - q_len) // self.page, n_pages)
        others = max(0, min(self.budget // self.page, n_pages) - len(newest))
        chosen = np.random.default_rng(seed).choice(n_pages - len(newest), others, replace=False)
        return pages_kept(q_len, kv_len, self.page, np.sort(np.concatenate([chosen, newest])))


def pages_kept(q_len: int, kv_len: int, page: int, chosen: IntArray) -> KeptKeys:
    """Queries that see the given pages, as far as they are causal."""
    position = positions(q_len, kv_len)
    return from_blocks(kv_len, np.zeros(q_len, np.int64), position + 1, page, [chosen], gathers=page)


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
