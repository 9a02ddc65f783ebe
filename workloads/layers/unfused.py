"""Grouped-query attention in three kernels: scores, softmax and weighted sums, each through memory."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from kernels.attention.tensors import AttentionTensors
from kernels.attention.unfused import UnfusedAttention, scores_tensor
from kernels.program.address_space import Tensor
from uarch.errors import InputError
from workloads.layers.context import LayerContext
from workloads.layers.key_values import KEY_VALUES, grouped_attention, qkv_elements
from workloads.layers.layout import Layer, Layout
from workloads.layers.operator import Operator
from workloads.layers.part import LayerPart
from workloads.models.footprint import Footprint
from workloads.models.model import LayerKind, Model
from workloads.models.parallel import Shard
from workloads.predictors.kernel import Kernel
from workloads.settings.phase import Phase


class ScoreBuffers(NamedTuple):
    """What lies in memory between the kernels."""

    scores: Tensor
    probabilities: Tensor


class UnfusedLayerAttention(LayerPart[None, ScoreBuffers]):
    """Plain causal attention without fusion."""

    def serves(self, model: Model, phase: Phase, kind: LayerKind) -> bool:
        """Whether layers of a kind have this variant; see :class:`LayerPart`."""
        return phase.unfused

    def refuse(self, model: Model, phase: Phase) -> None:
        """Raise :class:`uarch.InputError` for a model whose attention is not plain."""
        if model.attention_soft_cap is not None or set(model.windows) != {None}:
            raise InputError(f"attention = 'unfused': not possible with the attention of {model.name}; allowed: flash")

    def allocate(self, layout: Layout, index: int) -> None:
        """Allocate weights and caches of a layer; see :class:`LayerPart`."""

    def allocate_shared(self, layout: Layout) -> ScoreBuffers:
        """Allocate the activations that all layers use in turn; see :class:`LayerPart`."""
        attention = grouped_attention(layout)
        return ScoreBuffers(*(scores_tensor(layout.space, name, attention) for name in ScoreBuffers._fields))

    def operators(self, context: LayerContext, layer: Layer) -> list[Operator]:
        """Operators of the part in order of execution; see :class:`LayerPart`."""
        shape, buffers = grouped_attention(context.layout), context.buffers
        tensors = AttentionTensors(buffers.q, layer.of(KEY_VALUES).cache, buffers.context)
        attention = UnfusedAttention(shape, tensors, *buffers.of(self), context.space)
        searches = cache(lambda: context.mapper.search_unfused(attention))
        heads, dtype = shape.batch * shape.kv_heads, shape.dtype
        rows = shape.group * shape.q_len
        qk = Kernel("batched_gemm", (heads, rows, shape.kv_len, shape.head_dim), dtype)
        softmax = Kernel("softmax", (heads * rows, shape.kv_len), dtype)
        pv = Kernel("batched_gemm", (heads, rows, shape.head_dim, shape.kv_len), dtype)
        return [
            Operator("qk", "attention", lambda: (attention.qk(searches()[0].mapping),), (qk,)),
            Operator("softmax", "softmax", lambda: (attention.softmax(context.vector_kernels),), (softmax,)),
            Operator("pv", "attention", lambda: (attention.pv(searches()[1].mapping),), (pv,)),
        ]

    def live_elements(self, model: Model, shard: Shard, footprint: Footprint) -> int:
        """Elements of the buffers that are live at once; see :class:`LayerPart`."""
        if not footprint.unfused:
            return 0
        tokens = footprint.tokens
        scores, qkv = tokens * shard.q_heads * footprint.kv_len, qkv_elements(model, shard, tokens)
        stream, context = tokens * model.hidden, tokens * shard.q_heads * model.head_dim
        return max(
            stream + qkv + 2 * scores,  # softmax: scores in, probabilities out
            stream + qkv + scores + context,  # product of probabilities and values
        )


UNFUSED_ATTENTION = UnfusedLayerAttention()
