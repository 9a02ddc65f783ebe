"""The sequences of an attention batch: how long each is, and where its queries and keys lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uarch.arrays import IntArray


@dataclass(frozen=True, eq=False)
class Sequences:
    """int64 arrays of shape ``(count,)``; rows are those of the tensors with all batch entries one after the other.

    ``q_len`` new tokens see ``kv_len`` keys, their own included. Queries begin at row ``first_q`` and keys at row
    ``first_kv``, or in a paged cache on the pages ``pages[s]`` of ``page_size`` rows each.
    """

    q_len: IntArray
    kv_len: IntArray
    first_q: IntArray
    first_kv: IntArray
    page_size: int = 0
    """Keys of a page; 0: keys of a sequence lie one after the other."""
    pages: tuple[IntArray, ...] = ()

    @property
    def count(self) -> int:
        """Number of sequences."""
        return len(self.q_len)

    def run(self, tile_k: int) -> int:
        """Consecutive rows of a tile of ``tile_k`` keys: all of them, or those of a page.

        Raises ``ValueError`` if a tile is not made of whole pages nor a page of whole tiles.
        """
        run = min(self.page_size, tile_k) if self.page_size else tile_k
        if self.page_size and (tile_k % run or self.page_size % run):
            raise ValueError(f"tiles of {tile_k} keys and pages of {self.page_size} do not fit into each other")
        return run

    def rows(self, s: int, keys: IntArray) -> IntArray:
        """Rows of some keys of sequence ``s``, counted from ``base_row``."""
        if not self.page_size:
            return keys
        return self.pages[s][keys // self.page_size] * self.page_size + keys % self.page_size

    def base_row(self, s: int) -> int:
        """Row from which :meth:`rows` counts."""
        return 0 if self.page_size else int(self.first_kv[s])

    def part(self, first: int, end: int) -> Sequences:
        """Sequences ``first`` to ``end - 1``."""
        chosen = slice(first, end)
        q_len, kv_len, pages = self.q_len[chosen], self.kv_len[chosen], self.pages[chosen]
        return Sequences(q_len, kv_len, self.first_q[chosen], self.first_kv[chosen], self.page_size, pages)


def uniform(batch: int, q_len: int, kv_len: int) -> Sequences:
    """Equally long sequences, one batch entry each."""
    entry = np.arange(batch)
    return Sequences(np.full(batch, q_len), np.full(batch, kv_len), entry * q_len, entry * kv_len)


def packed(q_len: IntArray, kv_len: IntArray) -> Sequences:
    """Sequences of any lengths, one directly after the other."""
    return Sequences(q_len, kv_len, np.cumsum(q_len) - q_len, np.cumsum(kv_len) - kv_len)


def paged(sequences: Sequences, page_size: int, *, seed: int = 0) -> Sequences:
    """Sequences with their keys on pages in a random order, as in a cache that has been in use for long."""
    n_pages = -(-sequences.kv_len // page_size)
    order = np.random.default_rng(seed).permutation(int(n_pages.sum()))
    pages = tuple(np.split(order, np.cumsum(n_pages)[:-1]))
    return Sequences(
        sequences.q_len, sequences.kv_len, sequences.first_q, np.zeros(sequences.count, np.int64), page_size, pages
    )
