"""Queries, keys and values of grouped-query attention: QKV product, norms and rotation, and the way into the KV cache."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.attention.attention import Attention
from kernels.attention.kv_store import kv_store
from kernels.attention.tensors import KvCache, allocate_cache
from kernels.gemm.gemm import Operand, Output
from kernels.gemm.weights import Weights
from kernels.program.address_space import Tensor
from kernels.vector.head_norm import head_norm
from workloads.layers.context import LayerContext
from workloads.layers.layout import Layer, Layout
from workloads.layers.operator import Operator, Programs
from workloads.layers.part import LayerPart
from workloads.models.footprint import Footprint
from workloads.models.model import LayerKind, Model
from workloads.models.parallel import Shard
from workloads.predictors.kernel import Kernel
from workloads.settings.phase import Phase


@dataclass(frozen=True)
class KeyValueTensors:
    """Weights and cache of a layer."""

    qkv: Weights
    """Weights of queries, keys and values side by side."""
    cache: KvCache
    qk_norms: tuple[Tensor, Tensor] | None
    """Weights of the norms of every head's queries and keys, if there are any."""


@dataclass(frozen=True)
class NewKeyValues:
    """Keys and values of the new tokens before a kernel of its own stores them in the cache."""

    keys: Tensor
    values: Tensor


class KeyValues(LayerPart[KeyValueTensors, NewKeyValues | None]):
    """Everything before grouped-query attention proper, which is a part of its own."""

    def serves(self, model: Model, phase: Phase, kind: LayerKind) -> bool:
        """Whether layers of a kind have this variant: all that no other serves."""
        return True

    def allocate(self, layout: Layout, index: int) -> KeyValueTensors:
        """Allocate weights and caches of a layer; see :class:`LayerPart`."""
        model, shard = layout.model, layout.shard
        width = (shard.q_heads + 2 * shard.kv_heads) * model.head_dim
        qkv = layout.weights(f"w_qkv.{index}", model.hidden, width)
        cache = allocate_cache(grouped_attention(layout), layout.space, f"_cache.{index}")
        norms = None
        if model.qk_norm:
            names = (f"qk_norm.{index}.{which}" for which in (0, 1))
            norms = layout.matrix(next(names), 1, model.head_dim), layout.matrix(next(names), 1, model.head_dim)
        return KeyValueTensors(qkv, cache, norms)

    def allocate_shared(self, layout: Layout) -> NewKeyValues | None:
        """Allocate the activations that all layers use in turn; None if the QKV product writes to the cache."""
        if not layout.phase.stores_new_keys:
            return None
        width = layout.shard.kv_heads * layout.model.head_dim
        return NewKeyValues(layout.token_rows("new_keys", width), layout.token_rows("new_values", width))

    def operators(self, context: LayerContext, layer: Layer) -> list[Operator]:
        """Operators of the part in order of execution; see :class:`LayerPart`."""
        tensors, new = layer.of(self), context.buffers.of(self)
        new_keys = new.keys if new else tensors.cache.k
        operators = [_qkv(context, tensors, new)]
        if tensors.qk_norms is not None:
            operators.append(_qk_norm(context, tensors.qk_norms, new_keys, stored=new is None))
        if context.buffers.rope is not None:
            operators.append(_rope(context, context.buffers.rope, new_keys, stored=new is None))
        if new is not None:
            operators.append(_store(context, new, tensors.cache))
        return operators

    def live_elements(self, model: Model, shard: Shard, footprint: Footprint) -> int:
        """Elements of the buffers that are live at once; see :class:`LayerPart`."""
        if model.latent is not None:
            return 0
        return attention_elements(model, shard, footprint.tokens, model.head_dim)


def grouped_attention(layout: Layout) -> Attention:
    """Attention of this chip's heads over the cache of a layer."""
    shard = layout.shard
    return layout.attention(shard.q_heads, shard.kv_heads, layout.model.head_dim)


