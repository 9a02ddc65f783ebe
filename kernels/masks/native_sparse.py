"""Native sparse attention (NSA, arXiv 2502.11089): which keys its three branches see.

A query sees summaries of all blocks of keys before it (compressed), the keys of a few blocks that the scores of the
summaries point out (selected), and the last keys (window). Each branch is attention with a mask of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.masks.kept_keys import KeptKeys, from_blocks, from_limits
from kernels.masks.score_masks import WindowMask, WrittenMask, numbers, positions
from uarch.errors import InputError
from uarch.files.reading import one_line

INITIAL_BLOCKS = 1
LOCAL_BLOCKS = 2
"""Selected blocks that are always among them: the first ones, and the last ones with the query's own (section 4.1)."""


@dataclass(frozen=True)
class NativeSparse(WrittenMask):
    """Sizes in tokens; those of the paper's model (section 4.1) if left out.

    ``stride`` must divide ``block`` and ``selection``, and ``block`` must not exceed ``selection``.
    """

    block: int = 32
    """Tokens that a compressed key stands for."""
    stride: int = 16
    """Tokens from one of them to the next."""
    selection: int = 64
    """Tokens of a selected block."""
    selected: int = 16
    """Selected blocks, those that always are among them."""
    window: int = 512

    @classmethod
    def written(cls, text: str, arguments: str, names: tuple[str, ...]) -> NativeSparse:
        """See :class:`WrittenMask`; without arguments it is the paper's."""
        if not arguments and ":" not in text:
            return cls()
        pattern = cls(*numbers(text, arguments, names))
        if pattern.block % pattern.stride or pattern.selection % pattern.stride:
            raise InputError(f"mask = {one_line(text)!r}: STRIDE must divide BLOCK and SELECTION")
        if pattern.block > pattern.selection or pattern.chosen < 0:
            least = INITIAL_BLOCKS + LOCAL_BLOCKS
            raise InputError(f"mask = {one_line(text)!r}: BLOCK must be at most SELECTION, and COUNT at least {least}")
        return pattern

    @property
    def lead(self) -> int:
        """Rows of the compressed cache before the first key, so that every selected block has as many rows beside it: those
        that overlap with it."""
        return self.block // self.stride - 1

    @property
    def chosen(self) -> int:
        """Selected blocks that scores decide on."""
        return self.selected - INITIAL_BLOCKS - LOCAL_BLOCKS

    def summaries(self, kv_len: int) -> int:
        """Compressed keys of ``kv_len`` keys: one for each whole block."""
        return max(0, (kv_len - self.block) // self.stride + 1)

    def compressed_rows(self, kv_len: int) -> int:
        """Rows of the compressed cache: enough for every stride of the selected blocks."""
        return self.lead + self.blocks(kv_len) * (self.selection // self.stride)

    def blocks(self, kv_len: int) -> int:
        """Blocks to select from."""
        return -(-kv_len // self.selection)

    def first_query(self, q_len: int, kv_len: int) -> int:
        """First query that sees a compressed key; ``q_len`` if none does."""
        return min(q_len, max(0, self.block - 1 - (kv_len - q_len)))

    def window_mask(self) -> WindowMask:
        """Mask of the third branch, attention over the newest keys."""
        return WindowMask(self.window)


@dataclass(frozen=True)
class CompressedMask:
    """Queries that see all compressed keys whose block has ended; ``kv_len`` is the number of compressed keys."""

    pattern: NativeSparse
    keys: int
    """Keys of the sequence before compression."""
    drawn: bool = False

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of a sequence's queries: see :class:`kernels.masks.score_masks.ScoreMask`."""
        pattern = self.pattern
        ended = (positions(q_len, self.keys) + 1 - pattern.block) // pattern.stride + 1
        return from_limits(kv_len, np.zeros(q_len, np.int64), np.maximum(ended, 0))


@dataclass(frozen=True)
class SelectedMask:
    """The first and the last blocks of every query, and others drawn evenly among those between: what selection would
    choose depends on the values. Heads of a group share their blocks."""

    pattern: NativeSparse
    drawn: bool = True

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of a sequence's queries: see :class:`kernels.masks.score_masks.ScoreMask`."""
        pattern, position = self.pattern, positions(q_len, kv_len)
        random, own = np.random.default_rng(seed), position // pattern.selection
        rows = []
        for block in own.tolist():
            last = np.arange(max(0, block - LOCAL_BLOCKS + 1), block + 1)
            first = np.arange(min(INITIAL_BLOCKS, last[0]))
            between = int(last[0]) - len(first)
            drawn = np.sort(random.permutation(between)[: pattern.chosen]) + len(first)
            rows.append(np.concatenate([first, drawn, last]))
        return from_blocks(kv_len, np.arange(q_len), position + 1, pattern.selection, rows, gathers=pattern.selection)
