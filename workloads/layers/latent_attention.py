"""Multi-head latent attention as operators (DeepSeek-V2, arXiv 2405.04434, Section 2.1).

Prefill expands keys and values of all heads from the cached latents. Decode absorbs those weights instead: queries go into
the space of the latents, which are keys and values of one head that all query heads share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kernels.attention.attention import Attention
from kernels.attention.kv_store import kv_load, kv_store
from kernels.attention.latent import latent_cache, rotate_heads, spread_to_heads
from kernels.attention.sequences import Sequences
from kernels.attention.tensors import AttentionTensors, KvCache, allocate_cache
from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.gemm.weights import Weights
from kernels.masks.score_masks import PagesMask
from kernels.program.address_space import Tensor
from kernels.program.tile_program import TileProgram
from kernels.vector.new_tokens import NewTokens
from uarch.errors import InputError
from workloads.layers.context import LayerContext
from workloads.layers.key_values import attention_elements
from workloads.layers.layout import Layer, Layout
from workloads.layers.operator import Operator
from workloads.layers.part import LayerPart
from workloads.models.footprint import Footprint
from workloads.models.model import LatentAttention, LayerKind, Model
from workloads.models.parallel import Shard
from workloads.settings.phase import Phase


@dataclass(frozen=True)
class LatentTensors:
    """Weights and cache of a layer."""

    down: Weights
    """To the latent of the queries (if they have one), the latent of keys and values, and the shared rotated key."""
    q_norm: Tensor | None
    q_up: Weights
    """From the latent of the queries, or from the hidden state, to queries of all heads."""
    kv_norm: Tensor
    k_up: Tensor
    """kv_rank x (heads * nope_dim)."""
    v_up: Tensor
    """kv_rank x (heads * value_dim)."""
    cache: KvCache


@dataclass(frozen=True)
class SequenceGroup:
    """Sequences ``first`` to ``end - 1`` of the batch, which are computed in one way."""

    first: int
    end: int


@dataclass(frozen=True)
class AbsorbedBuffers(SequenceGroup):
    """Queries in the space of the cached latents, and what attention makes of them."""

    queries: Tensor
    contexts: Tensor


@dataclass(frozen=True)
class ExpandedBuffers(SequenceGroup):
    """Keys and values of all heads."""

    keys: Tensor
    values: Tensor
    latents: Tensor | None
    """Copies of the cached latents that they are made of; None: they are made of the entries of new tokens."""


@dataclass(frozen=True)
class LatentBuffers:
    """Activations that layers share."""

    new_entries: Tensor | None
    """New entries before a kernel of its own stores them in the cache; None: they are made there."""
    q_latent: Tensor | None
    """Where queries come from; None: from the normed stream."""
    down: Tensor
    """Latent of keys and values and the shared key of new tokens, before norm and rotation."""
    groups: tuple[AbsorbedBuffers | ExpandedBuffers, ...]
    """All sequences, in order."""


class LatentPart(LayerPart[LatentTensors, LatentBuffers]):
    """Multi-head latent attention."""

    is_whole_attention = True

    def serves(self, model: Model, phase: Phase, kind: LayerKind) -> bool:
        """Whether layers of a kind have this variant; see :class:`LayerPart`."""
        return model.latent is not None

    def refuse(self, model: Model, phase: Phase) -> None:
        """Raise :class:`uarch.InputError` for unfused attention, and for a mask that selects pages or blocks."""
        if phase.unfused:
            raise InputError(f"attention = 'unfused': not possible with the attention of {model.name}; allowed: flash")
        if isinstance(phase.score_mask, PagesMask) or phase.native_sparse is not None:
            raise InputError(f"mask = {phase.mask!r}: nothing can be selected from the latent cache of {model.name}")

    def allocate(self, layout: Layout, index: int) -> LatentTensors:
        """Allocate weights and caches of a layer; see :class:`LayerPart`."""
        latent, hidden, heads = sizes_of(layout.model), layout.model.hidden, layout.shard.q_heads
        return LatentTensors(
            down=layout.weights(f"w_down.{index}", hidden, (latent.q_rank or 0) + latent.cached_dim),
            q_norm=layout.matrix(f"q_norm.{index}", 1, latent.q_rank) if latent.q_rank else None,
            q_up=layout.weights(f"w_q_up.{index}", latent.q_rank or hidden, heads * latent.head_dim),
            kv_norm=layout.matrix(f"kv_norm.{index}", 1, latent.kv_rank),
            k_up=layout.matrix(f"w_k_up.{index}", latent.kv_rank, heads * latent.nope_dim),
            v_up=layout.matrix(f"w_v_up.{index}", latent.kv_rank, heads * latent.value_dim),
            cache=allocate_cache(absorbed_attention(layout), layout.space, f"_cache.{index}"),
        )

    def allocate_shared(self, layout: Layout) -> LatentBuffers:
        """Allocate the activations that all layers use in turn; see :class:`LayerPart`."""
        latent, phase = sizes_of(layout.model), layout.phase
        new = layout.token_rows("new_keys", latent.cached_dim) if phase.stores_latents else None
        q_latent = layout.token_rows("q_latent", latent.q_rank) if latent.q_rank else None
        down = layout.token_rows("kv_down", latent.cached_dim)
        expanded = _expands(latent, phase)
        absorbed = len(expanded) - int(expanded.sum())
        groups: list[AbsorbedBuffers | ExpandedBuffers] = []
        if absorbed:
            groups.append(_absorbed_buffers(layout, absorbed))
        if absorbed < len(expanded):
            groups.append(_expanded_buffers(layout, absorbed))
        return LatentBuffers(new, q_latent, down, tuple(groups))

    def arrange(self, model: Model, phase: Phase) -> Phase:
        """Phase with its sequences in the order that the variant wants: those with absorbed weights first."""
        if phase.step is None or phase.step.is_uniform:
            return phase
        order = np.argsort(_expands(sizes_of(model), phase), kind="stable")
        return phase.of_step(phase.step.ordered(order))

    def operators(self, context: LayerContext, layer: Layer) -> list[Operator]:
        """Operators of the part in order of execution; see :class:`LayerPart`."""
        part = _LatentLayer(context, sizes_of(context.model), layer.of(self), context.buffers.of(self))
        return [*part.projections(), *part.attend()]

    def live_elements(self, model: Model, shard: Shard, footprint: Footprint) -> int:
        """Elements of the buffers that are live at once; queries, keys and values count as expanded heads."""
        if model.latent is None:
            return 0
        return attention_elements(model, shard, footprint.tokens, model.latent.value_dim)


def sizes_of(model: Model) -> LatentAttention:
    """Sizes of a model's latents; ``ValueError`` if it has none."""
    if model.latent is None:
        raise ValueError(f"{model.name} has no latent attention")
    return model.latent


