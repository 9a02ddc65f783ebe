"""Native sparse attention (NSA) as a sequence of programs: gates, compression, compressed attention, selection, selected
attention, window attention, gated sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernels.attention.attention import Attention, FlashMapping
from kernels.attention.native_sparse_steps import CompressedCache, compress, compressed_cache, gated_sum, select_blocks
from kernels.attention.sequences import Sequences
from kernels.attention.streamed import flash_attention
from kernels.attention.tensors import AttentionTensors, KvCache
from kernels.gemm.weights import Weights
from kernels.mapping.mapper import Mapper, Search
from kernels.masks.native_sparse import CompressedMask, NativeSparse, SelectedMask
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import TileProgram
from uarch.chip.schema import Chip
from uarch.datatypes import ACCUMULATOR_BYTES
from workloads.layers.context import LayerContext
from workloads.layers.key_values import KEY_VALUES, grouped_attention
from workloads.layers.layout import Layer, Layout
from workloads.layers.operator import Operator, Programs
from workloads.layers.part import LayerPart
from workloads.models.footprint import Footprint
from workloads.models.model import LayerKind, Model
from workloads.models.parallel import Shard
from workloads.settings.phase import Phase

BRANCHES = 3
"""Compressed, selected, window: the order of their gates."""

Step = Callable[[], tuple[TileProgram, Search[Any] | None]]
"""Builds a program, after the search for its mapping if it has one."""


@dataclass(frozen=True, eq=False)
class BranchBuffers:
    """What the programs hand on, and the gates, a column for each branch and head."""

    gates: Tensor
    compressed: Tensor
    selected: Tensor
    """Results of these branches; the window's lie in the output until the sum."""
    stats: Tensor
    """(maximum, sum) of the softmax over compressed keys, for each head."""


@dataclass(frozen=True, eq=False)
class NativeSparseAttention:
    """Native sparse attention of equally long sequences; branches share keys and values, while the paper's have their own."""

    attention: Attention
    """Plain causal attention on the same sequences."""
    pattern: NativeSparse

    def allocate(self, space: AddressSpace) -> BranchBuffers:
        """Allocate what is needed besides the operands of attention and the compressed cache: rows for all new tokens."""
        attention, bits = self.attention, self.attention.element_bits

        def rows(name: str, cols: int, element_bits: int = bits) -> Tensor:
            return space.allocate(name, attention.q_len, cols, element_bits, batch=attention.batch)

        width = attention.q_heads * attention.value_width
        return BranchBuffers(
            gates=rows("gates", BRANCHES * attention.q_heads),
            compressed=rows("out_compressed", width),
            selected=rows("out_selected", width),
            stats=rows("softmax_stats", 2 * attention.q_heads, 8 * ACCUMULATOR_BYTES),
        )

    @property
    def first_query(self) -> int:
        """First query of each sequence that sees a compressed key."""
        return self.pattern.first_query(self.attention.q_len, self.attention.kv_len)

    def compressed(self) -> Attention | None:
        """The branch over compressed keys; None while there are none."""
        q_len, kv_len = self.attention.q_len - self.first_query, self.attention.kv_len
        if q_len == 0:
            return None
        mask = CompressedMask(self.pattern, kv_len)
        return replace(self.attention, q_len=q_len, kv_len=self.pattern.summaries(kv_len), mask=mask)

    def selected(self) -> Attention:
        """The branch over selected blocks: as in the paper's kernel a block of the program is a query with the heads that share
        its keys, and a step loads keys that lie together."""
        pattern, row_tile = self.pattern, (1, self.attention.group)
        return replace(self.attention, mask=SelectedMask(pattern), row_tile=row_tile, most_keys=pattern.selection)

    def window(self) -> Attention:
        """The branch over the last keys."""
        return replace(self.attention, mask=self.pattern.window_mask())

    def steps(
        self,
        chip: Chip,
        mapper: Mapper,
        tensors: AttentionTensors,
        cache: CompressedCache,
        buffers: BranchBuffers,
        space: AddressSpace,
    ) -> list[tuple[str, Step]]:
        """Names of the programs and what builds them, in order of execution."""
        attention, pattern, q, out = self.attention, self.pattern, tensors.q, tensors.out
        compression = compress(attention, pattern, tensors.cache.k, tensors.cache.v, cache)
        steps = [] if compression is None else [(compression.name, _given(compression))]
        compressed = self.compressed()
        if compressed is not None:
            summaries = KvCache(cache.keys, cache.values, self._compressed_sequences(compressed, cache))
            of_branch = AttentionTensors(q, summaries, buffers.compressed, buffers.stats)
            steps.append(_branch(compressed, "compressed", of_branch, mapper, space))
        selection = select_blocks(attention, pattern, q, buffers.stats, cache, space)
        steps += [(program.name, _given(program)) for program in selection]
        steps.append(_branch(self.selected(), "selected", replace(tensors, out=buffers.selected), mapper, space))
        steps.append(_branch(self.window(), "window", tensors, mapper, space))
        branches = ((buffers.compressed, self.first_query), (buffers.selected, 0), (out, 0))
        total = gated_sum(chip, branches, buffers.gates, out, attention)
        return [*steps, (total.name, _given(total))]

    def _compressed_sequences(self, compressed: Attention, cache: CompressedCache) -> Sequences:
        """Queries from ``first_query`` on, and the filled rows of the compressed cache."""
        batch, entry = compressed.batch, np.arange(compressed.batch)
        return Sequences(
            np.full(batch, compressed.q_len),
            np.full(batch, compressed.kv_len),
            entry * self.attention.q_len + self.first_query,
            entry * cache.keys.rows + self.pattern.lead,
        )