def qkv_elements(model: Model, shard: Shard, tokens: int) -> int:
    """Elements of queries, keys and values of ``tokens`` tokens."""
    return tokens * (shard.q_heads + 2 * shard.kv_heads) * model.head_dim


def attention_elements(model: Model, shard: Shard, tokens: int, value_dim: int) -> int:
    """Elements of the largest set of buffers that is live at once in an attention that streams keys and values."""
    stream, qkv, context = tokens * model.hidden, qkv_elements(model, shard, tokens), tokens * shard.q_heads * value_dim
    return max(
        2 * stream + qkv,  # products from the normed stream
        stream + qkv + context,  # attention
        2 * stream + context,  # output projection
    )


def _qkv(context: LayerContext, tensors: KeyValueTensors, new: NewKeyValues | None) -> Operator:
    """One product for queries, keys and values; keys and values go straight to the cache if they can."""
    shard, head_dim, cache = context.shard, context.model.head_dim, tensors.cache
    q_width, kv_width = shard.q_heads * head_dim, shard.kv_heads * head_dim
    if new is None:
        keys, values = _newest_rows(context.phase, cache.k), _newest_rows(context.phase, cache.v)
    else:
        keys, values = Operand(new.keys.as_rows()), Operand(new.values.as_rows())
    outputs = [
        Output(Operand(context.buffers.q.as_rows()), 0, q_width),
        Output(keys, q_width, kv_width),
        Output(values, q_width + kv_width, kv_width),
    ]
    return context.product_into("qkv", context.buffers.normed, tensors.qkv, outputs)


def _newest_rows(phase: Phase, cache: Tensor) -> Operand:
    """Where the new tokens' rows lie in a cache: everywhere in prefill, the last row of each sequence in decode."""
    if phase.q_len == phase.kv_len:
        return Operand(cache.as_rows())
    return Operand(cache, row=phase.kv_len - 1, per_batch=True)


def _qk_norm(context: LayerContext, norms: tuple[Tensor, Tensor], keys: Tensor, *, stored: bool) -> Operator:
    phase, shard, model = context.phase, context.shard, context.model

    def build() -> Programs:
        program = head_norm(
            "qk_norm",
            context.chip,
            context.buffers.q,
            keys,
            *norms,
            tokens=phase.new_tokens,
            first_key=phase.kv_len - phase.q_len if stored else 0,
            eps=model.norm_eps,
            dtype=phase.dtype,
        )
        return (program,)

    rows = phase.tokens * (shard.q_heads + shard.kv_heads)
    return Operator("qk_norm", "norm", build, (Kernel("norm", (rows, model.head_dim), phase.dtype),))


def _rope(context: LayerContext, table: Tensor, keys: Tensor, *, stored: bool) -> Operator:
    phase, shard, head_dim = context.phase, context.shard, context.model.head_dim

    def build() -> Programs:
        program = context.vector_kernels.rope(
            "rope",
            context.buffers.q,
            keys,
            table,
            tokens=phase.new_tokens,
            first_key=phase.kv_len - phase.q_len if stored else 0,
            dtype=phase.dtype,
        )
        return (program,)

    width = (shard.q_heads + shard.kv_heads) * head_dim
    return Operator("rope", "rope", build, (Kernel("rope", (phase.tokens, width), phase.dtype),))


def _store(context: LayerContext, new: NewKeyValues, cache: KvCache) -> Operator:
    def build() -> Programs:
        program = kv_store(
            "kv_store",
            (new.keys, new.values),
            (cache.k, cache.v),
            cache.sequences,
            cache.storage,
            head_dim=context.model.head_dim,
            dtype=context.phase.dtype,
        )
        return (program,)

    plain, dtype = context.phase.stored_dtype == context.phase.dtype, context.phase.dtype
    copy = Kernel("copy", (context.phase.tokens, 2 * new.keys.cols), dtype)
    return Operator("kv_store", "kv_store", build, (copy,) if plain else ())


KEY_VALUES = KeyValues()
