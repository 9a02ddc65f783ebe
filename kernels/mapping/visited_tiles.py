"""What the closed-form ranking of attention mappings counts: key tiles to visit, and the bytes that they take."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

import numpy as np

from kernels.attention.attention import Attention, FlashMapping

SAMPLED_TILES = 64
"""Query tiles of a sequence whose key tiles are counted; if there are more, these stand for all."""


@dataclass(frozen=True, eq=False)
class VisitedTiles:
    """Query and key tiles of an attention under any mapping; what is counted once is remembered."""

    attention: Attention
    _visited: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)

    @property
    def kv_rows(self) -> int:
        """Keys of all sequences together."""
        return int(self.attention.sequences.kv_len.sum())

    def query_tiles(self, tile_q: int) -> int:
        """Query tiles of one head, all sequences together."""
        return int((-(-self.attention.sequences.q_len // tile_q)).sum())

    def tiles_of_core(self, mapping: FlashMapping, cores: int) -> int:
        """Key tiles that the busiest core visits: its share of all, or those of the longest block."""
        attention = self.attention
        heads = attention.q_heads // mapping.pack
        if attention.is_plain:
            visible = attention.kept_scores / (attention.batch * attention.q_len)
            visible += (mapping.tile_k if attention.causal else 0) / 2
            blocks = heads * self.query_tiles(mapping.tile_q) * mapping.splits
            return ceil(blocks / cores) * ceil(min(visible, attention.kv_len) / mapping.tile_k / mapping.splits)
        total, longest = self._visited_tiles(mapping.tile_q, mapping.tile_k)
        return max(ceil(longest / mapping.splits), ceil(total * heads / cores))

    def steps(self, mapping: FlashMapping) -> int:
        """Key tiles of all blocks together, with what cutting into parts adds: how fine a schedule is."""
        attention = self.attention
        if attention.is_plain:
            return -(-attention.q_len // mapping.tile_q) * (-(-attention.kv_len // mapping.tile_k) + 2 * mapping.splits)
        total, _ = self._visited_tiles(mapping.tile_q, mapping.tile_k)
        blocks = self.query_tiles(mapping.tile_q) * mapping.splits
        return round(attention.q_heads // mapping.pack * (total + 2 * blocks))

    def l2_seconds(self, mapping: FlashMapping, l2_bytes_per_second: float) -> float:
        """Time for which L2 delivers keys and values, about half of them to several cores at a time; 0 if plain, where
        tiles of queries are chosen as high as cores allow."""
        attention = self.attention
        if attention.is_plain:
            return 0.0
        width = attention.head_dim if attention.latent else attention.head_dim + attention.value_width
        tiles = self._visited_tiles(mapping.tile_q, mapping.tile_k)[0] * attention.q_heads // mapping.pack
        return tiles * mapping.tile_k * width * attention.stored_bits / 8 / (2 * l2_bytes_per_second)

    def loaded_rows(self, mapping: FlashMapping) -> float:
        """Keys of one K/V head that have to come from memory."""
        if self.attention.is_plain:
            return self.kv_rows
        return min(self.kv_rows, self._visited_tiles(mapping.tile_q, mapping.tile_k)[0] * mapping.tile_k)

    def l1_bytes(self, mapping: FlashMapping) -> int:
        """What a block occupies in L1: its stages, its queries, and a staged tile if it has one."""
        attention = self.attention
        widest = max(attention.head_dim, attention.value_width)
        rows = mapping.tile_q * mapping.pack
        is_staged = attention.dequantise_ops or attention.latent
        staged = mapping.tile_k * widest * attention.element_bits // 8 if is_staged else 0
        stages = mapping.stages * mapping.tile_k * widest * attention.stored_bits // 8
        return stages + rows * attention.head_dim * attention.element_bits // 8 + staged

    def _visited_tiles(self, tile_q: int, tile_k: int) -> tuple[float, float]:
        """Key tiles of all query tiles of one head, and most of one; of drawn masks, one drawing stands for all."""
        if (tile_q, tile_k) not in self._visited:
            attention = self.attention
            sequences, mask = attention.sequences, attention.score_mask
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
                of_tiles = np.full(len(visits), visits.shape[1]) if attention.padded else visits.sum(axis=1)
                total += float(times * of_tiles.mean() * n_tiles)
                longest = max(longest, float(of_tiles.max()))
            self._visited[tile_q, tile_k] = total, longest
        return self._visited[tile_q, tile_k]
