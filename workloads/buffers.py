"""The tensors of a run in one chip's memory: weights and KV cache of two layers, and the activations between operators.

Equal layers are simulated once: the first layer uses the first set of weights, the second the other, so that what the
first has left in L2 of the activations is found there and what it has left of its weights is not mistaken for the
second's.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.address_space import AddressSpace, Tensor
from kernels.attention import AttentionShape
from kernels.unfused_attention import scores_tensor
from workloads.model_shape import Model
from workloads.parallel import Shard
from workloads.phase import Phase

_TABLE_BITS = 32
LAYER_SETS = 2


@dataclass(frozen=True)
class LayerTensors:
    """Weights and KV cache of a layer, this chip's share."""

    norm1: Tensor
    qkv: Tensor
    k_cache: Tensor
    v_cache: Tensor
    projection: Tensor
    norm2: Tensor
    ffn_in: Tensor
    ffn_out: Tensor


@dataclass(frozen=True)
class Buffers:
    """All tensors of a run. Activations have one row a token; ``hidden`` is the residual stream."""

    space: AddressSpace
    layers: tuple[LayerTensors, ...]
    hidden: Tensor
    normed: Tensor
    q: Tensor
    context: Tensor
    delta: Tensor
    """What attention or FFN add to the stream."""
    partial: Tensor
    """This chip's part of such a sum, before the all-reduce."""
    inner: Tensor
    activated: Tensor
    scores: Tensor | None
    probabilities: Tensor | None
    rope: Tensor | None
    positions: Tensor | None
    embedding: Tensor
    embedding_norm: Tensor | None
    final_norm: Tensor
    lm_head: Tensor
    logits: Tensor


def allocate(model: Model, shard: Shard, phase: Phase, attention: AttentionShape) -> Buffers:
    """Lay the run out in memory."""
    space = AddressSpace()
    bits, tokens = phase.element_bits, phase.tokens
    norm_rows = 1 if model.norm == "rmsnorm" else 2
    head_dim = model.head_dim
    ffn_in = shard.ffn * (2 if model.gated_ffn else 1)

    def matrix(name: str, rows: int, cols: int, *, batch: int = 1) -> Tensor:
        return space.allocate(name, rows, cols, bits, batch=batch)

    def layer(index: int) -> LayerTensors:
        width = (shard.q_heads + 2 * shard.kv_heads) * head_dim
        cache = (phase.kv_len, shard.kv_heads * head_dim)
        return LayerTensors(
            norm1=matrix(f"norm1.{index}", norm_rows, model.hidden),
            qkv=matrix(f"w_qkv.{index}", model.hidden, width),
            k_cache=matrix(f"k_cache.{index}", *cache, batch=phase.batch),
            v_cache=matrix(f"v_cache.{index}", *cache, batch=phase.batch),
            projection=matrix(f"w_projection.{index}", shard.q_heads * head_dim, model.hidden),
            norm2=matrix(f"norm2.{index}", norm_rows, model.hidden),
            ffn_in=matrix(f"w_ffn_in.{index}", model.hidden, ffn_in),
            ffn_out=matrix(f"w_ffn_out.{index}", shard.ffn, model.hidden),
        )

    per_head = (phase.q_len, shard.q_heads * head_dim)
    return Buffers(
        space=space,
        layers=tuple(layer(index) for index in range(LAYER_SETS)),
        hidden=matrix("hidden", phase.q_len, model.hidden, batch=phase.batch),
        normed=matrix("normed", phase.q_len, model.hidden, batch=phase.batch),
        q=matrix("q", *per_head, batch=phase.batch),
        context=matrix("context", *per_head, batch=phase.batch),
        delta=matrix("delta", phase.q_len, model.hidden, batch=phase.batch),
        partial=matrix("partial", phase.q_len, model.hidden, batch=phase.batch),
        inner=matrix("inner", tokens, ffn_in),
        activated=matrix("activated", tokens, shard.ffn),
        scores=scores_tensor(space, "scores", attention, bits) if phase.unfused else None,
        probabilities=scores_tensor(space, "probabilities", attention, bits) if phase.unfused else None,
        rope=space.allocate("rope", phase.kv_len, head_dim, _TABLE_BITS) if model.positions == "rope" else None,
        positions=matrix("positions", tokens, model.hidden) if model.positions == "learned" else None,
        embedding=space.allocate("embedding", shard.vocab, model.hidden, bits, granule_rows=1),
        embedding_norm=matrix("embedding_norm", norm_rows, model.hidden) if model.embedding_norm else None,
        final_norm=matrix("final_norm", norm_rows, model.hidden),
        lm_head=matrix("lm_head", shard.vocab, model.hidden),
        logits=matrix("logits", phase.batch, shard.vocab * shard.tp),
    )
