"""The tensors of a run in one chip's memory: weights and KV caches of some layers, and the activations between operators.

Layers of equal kind that follow layers of equal kind are simulated once. Every simulated layer has weights of its own, so
that what the layer before has left in L2 of the activations is found there and what it has left of its weights is not
mistaken for those of the next.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.attention.streamed import AttentionShape
from kernels.attention.unfused import scores_tensor
from kernels.gemm.weights import WeightFormat
from kernels.program.address_space import AddressSpace, Tensor
from workloads.layers.expert_exchange import ExpertRouting
from workloads.layers.layer_tensors import LayerAllocator, LayerTensors
from workloads.layers.native_sparse_job import NativeSparseBuffers, native_sparse_job
from workloads.models.layer_plan import simulated_layers
from workloads.models.model import Model
from workloads.models.parallel import Shard
from workloads.settings.phase import Phase

_TABLE_BITS = 32
_ROUTING_BITS = 32


@dataclass(frozen=True)
class LatentBuffers:
    """Activations of multi-head latent attention."""

    q_latent: Tensor | None
    """Where queries come from; None: from the normed stream."""
    down: Tensor
    """Latent of keys and values and the shared key of new tokens, before norm and rotation."""
    keys: Tensor | None
    """Prefill: expanded to all heads, as are the values."""
    values: Tensor | None
    absorbed: Tensor | None
    """Decode: queries in the space of the cached latents, and what attention makes of them."""
    latent_context: Tensor | None


@dataclass(frozen=True)
class ExpertBuffers:
    """Activations of a mixture of experts; rows are copies of tokens."""

    scores: Tensor
    gates: Tensor
    """Weights of a token's experts, then their numbers."""
    permuted: Tensor
    """This chip's tokens, sorted by expert."""
    received: Tensor
    """Rows of this chip's experts; ``permuted`` if it holds all."""
    inner: Tensor
    activated: Tensor
    results: Tensor
    """Of the received rows."""
    returned: Tensor
    """Results for this chip's tokens; ``results`` if it holds all experts."""
    shared_inner: Tensor | None
    shared_activated: Tensor | None
    shared_out: Tensor | None


@dataclass(frozen=True)
class Buffers:
    """All tensors of a run. Activations have one row a token; ``hidden`` is the residual stream."""

    space: AddressSpace
    layers: dict[int, LayerTensors]
    """Of the layers that are simulated, by index."""
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
    new_keys: Tensor | None
    """Before they are stored in the cache, if that takes a kernel of its own; so are the values. Of latents, their entries."""
    new_values: Tensor | None
    native_sparse: NativeSparseBuffers | None
    latent: LatentBuffers | None
    experts: ExpertBuffers | None
    scores: Tensor | None
    probabilities: Tensor | None
    rope: Tensor | None
    positions: Tensor | None
    embedding: Tensor
    embedding_norm: Tensor | None
    final_norm: Tensor
    lm_head: Tensor
    logits: Tensor


