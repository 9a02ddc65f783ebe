"""How well the pieces of a decomposed batch pack onto cores.

Verification of drafted tokens for requests with different contexts (request decomposition, SPIN, arXiv 2503.15921): a long
context is cut into pieces of about one length, which go to different blocks; their partial softmax results are merged
exactly. Blocks are dispatched longest request first, each to the core that is free first: longest-processing-time-first
scheduling, whose makespan is at most 4/3 of the best one (Graham 1969).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from kernels.program.tile_program import TileProgram
from uarch.arrays import IntArray
from uarch.program.records import NONE


@dataclass(frozen=True)
class PiecePacking:
    """Key tiles as the unit of work; each piece is a block."""

    pieces: int
    longest_piece_tiles: int
    makespan_tiles: int
    """Tiles of keys that the busiest core visits."""
    lower_bound_tiles: int
    """No assignment is shorter: all tiles shared out evenly, or the longest piece."""

    @property
    def efficiency(self) -> float:
        """Lower bound over makespan."""
        return self.lower_bound_tiles / self.makespan_tiles


def key_tiles_of_blocks(program: TileProgram) -> IntArray:
    """Key tiles that each streaming block of an attention program visits, in dispatch order; int64."""
    softmax = (program.steps["mask_table"] != NONE) * program.executions()
    ends = np.concatenate([[0], np.cumsum(softmax)])
    first = program.blocks["first_step"]
    tiles: IntArray = ends[first + program.blocks["n_steps"]] - ends[first]
    return tiles[tiles > 0]


def pack_pieces(tiles: IntArray, cores: int) -> PiecePacking:
    """Pieces in order, each to the core with the least work so far."""
    work = [0] * cores
    for piece in tiles.tolist():
        heapq.heapreplace(work, work[0] + piece)
    longest = int(tiles.max())
    return PiecePacking(len(tiles), longest, max(work), max(-(-int(tiles.sum()) // cores), longest))
