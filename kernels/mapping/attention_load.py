"""What the closed-form ranking of attention mappings looks at: how many key tiles there are to visit, and how wide they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

import numpy as np

from kernels.attention.sequences import Sequences, uniform
from kernels.attention.shape import AttentionShape, FlashMapping
from kernels.masks.score_masks import CausalMask, FullMask, ScoreMask
from uarch.datatypes import datatype

SAMPLED_TILES = 64
"""Query tiles of a sequence whose key tiles are counted; if there are more, these stand for all."""


@dataclass(frozen=True, eq=False)
class AttentionLoad:
    """An attention operator as a schedule meets it: equal sequences under a causal mask, or what is given instead."""

    shape: AttentionShape
    dtype: str = "fp16"
    """Of the queries and of the arrays' work."""
    kv_bits: int = 0
    """Of a stored element of keys and values; 0: those of ``dtype``."""
    dequantise_ops: int = 0
    sequences: Sequences | None = None
    mask: ScoreMask | None = None
    visit_all: bool = False
    row_tile: tuple[int, int] | None = None
    """Query positions and packed heads of a block, if they are given."""
    most_keys: int | None = None
    """Of a step, if that is limited: keys that lie together."""
    _visited: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether all sequences are equally long and the mask is the shape's own."""
        return self.sequences is None and self.mask is None

    @property
    def q_bits(self) -> int:
        """Of an element of the queries."""
        return datatype(self.dtype).bits

    @property
    def stored_bits(self) -> int:
        """Of an element of keys and values."""
        return self.kv_bits or self.q_bits

    @property
    def kv_rows(self) -> int:
        """Keys of all sequences together."""
        if self.sequences is None:
            return self.shape.batch * self.shape.kv_len
        return int(self.sequences.kv_len.sum())

    def query_tiles(self, tile_q: int) -> int:
        """Query tiles of one head, all sequences together."""
        if self.sequences is None:
            return self.shape.batch * ceil(self.shape.q_len / tile_q)
        return int((-(-self.sequences.q_len // tile_q)).sum())

    def tiles_of_core(self, mapping: FlashMapping, cores: int) -> int:
        """Key tiles that the busiest core visits: its share of all, or those of the longest block."""
        shape, heads = self.shape, self.shape.q_heads // mapping.pack
        if self.is_plain:
            visible = shape.kept_scores / shape.q_len + (mapping.tile_k if shape.causal else 0) / 2
            blocks = heads * self.query_tiles(mapping.tile_q) * mapping.splits
            return ceil(blocks / cores) * ceil(min(visible, shape.kv_len) / mapping.tile_k / mapping.splits)
        total, longest = self._visited_tiles(mapping.tile_q, mapping.tile_k)
        return max(ceil(longest / mapping.splits), ceil(total * heads / cores))

    def steps(self, mapping: FlashMapping) -> int:
        """Key tiles of all blocks together, with what cutting into parts adds: how fine a schedule is."""
        shape = self.shape
        if self.is_plain:
            return -(-shape.q_len // mapping.tile_q) * (-(-shape.kv_len // mapping.tile_k) + 2 * mapping.splits)
        total, _ = self._visited_tiles(mapping.tile_q, mapping.tile_k)
        blocks = self.query_tiles(mapping.tile_q) * mapping.splits
        return round(shape.q_heads // mapping.pack * (total + 2 * blocks))

    def l2_seconds(self, mapping: FlashMapping, l2_bytes_per_second: float) -> float:
        """Time for which L2 delivers keys and values, about half of them to several cores at a time; 0 if plain, where
        tiles of queries are chosen as high as cores allow."""
        if self.is_plain:
            return 0.0
        shape = self.shape
        width = shape.head_dim if shape.latent else shape.head_dim + shape.value_width
        tiles = self._visited_tiles(mapping.tile_q, mapping.tile_k)[0] * shape.q_heads // mapping.pack
        return tiles * mapping.tile_k * width * self.stored_bits / 8 / (2 * l2_bytes_per_second)

    def loaded_rows(self, mapping: FlashMapping) -> float:
        """Keys of one K/V head that have to come from memory."""
        if self.is_plain:
            return self.kv_rows
        return min(self.kv_rows, self._visited_tiles(mapping.tile_q, mapping.tile_k)[0] * mapping.tile_k)

    def l1_bytes(self, mapping: FlashMapping) -> int:
        """What a block occupies in L1: its stages, its queries, and a staged tile if it has one."""
        shape = self.shape
        widest = max(shape.head_dim, shape.value_width)
        rows = mapping.tile_q * mapping.pack
        staged = mapping.tile_k * widest * self.q_bits // 8 if self.dequantise_ops or shape.latent else 0
        stages = mapping.stages * mapping.tile_k * widest * self.stored_bits // 8
        return stages + rows * shape.head_dim * self.q_bits // 8 + staged

    def _visited_tiles(self, tile_q: int, tile_k: int) -> tuple[float, float]:
        """Key tiles of all query tiles of one head, and most of one; of drawn masks, one drawing stands for all."""
        if (tile_q, tile_k) not in self._visited:
            shape = self.shape
            sequences = self.sequences or uniform(shape.batch, shape.q_len, shape.kv_len)
            mask = self.mask or (CausalMask() if shape.causal else FullMask())
            lengths = np.stack([sequences.q_len, sequences.kv_len], axis=1)
            total = longest = 0.0
            for (q_len, kv_len), times in zip(*np.unique(lengths, axis=0, return_counts=True), strict=True):
                kept = mask.kept(int(q_len), int(kv_len), (0, 0))
                n_tiles = ceil(q_len / tile_q)
                chosen = np.unique(np.linspace(0, n_tiles - 1, min(n_tiles, SAMPLED_TILES)).round().astype(np.int64))
                scores = kept.queries(chosen, tile_q).tile_counts(tile_q, tile_k) / (tile_q * tile_k)
                visits = np.ceil(scores)
                if kept.gathers:
                    visits = np.minimum(1, scores * (4 if kept.gathers == 1 else 1))
                of_tiles = np.full(len(visits), visits.shape[1]) if self.visit_all else visits.sum(axis=1)
                total += float(times * of_tiles.mean() * n_tiles)
                longest = max(longest, float(of_tiles.max()))
            self._visited[tile_q, tile_k] = total, longest
        return self._visited[tile_q, tile_k]
