"""The new tokens of a batch: which rows of activations belong to which sequence, and at which positions they stand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kernels.program.address_space import Tensor
from kernels.vector.cutting import RowChunks, cut_rows
from uarch.arrays import IntArray


@dataclass(frozen=True, eq=False)
class NewTokens:
    """The newest tokens of every sequence, in rows one sequence after the other; int64 arrays of shape ``(sequences,)``."""

    q_len: IntArray
    """New tokens of each sequence."""
    kv_len: IntArray
    """Tokens of each sequence, the new ones included."""
    base_row: int = 0
    """Row of the first sequence's first token."""
    is_part: bool = False
    """Whether the rows hold other sequences too."""

    @staticmethod
    def uniform(batch: int, q_len: int, kv_len: int) -> NewTokens:
        """Sequences that are all alike."""
        return NewTokens(np.full(batch, q_len), np.full(batch, kv_len))

    @property
    def total(self) -> int:
        """New tokens of all sequences together."""
        return int(self.q_len.sum())

    @property
    def equal_q_len(self) -> int | None:
        """New tokens of each sequence if all have as many: activations then have a batch entry for each."""
        if self.is_part or (self.q_len != self.q_len[0]).any():
            return None
        return int(self.q_len[0])

    @property
    def first_position(self) -> IntArray:
        """Position of the first new token of each sequence."""
        return self.kv_len - self.q_len

    @property
    def first_row(self) -> IntArray:
        """Row of the first new token of each sequence."""
        return self.base_row + np.cumsum(self.q_len) - self.q_len

    @property
    def last_rows(self) -> IntArray:
        """Row of the last token of each sequence."""
        return self.first_row + self.q_len - 1

    @cached_property
    def sequence(self) -> IntArray:
        """Number of the sequence that each row belongs to, shape ``(total,)``."""
        return np.repeat(np.arange(len(self.q_len)), self.q_len)

    @cached_property
    def positions(self) -> IntArray:
        """Position of each row's token in its sequence, shape ``(total,)``."""
        return self.base_row + np.arange(self.total) - (self.first_row - self.first_position)[self.sequence]

    def part(self, first: int, end: int) -> NewTokens:
        """Sequences ``first`` to ``end - 1`` where they lie among the others."""
        base_row, chosen = int(self.first_row[first]), slice(first, end)
        return NewTokens(self.q_len[chosen], self.kv_len[chosen], base_row, is_part=True)

    def entries(self, rows: Tensor) -> Tensor:
        """Rows of all new tokens, in the batch entries that :meth:`cut` counts in."""
        return rows.as_rows() if self.equal_q_len is None else rows.in_batches_of(self.equal_q_len)

    def caches(self, rows: Tensor) -> Tensor:
        """Rows that may be longer batch entries, as of a cache, if sequences have equally many new tokens."""
        return rows.as_rows() if self.equal_q_len is None else rows

    def rows_in_caches(self, rows: Tensor, first: int) -> IntArray:
        """Row of each new token if the rows from ``first`` on of each batch entry of :meth:`caches` are the new tokens'."""
        row = self.base_row + np.arange(self.total)
        if self.equal_q_len is None:
            return row
        return self.sequence * rows.rows + first + row % self.equal_q_len

    def cut(self, rows_per_chunk: int) -> tuple[RowChunks, IntArray]:
        """Chunks of rows of one sequence each, and the position of each chunk's first token.

        Rows are counted from the start of a batch entry: a sequence if all have equally many tokens, else there is one entry.
        """
        if self.equal_q_len is not None:
            chunks = cut_rows(len(self.q_len), self.equal_q_len, rows_per_chunk)
            return chunks, self.first_position[chunks.batch] + chunks.row
        pieces = -(-self.q_len // rows_per_chunk)
        sequence = np.repeat(np.arange(len(pieces)), pieces)
        offset = (np.arange(len(sequence)) - (np.cumsum(pieces) - pieces)[sequence]) * rows_per_chunk
        n_rows = np.minimum(rows_per_chunk, self.q_len[sequence] - offset)
        chunks = RowChunks(np.zeros_like(sequence), self.first_row[sequence] + offset, n_rows)
        return chunks, self.first_position[sequence] + offset

    def __str__(self) -> str:
        if self.equal_q_len is None:
            return str(self.total)
        return f"{len(self.q_len)} x {self.equal_q_len}"