def _branch(
    attention: Attention, name: str, tensors: AttentionTensors, mapper: Mapper, space: AddressSpace
) -> tuple[str, Step]:
    name = f"attention_{name}"

    def build(mapping: FlashMapping) -> TileProgram:
        return flash_attention(name, attention, tensors, mapping, space)

    def step() -> tuple[TileProgram, Search[FlashMapping]]:
        search = mapper.search_attention(attention, build)
        return build(search.mapping), search

    return name, step


def _given(program: TileProgram) -> Step:
    return lambda: (program, None)


@dataclass(frozen=True)
class NativeSparseTensors:
    """What a layer has besides keys and values."""

    cache: CompressedCache
    gate: Weights
    """Weights from the hidden state to a gate for each branch and head."""


class NativeSparsePart(LayerPart[NativeSparseTensors, BranchBuffers]):
    """Native sparse attention in a layer: gates from the hidden state, then the programs of its branches."""

    def serves(self, model: Model, phase: Phase, kind: LayerKind) -> bool:
        """Whether layers of a kind have this variant: those without a window, if the phase asks for it."""
        return phase.native_sparse is not None and kind.window is None

    def allocate(self, layout: Layout, index: int) -> NativeSparseTensors:
        """Allocate weights and caches of a layer; see :class:`LayerPart`."""
        sparse = _of_phase(layout)
        cache = compressed_cache(sparse.attention, sparse.pattern, layout.space, f".{index}")
        gates = BRANCHES * layout.shard.q_heads
        return NativeSparseTensors(cache, layout.weights(f"w_gates.{index}", layout.model.hidden, gates))

    def allocate_shared(self, layout: Layout) -> BranchBuffers:
        """Allocate the activations that all layers use in turn; see :class:`LayerPart`."""
        return _of_phase(layout).allocate(layout.space)

    def operators(self, context: LayerContext, layer: Layer) -> list[Operator]:
        """Operators of the part in order of execution; see :class:`LayerPart`."""
        buffers, tensors, branches = context.buffers, layer.of(self), context.buffers.of(self)
        operands = AttentionTensors(buffers.q, layer.of(KEY_VALUES).cache, buffers.context)
        sparse = _of_phase(context.layout)
        steps = sparse.steps(context.chip, context.mapper, operands, tensors.cache, branches, context.space)
        gates = context.product("gates", buffers.normed, tensors.gate, branches.gates)
        return [gates, *(Operator(name, "attention", _built(step)) for name, step in steps)]

    def live_elements(self, model: Model, shard: Shard, footprint: Footprint) -> int:
        """Elements of the buffers that are live at once (:class:`LayerPart`): its branches are not counted."""
        return 0


def _of_phase(layout: Layout) -> NativeSparseAttention:
    """Native sparse attention as the phase asks for it; the paper's sizes if it does not say more."""
    return NativeSparseAttention(grouped_attention(layout), layout.phase.native_sparse or NativeSparse())


def _built(step: Step) -> Callable[[], Programs]:
    return lambda: (step()[0],)


NATIVE_SPARSE = NativeSparsePart()