def allocate(
    model: Model,
    shard: Shard,
    phase: Phase,
    attention: AttentionShape,
    weights: WeightFormat,
    routing: ExpertRouting | None = None,
) -> Buffers:
    """Lay the run out in memory; ``phase`` is this chip's part of the batch, ``routing`` that of its tokens."""
    space = AddressSpace()
    bits, tokens = phase.element_bits, phase.tokens
    norm_rows = 1 if model.norm == "rmsnorm" else 2
    ffn_in = shard.ffn * (2 if model.gated_ffn else 1)
    kinds = model.layer_kinds
    allocator = LayerAllocator(space, model, shard, phase, weights)

    def matrix(name: str, rows: int, cols: int, *, batch: int = 1) -> Tensor:
        return space.allocate(name, rows, cols, bits, batch=batch)

    def new_rows(name: str) -> Tensor | None:
        if model.latent is not None:
            stored = phase.stores_latents and name == "new_keys"
            return matrix(name, phase.q_len, model.latent.cached_dim, batch=phase.batch) if stored else None
        if not phase.stores_new_keys:
            return None
        return matrix(name, phase.q_len, shard.kv_heads * model.head_dim, batch=phase.batch)

    layers = {index: allocator.layer(kinds[index], index) for index in simulated_layers(kinds)}
    value_dim = model.latent.value_dim if model.latent else model.head_dim
    rope_dim = model.latent.rope_dim if model.latent else model.head_dim
    return Buffers(
        space=space,
        layers=layers,
        hidden=matrix("hidden", phase.q_len, model.hidden, batch=phase.batch),
        normed=matrix("normed", phase.q_len, model.hidden, batch=phase.batch),
        q=matrix("q", phase.q_len, shard.q_heads * model.head_dim, batch=phase.batch),
        context=matrix("context", phase.q_len, shard.q_heads * value_dim, batch=phase.batch),
        delta=matrix("delta", phase.q_len, model.hidden, batch=phase.batch),
        partial=matrix("partial", phase.q_len, model.hidden, batch=phase.batch),
        inner=matrix("inner", tokens, ffn_in),
        activated=matrix("activated", tokens, shard.ffn),
        new_keys=new_rows("new_keys"),
        new_values=new_rows("new_values"),
        native_sparse=native_sparse_job(attention, phase).allocate(space) if phase.native_sparse else None,
        latent=_latent_buffers(space, model, shard, phase) if model.latent else None,
        experts=_expert_buffers(space, model, shard, phase, routing) if routing else None,
        scores=scores_tensor(space, "scores", attention, bits) if phase.unfused else None,
        probabilities=scores_tensor(space, "probabilities", attention, bits) if phase.unfused else None,
        rope=space.allocate("rope", phase.kv_len, rope_dim, _TABLE_BITS) if model.positions == "rope" else None,
        positions=matrix("positions", tokens, model.hidden) if model.positions == "learned" else None,
        embedding=space.allocate("embedding", shard.vocab, model.hidden, bits, granule_rows=1),
        embedding_norm=matrix("embedding_norm", norm_rows, model.hidden) if model.embedding_norm else None,
        final_norm=matrix("final_norm", norm_rows, model.hidden),
        lm_head=matrix("lm_head", shard.vocab, model.hidden),
        logits=matrix("logits", phase.logit_tokens, shard.vocab * shard.tp),
    )


def _latent_buffers(space: AddressSpace, model: Model, shard: Shard, phase: Phase) -> LatentBuffers:
    latent, heads = model.latent, shard.q_heads
    assert latent is not None
    expanded = phase.expands_latents

    def matrix(name: str, cols: int) -> Tensor:
        return space.allocate(name, phase.q_len, cols, phase.element_bits, batch=phase.batch)

    return LatentBuffers(
        q_latent=matrix("q_latent", latent.q_rank) if latent.q_rank else None,
        down=matrix("kv_down", latent.cached_dim),
        keys=matrix("keys", heads * latent.head_dim) if expanded else None,
        values=matrix("values", heads * latent.value_dim) if expanded else None,
        absorbed=None if expanded else matrix("absorbed", heads * latent.cached_dim),
        latent_context=None if expanded else matrix("latent_context", heads * latent.kv_rank),
    )


def _expert_buffers(
    space: AddressSpace, model: Model, shard: Shard, phase: Phase, routing: ExpertRouting
) -> ExpertBuffers:
    experts, tokens, bits = model.experts, phase.tokens, phase.element_bits
    assert experts is not None
    inputs = 2 if model.gated_ffn else 1
    copies, rows = tokens * experts.top_k, sum(routing.rows)

    def matrix(name: str, count: int, cols: int) -> Tensor:
        return space.allocate(name, count, cols, bits)

    permuted = matrix("permuted", copies, model.hidden)
    received = matrix("received", rows, model.hidden) if shard.ep > 1 else permuted
    results = matrix("expert_results", rows, model.hidden)
    width = shard.shared_ffn
    return ExpertBuffers(
        scores=space.allocate("router_scores", tokens, experts.count, _ROUTING_BITS),
        gates=space.allocate("gates", tokens, 2 * experts.top_k, _ROUTING_BITS),
        permuted=permuted,
        received=received,
        inner=matrix("expert_inner", rows, inputs * shard.expert_ffn),
        activated=matrix("expert_activated", rows, shard.expert_ffn),
        results=results,
        returned=matrix("returned", copies, model.hidden) if shard.ep > 1 else results,
        shared_inner=matrix("shared_inner", tokens, inputs * width) if width else None,
        shared_activated=matrix("shared_activated", tokens, width) if width else None,
        shared_out=matrix("shared_out", tokens, model.hidden) if width else None,
    )