def _expands(latent: LatentAttention, phase: Phase) -> npt.NDArray[np.bool_]:
    """Sequences whose keys and values are expanded for all heads: where that takes fewer multiply-accumulates.

    Absorbing costs two products for each new token, expanding costs two for each token of the context, and scores of
    expanded heads are cheaper. Single new tokens and drafts, which are few, are always absorbed, prompts always expanded.
    """
    q_len, kv_len = phase.new_tokens.q_len, phase.new_tokens.kv_len
    if phase.name != "step":
        return np.full(len(q_len), phase.name == "prefill")
    scores = q_len * kv_len - q_len * (q_len - 1) // 2
    cheaper = latent.expanded_macs(kv_len, scores) < latent.absorbed_macs(q_len, scores)
    return np.asarray((q_len > 1) & cheaper)


def _absorbed_buffers(layout: Layout, end: int) -> AbsorbedBuffers:
    """Rows for the new tokens of the first sequences."""
    latent, heads, tokens = sizes_of(layout.model), layout.shard.q_heads, layout.phase.new_tokens

    def rows(name: str, cols: int) -> Tensor:
        whole = end == len(tokens.q_len)
        return layout.token_rows(name, cols) if whole else layout.matrix(name, tokens.part(0, end).total, cols)

    queries, contexts = rows("absorbed", heads * latent.cached_dim), rows("latent_context", heads * latent.kv_rank)
    return AbsorbedBuffers(0, end, queries, contexts)


def _expanded_buffers(layout: Layout, first: int) -> ExpandedBuffers:
    """Rows for the new tokens of all sequences if they are whole prompts, else for all tokens of the last sequences."""
    latent, heads, tokens = sizes_of(layout.model), layout.shard.q_heads, layout.phase.new_tokens
    k_width, v_width, end = heads * latent.head_dim, heads * latent.value_dim, len(tokens.q_len)
    if first == 0 and (tokens.q_len == tokens.kv_len).all():
        keys, values = layout.token_rows("keys", k_width), layout.token_rows("values", v_width)
        return ExpandedBuffers(0, end, keys, values, None)
    rows = int(tokens.kv_len[first:].sum())
    keys, values = layout.matrix("keys", rows, k_width), layout.matrix("values", rows, v_width)
    return ExpandedBuffers(first, end, keys, values, layout.matrix("latents", rows, latent.cached_dim))


def absorbed_attention(layout: Layout) -> Attention:
    """Attention over the cache: one head of latents, which all query heads share."""
    latent = sizes_of(layout.model)
    return layout.attention(
        layout.shard.q_heads,
        1,
        latent.cached_dim,
        value_dim=latent.kv_rank,
        latent=True,
        scale=latent.head_dim**-0.5,
    )


