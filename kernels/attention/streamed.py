"""Streamed attention: the FlashAttention schedule, in prefill, decode and verification, under any mask.

Tensors: Q and the output are ``batch x q_len x (q_heads * head_dim)``, the K and V caches ``batch x kv_len x
(kv_heads * head_dim)``, or as :class:`kernels.attention.sequences.Sequences` says; query head h uses K/V head
``h // (q_heads / kv_heads)``. The newest query is at the position of the newest key, so that a causal mask keeps key j of
query i if ``j <= i + kv_len - q_len``.

Programs are built from block masks: a query tile visits the key tiles that its row of the mask lists, wherever their rows
lie. A cache split over blocks is merged by further blocks of the same program (FlashDecoding).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kernels.attention.attention import MERGE_STAGES, Attention, FlashMapping, merge_l1_bytes
from kernels.attention.steps import StreamSteps, StreamTiles, head_box
from kernels.attention.tensors import AttentionTensors
from kernels.attention.units import Units, attention_units, parts_of
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import Box, Grid, ProgramWriter, TileProgram
from kernels.vector.elementwise import SOFT_CAP_OPS, SOFT_CAP_SPECIAL_OPS
from uarch.arrays import IntArray
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.program.records import Function, Op

_O, _STATS, _RESULT = StreamSteps.OUTPUT, StreamSteps.STATS, StreamSteps.RESULT


def flash_attention(
    name: str, attention: Attention, tensors: AttentionTensors, mapping: FlashMapping, space: AddressSpace
) -> TileProgram:
    """Tile program that streams K and V once per block, with a running softmax; nothing of size q x kv is stored.

    Key tiles that the mask drops entirely are not visited, unless the batch is padded. Useful work is that of the real
    sequences. ``space`` has room for the partial results of a cache that is split.

    Raises:
        ValueError: packed heads that do not share a K/V head, a query without keys, or pages that do not suit the tiles.
    """
    if attention.group % mapping.pack:
        raise ValueError(f"{name}: pack {mapping.pack}; {attention.group} query heads share a K/V head")
    writer = ProgramWriter(name, "attention", str(attention), attention.dtype)
    units = attention_units(writer, attention, mapping, tensors.cache.sequences)
    stream = _Stream(writer, attention, tensors, mapping)
    if mapping.splits == 1:
        stream.whole(units)
        stream.empty(units)
    else:
        stream.split(units, space)
    kept_scores = attention.kept_scores if attention.padded else units.kept_scores
    program = writer.finish(attention.flops_of(kept_scores))
    return _soft_capped(program) if attention.soft_capped else program


def _soft_capped(program: TileProgram) -> TileProgram:
    """Add the vector work of a soft cap on all scores (Gemma 2); a replay computes them without the cap."""
    steps = program.steps.copy()
    chosen = (steps["op"] == Op.VECTOR) & np.isin(steps["function"], (Function.SOFTMAX, Function.ONLINE_SOFTMAX))
    scores = np.where(chosen, steps["m"] * steps["n"], 0)
    steps["vector_ops"] += SOFT_CAP_OPS * scores
    steps["special_ops"] += SOFT_CAP_SPECIAL_OPS * scores
    return replace(program, steps=steps)


class _Stream:
    """Writes the grids of one program."""

    def __init__(
        self, writer: ProgramWriter, attention: Attention, tensors: AttentionTensors, mapping: FlashMapping
    ) -> None:
        self.writer, self.attention, self.mapping = writer, attention, mapping
        self.q, self.out = tensors.q.as_rows(), tensors.out.as_rows()
        self.stats = tensors.stats.as_rows() if tensors.stats else None
        self.steps = StreamSteps(attention, tensors.cache, mapping)

    def whole(self, units: Units) -> None:
        """Blocks that stream all keys of their unit and store the result."""
        grid, end = self._grid(units, np.zeros(units.count, np.int64), units.tiles, self._stores)
        self._store(grid, end, units)

    def empty(self, units: Units) -> None:
        """Blocks without work between those of :meth:`whole`: they start and end."""
        self.writer.grid(int(units.empty_after.sum()), 0).resources(stages=1, l1_bytes=0)
        number = np.arange(units.count)
        after = np.concatenate([number, np.repeat(number, units.empty_after)])
        self.writer.dispatch_order = np.argsort(after, kind="stable")

    def split(self, units: Units, space: AddressSpace) -> None:
        """Blocks for each part of a unit, which store partial sums with their maxima, then blocks that merge those.

        Units of which there is one part only store their result themselves.
        """
        parts = parts_of(units, self.mapping.splits)
        cut, left = np.flatnonzero(parts > 1), np.flatnonzero(parts == 1)
        scratch = self._parts(units.select(cut), parts[cut], space) if len(cut) else None
        if len(left):
            self.whole(units.select(left))
        if scratch:
            self._merge(units.select(cut), parts[cut], scratch)

    def _parts(self, units: Units, n_parts: IntArray, space: AddressSpace) -> tuple[Tensor, Tensor]:
        tile_rows, name = self._tile_rows, self.writer.name
        rows, bits, batch = units.count * tile_rows, 8 * ACCUMULATOR_BYTES, int(n_parts.max())
        sums = space.scratch(f"{name}.sums", rows, self.attention.value_width, bits, batch=batch)
        stats = space.scratch(f"{name}.stats", rows, 2, bits, batch=batch, after=sums)
        unit = np.repeat(np.arange(units.count), n_parts)
        part = np.arange(len(unit)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
        parts = units.select(unit)
        tiles, count = parts.tiles, n_parts[unit]
        grid, end = self._grid(parts, part * tiles // count, (part + 1) * tiles // count, 2)
        n_rows = parts["n_q"] * self.mapping.pack
        for j, slot, tensor in ((end, _O, sums), (end + 1, _STATS, stats)):
            box = Box(tensor, n_rows=n_rows, n_cols=tensor.cols, row=unit * tile_rows, batch=part)
            grid.vector(j, Function.IDENTITY, slot, _RESULT, m=n_rows, n=tensor.cols, store=box)
        grid.signal(unit)
        self.writer.n_counters = units.count
        return sums, stats

    def _merge(self, units: Units, n_parts: IntArray, scratch: tuple[Tensor, Tensor]) -> None:
        sums, stats = scratch
        tile_rows, width = self._tile_rows, self.attention.value_width
        grid = self.writer.grid(units.count, 1 + self._stores)
        rows = units["n_q"] * self.mapping.pack
        first_row = np.arange(units.count) * tile_rows
        grid.vector(
            0,
            Function.MERGE,
            Box(sums, n_rows=rows, n_cols=width, row=first_row, step_batch=1),
            _O,
            b=Box(stats, n_rows=rows, n_cols=2, row=first_row, step_batch=1),
            state=_STATS,
            m=rows,
            n=width,
            ops_per_element=2,
            special_per_row=2,
        )
        grid.loop(0, 1, n_parts)
        self._store(grid, 1, units)
        grid.wait(np.arange(units.count), n_parts)
        l1_bytes = merge_l1_bytes(self.attention, self.mapping)
        grid.resources(stages=MERGE_STAGES, l1_bytes=l1_bytes, register_bytes=l1_bytes // MERGE_STAGES)

    @property
    def _stores(self) -> int:
        """Steps that store a unit's result."""
        return 1 if self.stats is None else 2

    @property
    def _tile_rows(self) -> int:
        return self.mapping.tile_q * self.mapping.pack

    def _grid(self, units: Units, first: IntArray, last: IntArray, n_end_steps: int) -> tuple[Grid, int]:
        """Blocks that stream key tiles ``first`` to ``last - 1`` of their units; the caller writes the steps at the end."""
        tiles = StreamTiles.of(units, first, last)
        end = self.steps.count(tiles)
        grid = self.writer.grid(units.count, end + n_end_steps)
        self.steps.write(grid, self.q, tiles)
        return grid, end

    def _store(self, grid: Grid, j: int, units: Units) -> None:
        box = head_box(self.out, units, self.mapping.pack * self.attention.value_width, self.attention.value_width)
        rows = units["n_q"] * self.mapping.pack
        grid.vector(
            j,
            Function.NORMALISE,
            _O,
            _RESULT,
            b=_STATS,
            m=rows,
            n=self.attention.value_width,
            store=box,
            special_per_row=1,
        )
        if self.stats is not None:
            box = head_box(self.stats, units, self.mapping.pack * 2, 2)
            grid.vector(j + 1, Function.IDENTITY, _STATS, _RESULT, m=rows, n=2, store=box, ops_per_element=0)
