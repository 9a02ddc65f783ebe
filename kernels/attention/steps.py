"""The steps of a block of streamed attention: what is loaded, multiplied and exponentiated for each tile of keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kernels.attention.attention import Attention, FlashMapping
from kernels.attention.tensors import KvCache
from kernels.attention.units import Units
from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, ElementMasks, Grid, Ints, Slot
from uarch.arrays import IntArray
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.program.records import Function

OPS_PER_SCORE = 5
"""Lane-operations of a streamed softmax per score besides the exponential: scale, maximum, subtract, sum, convert."""
OPS_PER_RESCALED = 1
"""Operations per accumulator element and key block: multiplication with the change of the maximum."""
_COPY_BYTES = 16


@dataclass(frozen=True, eq=False)
class StreamTiles:
    """Units with the part of their key tiles that a block streams; int64 arrays of shape ``(units,)``."""

    units: Units
    first_whole: IntArray
    n_whole: IntArray
    n_short: IntArray
    first_gathered: IntArray
    n_gathered: IntArray

    @staticmethod
    def of(units: Units, first: IntArray, last: IntArray) -> StreamTiles:
        """Tiles ``first`` to ``last - 1``, counted in the order whole, short, gathered."""
        ends = np.cumsum([units["whole_tiles"], units["short_tiles"], units["gathered_tiles"]], axis=0)
        low, high = np.minimum(first, ends), np.minimum(last, ends)
        counts = np.diff(high, axis=0, prepend=0) - np.diff(low, axis=0, prepend=0)
        return StreamTiles(units, low[0], counts[0], counts[1], low[2] - low[1], counts[2])


@dataclass(frozen=True, eq=False)
class _KeyTiles:
    """Key tiles that a loop walks over: keys of a tile, and where their rows and masks stand in the tables."""

    width: Ints
    run: Ints
    runs: Ints
    table: IntArray
    masks: IntArray
    repeat: IntArray
    step: Ints
    """Table entries from a tile to the next."""


@dataclass(frozen=True, eq=False)
class StreamSteps:
    """Writes the steps of streaming blocks."""

    attention: Attention
    cache: KvCache
    mapping: FlashMapping

    QUERIES: ClassVar = Slot(0)
    SCORES: ClassVar = Slot(1)
    WEIGHTS: ClassVar = Slot(2)
    OUTPUT: ClassVar = Slot(3)
    STATS: ClassVar = Slot(4)
    RESULT: ClassVar = Slot(5)
    STAGED: ClassVar = Slot(6)
    PAGES: ClassVar = Slot(7)

    @property
    def is_staged(self) -> bool:
        """Whether tiles become a slot before the arrays use them: to be dequantised, or to be used twice."""
        return self.attention.dequantise_ops > 0 or self.attention.latent

    @property
    def steps_per_tile(self) -> int:
        """Two products and a softmax, and a step for each staged tile."""
        return 3 + (0 if not self.is_staged else 1 if self.attention.latent else 2)

    def count(self, tiles: StreamTiles) -> int:
        """Steps before those at the end of a block."""
        loops = 3 if tiles.n_gathered.any() else 2
        return 1 + (self.cache.storage.page_table is not None) + loops * self.steps_per_tile

    def write(self, grid: Grid, q: Tensor, tiles: StreamTiles) -> None:
        """Load page-table entries and queries, then stream all key tiles."""
        units, j = tiles.units, 0
        table = self.cache.storage.page_table
        if table is not None:
            entries = Box(table, 1, units["pages"], row=units["sequence"], col=units["first_page"])
            grid.vector(j, Function.IDENTITY, entries, self.PAGES, m=1, n=units["pages"], ops_per_element=0)
            j += 1
        pack, head_dim = self.mapping.pack, self.attention.head_dim
        rows = units["n_q"] * pack
        queries = head_box(q, units, pack * head_dim, head_dim)
        grid.vector(j, Function.IDENTITY, queries, self.QUERIES, m=rows, n=head_dim, ops_per_element=0)
        j += 1
        for keys in self._loops(tiles):
            self._key_tile(grid, j, units, keys, rows, self._copy_ops(q.element_bits))
            grid.loop(j, self.steps_per_tile, keys.repeat)
            j += self.steps_per_tile
        self._resources(grid, q)

    def _loops(self, tiles: StreamTiles) -> list[_KeyTiles]:
        units, tile_k = tiles.units, self.mapping.tile_k
        runs = tile_k // units.run
        after_whole = units["whole_tiles"]
        short_width = np.maximum(units["short_width"], 1)
        short_run = np.minimum(units.run, short_width)
        loops = [
            _KeyTiles(
                tile_k,
                units.run,
                runs,
                units["key_table"] + tiles.first_whole * runs,
                units["mask_table"] + tiles.first_whole,
                tiles.n_whole,
                runs,
            ),
            _KeyTiles(
                short_width,
                short_run,
                short_width // short_run,
                units["key_table"] + after_whole * runs,
                units["mask_table"] + after_whole,
                tiles.n_short,
                runs,
            ),
        ]
        if tiles.n_gathered.any():
            gathered_runs = tile_k // units["gather_run"]
            gathered = _KeyTiles(
                tile_k,
                units["gather_run"],
                gathered_runs,
                units["gathered_key_table"] + tiles.first_gathered * gathered_runs,
                units["gathered_mask_table"] + tiles.first_gathered,
                tiles.n_gathered,
                gathered_runs,
            )
            loops.append(gathered)
        return loops

    def _key_tile(self, grid: Grid, j: int, units: Units, keys: _KeyTiles, rows: IntArray, ops_per_key: float) -> None:
        """Scores, streamed softmax, and weighted sum of the values of one tile of keys."""
        attention, cache = self.attention, self.cache
        width = attention.value_width
        array_rows = np.maximum(rows, self.mapping.array_rows)
        array_keys = self.mapping.tile_k if self.mapping.array_rows else keys.width
        computed = array_rows * array_keys / (rows * keys.width)
        k: Box | Slot = self._box(cache.k, units, keys, attention.head_dim)
        if self.is_staged:
            self._stage(grid, j, units, keys, cache.k, cache.storage.k_scales, attention.head_dim)
            k, j = self.STAGED, j + 1
        grid.matmul(
            j,
            self.QUERIES,
            k,
            self.SCORES,
            m=rows,
            n=keys.width,
            k=attention.head_dim,
            accumulate=False,
            transpose_b=True,
            array_m=array_rows,
            array_n=array_keys,
        )
        grid.vector(
            j + 1,
            Function.ONLINE_SOFTMAX,
            self.SCORES,
            self.WEIGHTS,
            b=self.STATS,
            state=self.OUTPUT,
            m=rows,
            n=keys.width,
            parameter=attention.softmax_scale,
            ops_per_element=computed * (OPS_PER_SCORE + OPS_PER_RESCALED * width / array_keys)
            + ops_per_key * array_keys / (rows * keys.width),
            special_per_element=computed,
            special_per_row=computed,
            mask=ElementMasks(keys.masks, row_repeat=self.mapping.pack),
        )
        j += 2
        v: Box | Slot = self._box(cache.v, units, keys, width)
        if attention.latent:
            v = Slot(self.STAGED.index, col=0, n_cols=width)
        elif self.is_staged:
            self._stage(grid, j, units, keys, cache.v, cache.storage.v_scales, width)
            v, j = self.STAGED, j + 1
        grid.matmul(
            j, self.WEIGHTS, v, self.OUTPUT, m=rows, n=width, k=keys.width, array_m=array_rows, array_k=array_keys
        )

    def _stage(
        self, grid: Grid, j: int, units: Units, keys: _KeyTiles, tensor: Tensor, scales: Tensor | None, width: int
    ) -> None:
        """Load a tile into a slot, its elements converted and scaled."""
        grid.vector(
            j,
            Function.IDENTITY if scales is None else Function.SCALE_ROWS,
            self._box(tensor, units, keys, width),
            self.STAGED,
            b=None if scales is None else self._box(scales, units, keys, 1),
            m=keys.width,
            n=width,
            ops_per_element=self.attention.dequantise_ops,
        )

    def _copy_ops(self, element_bits: int) -> float:
        """Lane-operations that bring a key and its value into L1, with elements as the arrays take them."""
        attention = self.attention
        width = attention.head_dim if attention.latent else attention.head_dim + attention.value_width
        return width * element_bits / (8 * _COPY_BYTES) * self.mapping.copy_ops

    def _box(self, tensor: Tensor, units: Units, keys: _KeyTiles, width: int) -> Box:
        kv_head = units["head"] // self.attention.group
        return Box(
            tensor.as_rows(),
            n_rows=keys.run,
            n_cols=width,
            row=units["base_row"],
            col=kv_head * width,
            n_batch=keys.runs,
            step_batch=keys.step,
            table=keys.table,
        )

    def _resources(self, grid: Grid, q: Tensor) -> None:
        """L1 holds the stages and the queries; accumulators, scores and staged tiles are registers or L1 of their own."""
        attention, mapping, bits = self.attention, self.mapping, self.cache.k.element_bits
        rows = max(mapping.tile_q * mapping.pack, mapping.array_rows)
        widest = max(attention.head_dim, attention.value_width)
        staged_bytes = mapping.tile_k * widest * q.element_bits // 8 if self.is_staged else 0
        grid.resources(
            stages=mapping.stages,
            l1_bytes=mapping.stages * mapping.tile_k * widest * bits // 8
            + rows * attention.head_dim * q.element_bits // 8
            + staged_bytes,
            register_bytes=rows * (mapping.tile_k + attention.value_width) * ACCUMULATOR_BYTES,
        )


def head_box(tensor: Tensor, units: Units, n_cols: int, head_width: int) -> Box:
    """Rows of a query tile, columns of its packed heads."""
    return Box(tensor, n_rows=units["n_q"], n_cols=n_cols, row=units["q_row"], col=units["head"] * head_width)