def expanded_attention(layout: Layout) -> Attention:
    """Attention over the keys and values of all heads, which lie together whatever the cache is like."""
    latent, heads = sizes_of(layout.model), layout.shard.q_heads
    scale = latent.head_dim**-0.5
    attention = layout.attention(heads, heads, latent.head_dim, value_dim=latent.value_dim, scale=scale)
    return replace(attention, kv_dtype=None, page_size=0)


@dataclass(frozen=True)
class _LatentLayer:
    """The operators of one layer."""

    context: LayerContext
    latent: LatentAttention
    tensors: LatentTensors
    buffers: LatentBuffers

    def projections(self) -> list[Operator]:
        """Queries of all heads, and the new tokens' cache entries."""
        context, latent, tensors, buffers = self.context, self.latent, self.tensors, self.buffers
        down = [Output(Operand(buffers.down.as_rows()), latent.q_rank or 0, latent.cached_dim)]
        source, q_norms = context.buffers.normed, []
        if buffers.q_latent is not None and tensors.q_norm is not None:
            source = buffers.q_latent
            down.insert(0, Output(Operand(source.as_rows()), 0, source.cols))
            q_norms.append(context.norm("q_norm", source, tensors.q_norm, source))
        return [
            context.product_into("latent_down", context.buffers.normed, tensors.down, down),
            *q_norms,
            context.product("q_up", source, tensors.q_up, context.buffers.q),
            *self._new_entries(),
        ]

    def attend(self) -> list[Operator]:
        """From queries and cache entries to the context of all heads, one group of sequences after the other."""
        operators = []
        for group in self.buffers.groups:
            operators += self._absorbed(group) if isinstance(group, AbsorbedBuffers) else self._expanded(group)
        return operators

    def _tokens(self, group: SequenceGroup) -> NewTokens:
        """New tokens of a group's sequences."""
        tokens = self.context.phase.new_tokens
        whole = group.end - group.first == len(tokens.q_len)
        return tokens if whole else tokens.part(group.first, group.end)

    def _of_group(self, attention: Attention, tokens: NewTokens) -> Attention:
        """The attention of some sequences, under the mask of the phase."""
        attention = replace(attention, mask=self.context.phase.score_mask)
        return attention.of_lengths(tokens.q_len, tokens.kv_len) if tokens.is_part else attention

    @property
    def _entries(self) -> Tensor:
        """Where the new tokens' entries are made: in the cache, unless a kernel of its own takes them there."""
        return self.buffers.new_entries or self.tensors.cache.k

    def _new_entries(self) -> list[Operator]:
        new, cache, phase = self.buffers.new_entries, self.tensors.cache, self.context.phase
        entries = latent_cache(
            "latent_cache",
            self.context.chip,
            self.buffers.down,
            self._entries,
            self.tensors.kv_norm,
            self._table,
            tokens=phase.new_tokens,
            eps=self.context.model.norm_eps,
            first_row=0 if new else phase.kv_len - phase.q_len,
            dtype=phase.dtype,
        )
        operators = [Operator("latent_cache", "rope", (entries,))]
        if new is not None:
            sequences, dim = cache.sequences, self.latent.cached_dim
            stored = kv_store("kv_store", (new,), (cache.k,), sequences, cache.storage, head_dim=dim, dtype=phase.dtype)
            operators.append(Operator("kv_store", "kv_store", (stored,)))
        return operators

    def _expanded(self, group: ExpandedBuffers) -> list[Operator]:
        """Keys and values of all heads, then attention to those."""
        context, latent, heads = self.context, self.latent, self.context.shard.q_heads
        tokens, keys, values, q = self._tokens(group), group.keys, group.values, context.buffers.q
        nope, width, head = latent.nope_dim, latent.head_dim, np.arange(heads)
        k_shape = GemmShape(keys.batch * keys.rows, nope, latent.kv_rank, heads)
        k_parts = [Output(Operand(keys.as_rows(), col=head * width), 0, nope)]
        v_shape = GemmShape(keys.batch * keys.rows, heads * latent.value_dim, latent.kv_rank)
        v_parts = [Output(Operand(values.as_rows()), 0, v_shape.n)]
        attention = self._of_group(expanded_attention(context.layout), tokens)
        sequences = attention.sequences
        if group.latents is not None:
            rows_before = np.cumsum(tokens.kv_len) - tokens.kv_len
            sequences = Sequences(tokens.q_len, tokens.kv_len, tokens.first_row, rows_before)
        operands = AttentionTensors(q, KvCache(keys, values, sequences), context.buffers.context)
        names = "prefill_" if group.first else ""
        latents = Operand((group.latents or self._entries).as_rows())
        return [
            self._rotate(f"{names}q_rope", q, q, (nope, width), (nope, width), tokens),
            *self._key_positions(group, tokens),
            self._product(f"{names}k_up", k_shape, latents, Operand(self.tensors.k_up, col=head * nope), k_parts),
            self._product(f"{names}v_up", v_shape, latents, Operand(self.tensors.v_up), v_parts),
            context.attention(attention, operands, f"{names}attention"),
        ]

    def _key_positions(self, group: ExpandedBuffers, tokens: NewTokens) -> list[Operator]:
        """The rotated part of keys goes to all heads: from new entries, or from copies of the cached latents."""
        context, latent, cache, latents = self.context, self.latent, self.tensors.cache, group.latents
        target = latent.nope_dim, latent.head_dim
        if latents is None:
            return [self._rotate("k_rope", self.buffers.down, group.keys, (latent.kv_rank, 0), target, tokens)]
        ops, dtype = absorbed_attention(context.layout).dequantise_ops, context.phase.dtype
        sequences, scales = cache.sequences.part(group.first, group.end), cache.storage.k_scales
        loaded = kv_load("kv_load", cache.k, latents, sequences, scales, dequantise_ops=ops, dtype=dtype)
        spread = spread_to_heads(
            "k_rope",
            context.chip,
            latents,
            group.keys,
            heads=context.shard.q_heads,
            width=latent.rope_dim,
            source=latent.kv_rank,
            target=target,
            dtype=dtype,
        )
        return [Operator("kv_load", "kv_store", (loaded,)), Operator("k_rope", "rope", (spread,))]

    def _absorbed(self, group: AbsorbedBuffers) -> list[Operator]:
        """Every head's query in the space of the latents; attention over the cache; values of every head."""
        context, latent, head = self.context, self.latent, np.arange(self.context.shard.q_heads)
        tokens, absorbed, contexts, out = self._tokens(group), group.queries, group.contexts, context.buffers.context
        nope, rank, value_dim, q = latent.nope_dim, latent.kv_rank, latent.value_dim, context.buffers.q
        q_shape = GemmShape(tokens.total, rank, nope, len(head))
        v_shape = GemmShape(tokens.total, value_dim, rank, len(head))
        queries = Operand(q.as_rows(), col=head * latent.head_dim)
        q_parts = [Output(Operand(absorbed.as_rows(), col=head * latent.cached_dim), 0, rank)]
        v_parts = [Output(Operand(out.as_rows(), col=head * value_dim), 0, value_dim)]
        of_head = Operand(contexts.as_rows(), col=head * rank)
        k_up = Operand(self.tensors.k_up, col=head * nope)
        v_up = Operand(self.tensors.v_up, col=head * value_dim)
        attention, cache = self._of_group(absorbed_attention(context.layout), tokens), self.tensors.cache
        if tokens.is_part:
            cache = replace(cache, sequences=cache.sequences.part(group.first, group.end))
        return [
            self._rotate("q_rope", q, absorbed, (nope, latent.head_dim), (rank, latent.cached_dim), tokens),
            self._product("q_absorb", q_shape, queries, k_up, q_parts, transpose_b=True),
            context.attention(attention, AttentionTensors(absorbed, cache, contexts)),
            self._product("v_up", v_shape, of_head, v_up, v_parts),
        ]

    @property
    def _table(self) -> Tensor:
        """Cosines and sines of all positions: a part of every key is rotated."""
        table = self.context.buffers.rope
        if table is None:
            raise InputError(f"{self.context.model.name}: latent attention needs rotary positions")
        return table

    def _rotate(
        self,
        name: str,
        x: Tensor,
        out: Tensor,
        source: tuple[int, int],
        target: tuple[int, int],
        tokens: NewTokens,
    ) -> Operator:
        program = rotate_heads(
            name,
            self.context.chip,
            x,
            out,
            self._table,
            heads=self.context.shard.q_heads,
            source=source,
            target=target,
            tokens=tokens,
            dtype=self.context.phase.dtype,
        )
        return Operator(name, "rope", (program,))

    def _product(
        self, name: str, shape: GemmShape, a: Operand, b: Operand, outputs: list[Output], *, transpose_b: bool = False
    ) -> Operator:
        space, dtype = self.context.space, self.context.phase.dtype

        def build(mapping: GemmMapping) -> TileProgram:
            return gemm(name, shape, a, b, outputs, mapping, space, dtype=dtype, transpose_b=transpose_b)

        return Operator(name, "gemm", (build(self.context.mapper.gemm(shape, build)),))


LATENT_ATTENTION = LatentPart()
