"""Exchange of rows between the chips of an expert-parallel group, as one of its ranks executes it.

A rank *pulls* segments of rows from the matrices of its peers, which have the same name and shape everywhere, beginning
with its right neighbour so that no chip is asked by all at a time. What it takes from itself is a copy in its own memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.experts.routing import Routing
from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import RowFootprint, rows_per_block
from uarch.arrays import IntArray
from uarch.chip.schema import Chip
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.program.records import Function


@dataclass(frozen=True, eq=False)
class Segments:
    """Runs of rows that a rank takes over; int64 arrays of equal length."""

    peer: IntArray
    source: IntArray
    """First row in the peer's matrix."""
    target: IntArray
    """First row in the rank's own."""
    rows: IntArray

    def reversed(self) -> Segments:
        """Segments of the way back: what peers pull from this rank, as if it pulled them from its peers."""
        return Segments(self.peer, self.target, self.source, self.rows)


@dataclass(frozen=True, eq=False)
class Exchange:
    """Exchange of the copies of every rank's tokens among ``ranks`` chips that hold equally many experts each.

    ``routings``: of each rank's own tokens. Rank p computes experts ``p * experts_per_rank`` on; it receives their rows
    sorted by expert, those of an expert by the rank they come from.
    """

    routings: tuple[Routing, ...]

    @property
    def ranks(self) -> int:
        """Chips of the group."""
        return len(self.routings)

    @property
    def experts_per_rank(self) -> int:
        """Number of experts that each chip holds."""
        return self.routings[0].n_experts // self.ranks

    @property
    def counts(self) -> IntArray:
        """Rows by rank that they come from and expert; shape ``(ranks, experts)``."""
        return np.array([routing.rows for routing in self.routings], np.int64)

    def rows(self, rank: int) -> tuple[int, ...]:
        """Rows of each expert of a rank."""
        return tuple(self.counts[:, self._experts(rank)].sum(axis=0).tolist())

    @property
    def busiest_rank(self) -> int:
        """Rank that receives most rows, the first of equals."""
        return int(np.argmax([sum(self.rows(rank)) for rank in range(self.ranks)]))

    def dispatch(self, rank: int) -> Segments:
        """Segments that a rank pulls from the permuted matrices of all ranks, its own included, from its right neighbour on."""
        counts, experts = self.counts, self._experts(rank)
        source = (np.cumsum(counts, axis=1) - counts)[:, experts]
        received = counts[:, experts].T  # by expert, then by rank
        target = (np.cumsum(received) - received.ravel()).reshape(received.shape).T
        return _ordered(rank, self.ranks, source, target, counts[:, experts])

    def combine(self, rank: int) -> Segments:
        """Segments that a rank pulls of the results of its own tokens' copies, to where they were in its permuted matrix."""
        parts = []
        for peer in range(self.ranks):
            segments = self.dispatch(peer)
            own = segments.peer == rank
            parts.append((peer, segments.target[own], segments.source[own], segments.rows[own]))
        parts = parts[rank + 1 :] + parts[: rank + 1]
        source, target, rows = (np.concatenate([part[i] for part in parts]) for i in (1, 2, 3))
        return Segments(np.repeat([part[0] for part in parts], [len(part[1]) for part in parts]), source, target, rows)

    def _experts(self, rank: int) -> slice:
        return slice(rank * self.experts_per_rank, (rank + 1) * self.experts_per_rank)


def _ordered(rank: int, ranks: int, source: IntArray, target: IntArray, rows: IntArray) -> Segments:
    """Segments of ``(ranks, experts)``, those of the right neighbour first, empty ones left out."""
    order = (rank + 1 + np.arange(ranks)) % ranks
    peer = np.repeat(order, rows.shape[1])
    present = rows[order].ravel() > 0
    return Segments(peer[present], *(array[order].ravel()[present] for array in (source, target, rows)))


def all_to_all(
    name: str, chip: Chip, segments: Segments, x: Tensor, out: Tensor, *, rank: int, ranks: int, dtype: str = "fp16"
) -> TileProgram:
    """Tile program that copies rows of all ranks' ``x`` into this rank's ``out``.

    Both have the same columns, and room for all segments on any rank.

    Raises:
        InputError: a row does not fit into a core.
        ValueError: there are no rows, or the columns differ.
    """
    x, out = x.as_rows(), out.as_rows()
    if not len(segments.rows):
        raise ValueError(f"{name}: rank {rank} receives no rows")
    if x.cols != out.cols:
        raise ValueError(f"{name}: columns of {x.name} and {out.name} differ")
    total = int(segments.rows.sum())
    row = RowFootprint(-(-x.cols * x.element_bits // 8), x.cols * ACCUMULATOR_BYTES)
    chunk = rows_per_block(name, chip, total, row)
    pieces = _cut(segments, chunk)
    writer = ProgramWriter(name, "all_to_all", f"{total} x {x.cols} over {ranks}", dtype)
    for peer in dict.fromkeys(segments.peer.tolist()):
        of_peer = pieces.peer == peer
        source = x if peer == rank else x.at_peer(peer, 0)
        n_rows = pieces.rows[of_peer]
        grid = writer.grid(int(of_peer.sum()), 1)
        grid.vector(
            0,
            Function.IDENTITY,
            Box(source, n_rows, x.cols, row=pieces.source[of_peer]),
            Slot(0),
            m=n_rows,
            n=x.cols,
            store=Box(out, n_rows, x.cols, row=pieces.target[of_peer]),
        )
        grid.resources(stages=1, l1_bytes=chunk * row.l1_bytes, register_bytes=chunk * row.register_bytes)
    return writer.finish(0)


def _cut(segments: Segments, rows_per_piece: int) -> Segments:
    """Segments cut into runs of at most ``longest`` rows."""
    pieces = -(-segments.rows // rows_per_piece)
    first = (np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * rows_per_piece
    rows = np.minimum(rows_per_piece, np.repeat(segments.rows, pieces) - first)
    source, target = (np.repeat(array, pieces) + first for array in (segments.source, segments.target))
    return Segments(np.repeat(segments.peer, pieces), source, target, rows)
