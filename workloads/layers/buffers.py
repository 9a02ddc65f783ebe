"""Allocation of all tensors of a run: weights and caches of the simulated layers, then the activations between operators."""

from __future__ import annotations

from itertools import chain
from typing import Any

from kernels.program.address_space import Tensor
from workloads.layers.layout import Buffers, Layer, Layout, TensorOwner
from workloads.layers.registry import every_part, parts_of
from workloads.models.layer_plan import simulated_layers
from workloads.settings.phase import Phase

_TABLE_BITS = 32


def allocate(layout: Layout) -> Buffers:
    """Lay a run out in memory; the layout's phase is this chip's part of the batch."""
    space, model, shard, phase = layout.space, layout.model, layout.shard, layout.phase
    kinds = model.layer_kinds
    layers = {index: _layer(layout, index) for index in simulated_layers(kinds)}

    def rows(name: str, cols: int) -> Tensor:
        return layout.token_rows(name, cols)

    rope_dim, value_dim = model.head_dim, model.head_dim
    if model.latent is not None:
        rope_dim, value_dim = model.latent.rope_dim, model.latent.value_dim
    return Buffers(
        space=space,
        layers=layers,
        hidden=rows("hidden", model.hidden),
        normed=rows("normed", model.hidden),
        q=rows("q", shard.q_heads * model.head_dim),
        context=rows("context", shard.q_heads * value_dim),
        delta=rows("delta", model.hidden),
        partial=rows("partial", model.hidden),
        inner=layout.matrix("inner", phase.tokens, shard.ffn * (2 if model.gated_ffn else 1)),
        activated=layout.matrix("activated", phase.tokens, shard.ffn),
        shared={part: part.allocate_shared(layout) for part in every_part(model, phase)},
        rope=space.allocate("rope", phase.kv_len, rope_dim, _TABLE_BITS) if model.positions == "rope" else None,
        positions=layout.matrix("positions", phase.tokens, model.hidden) if model.positions == "learned" else None,
        embedding=space.allocate("embedding", shard.vocab, model.hidden, phase.element_bits, granule_rows=1),
        embedding_norm=layout.norm("embedding_norm") if model.embedding_norm else None,
        final_norm=layout.norm("final_norm"),
        lm_head=layout.matrix("lm_head", shard.vocab, model.hidden),
        logits=layout.matrix("logits", phase.logit_tokens, shard.vocab * shard.tp),
        last=layout.matrix("last", phase.logit_tokens, model.hidden) if _gathers_last(phase) else None,
    )


def _gathers_last(phase: Phase) -> bool:
    """Whether the last tokens do not lie at equal distances."""
    return not phase.sees_all_logits and phase.new_tokens.equal_q_len is None


def _layer(layout: Layout, index: int) -> Layer:
    """Tensors of a layer; ``index`` tells its names apart from those of others.

    What attention needs besides its weights and its cache lies behind all other tensors of the layer.
    """
    model, kind = layout.model, layout.model.layer_kinds[index]
    attention, feed_forward = parts_of(model, layout.phase, kind)
    value_dim = model.latent.value_dim if model.latent else model.head_dim
    norm1 = layout.norm(f"norm1.{index}")
    tensors: dict[TensorOwner[Any, Any], Any] = {attention[0]: attention[0].allocate(layout, index)}
    projection = layout.weights(f"w_projection.{index}", layout.shard.q_heads * value_dim, model.hidden)
    norm2 = layout.norm(f"norm2.{index}")
    post_norms = layout.norms(f"post_norm.{index}") if model.post_norms else None
    tensors |= {part: part.allocate(layout, index) for part in chain(feed_forward, attention[1:])}
    return Layer(index, kind, norm1, projection, norm2, post_norms, tensors)
