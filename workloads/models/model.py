"""A decoder-only transformer as the simulator sees it: its dimensions, not its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from uarch.arrays import IntArray

Norm = Literal["rmsnorm", "layernorm"]
Activation = Literal["silu", "gelu"]
Positions = Literal["rope", "alibi", "learned"]


@dataclass(frozen=True)
class Experts:
    """Mixture of experts in the feed-forward network of all layers but the first few."""

    count: int
    """Routed experts, of which every token visits ``top_k``."""
    top_k: int
    ffn: int
    """Inner width of one of them."""
    shared_ffn: int
    """Inner width of all shared experts together, which every token visits; 0 if there are none."""
    first_dense_layers: int
    """Layers at the start that have a dense feed-forward network instead."""
    router_bias: bool
    """Whether a value for each expert is added to the scores when experts are chosen."""


@dataclass(frozen=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): K and V of all heads come from one latent vector a token."""

    q_rank: int | None
    """Width of the latent that queries come from; None: straight from the hidden state."""
    kv_rank: int
    nope_dim: int
    """Width of a head's key without positions."""
    rope_dim: int
    """Width of the rotated part of queries and of the one key that all heads share."""
    value_dim: int

    @property
    def head_dim(self) -> int:
        """Width of a query head, and of a key where it is expanded."""
        return self.nope_dim + self.rope_dim

    @property
    def cached_dim(self) -> int:
        """Elements that the cache holds for a token."""
        return self.kv_rank + self.rope_dim

    def absorbed_macs(self, q_len: IntArray, scores: IntArray) -> IntArray:
        """Multiply-accumulates of a head with absorbed weights, for ``q_len`` queries that see ``scores`` keys in all."""
        return q_len * self._absorbed + scores * (self.cached_dim + self.kv_rank)

    def expanded_macs(self, kv_len: IntArray, scores: IntArray) -> IntArray:
        """Multiply-accumulates of a head whose keys and values are expanded for ``kv_len`` tokens."""
        return kv_len * self._absorbed + scores * (self.head_dim + self.value_dim)

    @property
    def _absorbed(self) -> int:
        """Weights of a head that make keys and values of a latent."""
        return self.kv_rank * (self.nope_dim + self.value_dim)

    def linear_parameters(self, hidden: int, heads: int) -> int:
        """Weights of the products of a layer of ``heads`` heads that weight quantisation and sparsity apply to."""
        q_width = heads * self.head_dim
        queries = hidden * q_width if self.q_rank is None else self.q_rank * (hidden + q_width)
        return queries + hidden * (self.cached_dim + heads * self.value_dim)


@dataclass(frozen=True)
class LayerKind:
    """Kind of a layer: what tells it from others; layers of equal kind have equal shapes."""

    window: int | None
    """Newest keys that a query sees; None: all."""
    has_experts: bool


@dataclass(frozen=True)
class Model:
    """Dimensions of a model, under names that do not depend on its architecture; hashable and picklable.

    ``tp`` chips split heads, FFN columns and the vocabulary; what does not divide is rounded up; norms, position tables,
    routers and the biases added after an all-reduce are on every chip. ``ep`` groups of them split the routed experts.
    :func:`workloads.models.parallel.check_parallel` says which degrees a model allows.
    """

    name: str
    architecture: str
    """Class name in Hugging Face Transformers."""
    n_layers: int
    hidden: int
    q_heads: int
    kv_heads: int
    """Number of key and value heads; fewer than ``q_heads`` in grouped-query attention."""
    head_dim: int
    ffn: int
    """Inner width of the (dense) feed-forward network."""
    vocab: int
    norm: Norm
    norm_eps: float
    activation: Activation
    gated_ffn: bool
    """Whether the network is activation(gate(x)) x up(x) instead of activation(up(x))."""
    positions: Positions
    max_positions: int | None
    """Tokens of context the model was made for, if stated; rows of the table where ``positions`` are learned."""
    tied_embeddings: bool
    """Whether the LM head is the embedding table."""
    attention_bias: bool = False
    ffn_bias: bool = False
    embedding_norm: bool = False
    """Whether there is a norm between the embedding table and the first layer."""
    windows: tuple[int | None, ...] = (None,)
    """Window of layer i: entry ``i % len(windows)``; None: a query sees all keys before it."""
    qk_norm: bool = False
    """Whether queries and keys of every head are normalised before their rotation."""
    post_norms: bool = False
    """Whether what attention and FFN add to the stream is normalised too."""
    attention_soft_cap: float | None = None
    """Value below which a tanh keeps the scores; None: there is no cap."""
    logit_soft_cap: float | None = None
    """Value below which a tanh keeps the logits; None: there is no cap."""
    experts: Experts | None = None
    latent: LatentAttention | None = None

    @property
    def layer_kinds(self) -> tuple[LayerKind, ...]:
        """Kind of every layer, in order."""
        first = self.experts.first_dense_layers if self.experts else self.n_layers
        return tuple(LayerKind(self.windows[i % len(self.windows)], i >= first) for i in range(self.n_layers))

    @property
    def parameters_per_layer(self) -> int:
        """Parameters of the last layer, biases and norms included."""
        return self.layer_parameters_per_chip(1)

    @property
    def total_parameters(self) -> int:
        """Parameters of the whole model; tied embeddings count once."""
        return self.parameters_per_chip(1)

    @property
    def active_parameters(self) -> int:
        """Parameters that one token is computed with: of the routed experts those of ``top_k``."""
        if self.experts is None:
            return self.total_parameters
        layers = sum(kind.has_experts for kind in self.layer_kinds)
        idle = self.experts.count - self.experts.top_k
        return self.total_parameters - layers * idle * self._ffn_inputs * self.hidden * self.experts.ffn

    def layer_parameters_per_chip(self, tp: int, ep: int = 1, kind: LayerKind | None = None) -> int:
        """Parameters of one layer (of the last one's kind if none is given) on one of ``tp x ep`` chips."""
        kind = kind or self.layer_kinds[-1]
        linear = self.linear_parameters_per_chip(tp, ep, kind)
        norms = (4 if self.post_norms else 2) * self._norm_parameters
        return linear + norms + self._attention_parameters_beside(tp) + self._ffn_parameters_beside(tp, kind)

    def linear_parameters_per_chip(self, tp: int, ep: int, kind: LayerKind) -> int:
        """Parameters of one layer on one chip that weight quantisation and sparsity apply to: the weights of its products."""
        if self.latent is not None:
            attention = self.latent.linear_parameters(self.hidden, _share(self.q_heads, tp))
        else:
            q_width = _share(self.q_heads, tp) * self.head_dim
            attention = self.hidden * (2 * q_width + 2 * _share(self.kv_heads, tp) * self.head_dim)
        if self.experts is None or not kind.has_experts:
            return attention + self._ffn_inputs * self.hidden * _share(self.ffn, tp)
        width = _share(self.experts.count, ep) * _share(self.experts.ffn, tp) + _share(self.experts.shared_ffn, tp)
        return attention + self._ffn_inputs * self.hidden * width

    def stages(self, pp: int) -> list[tuple[LayerKind, ...]]:
        """Layers of each of ``pp`` pipeline stages, in order; where they do not divide, earlier stages have one more."""
        kinds, sizes = self.layer_kinds, stage_sizes(self.n_layers, pp)
        return [kinds[sum(sizes[:index]) : sum(sizes[: index + 1])] for index in range(pp)]

    def parameters_per_chip(self, tp: int, ep: int = 1, pp: int = 1) -> int:
        """Parameters on one of ``tp x ep`` chips of the largest of ``pp`` stages.

        Embedding table and LM head are split over the vocabulary; the first stage has the one, the last the other.
        """
        tables = _share(self.vocab, tp) * (1 if self.tied_embeddings or pp > 1 else 2)
        if self.positions == "learned":
            tables += self.max_positions or 0
        norms = 2 if self.embedding_norm else 1  # the other one is after the last layer
        outside_layers = tables * self.hidden + norms * self._norm_parameters
        stages = (sum(self.layer_parameters_per_chip(tp, ep, kind) for kind in stage) for stage in self.stages(pp))
        return max(stages) + outside_layers

    def kv_bytes_per_token(self, dtype_bits: int, tp: int = 1) -> int:
        """Bytes of KV cache that one token takes in all layers on one of ``tp`` chips.

        With more chips than K/V heads every chip holds one whole head, so the cache is replicated, not split further; a
        latent cache is on every chip.
        """
        return -(-self.n_layers * self._cached_elements(tp) * dtype_bits // 8)

    def kv_cache_bytes(self, dtype_bits: int, tokens: int, tp: int = 1, pp: int = 1) -> int:
        """Bytes of KV cache of a sequence of ``tokens`` on one of ``tp`` chips of the largest of ``pp`` stages: layers with a
        window keep no more than that."""
        kept = max(sum(min(tokens, kind.window or tokens) for kind in stage) for stage in self.stages(pp))
        return -(-kept * self._cached_elements(tp) * dtype_bits // 8)

    def _cached_elements(self, tp: int) -> int:
        """Elements of the KV cache that a token takes in one layer."""
        return self.latent.cached_dim if self.latent else 2 * _share(self.kv_heads, tp) * self.head_dim

    def _attention_parameters_beside(self, tp: int) -> int:
        """Biases, norms of queries and keys, and what makes keys and values of a latent."""
        if self.latent is not None:
            latent = self.latent
            expand = latent.kv_rank * _share(self.q_heads, tp) * (latent.nope_dim + latent.value_dim)
            return expand + latent.kv_rank + (latent.q_rank or 0)
        qkv_width = (_share(self.q_heads, tp) + 2 * _share(self.kv_heads, tp)) * self.head_dim
        biases = qkv_width + self.hidden if self.attention_bias else 0
        return biases + (2 * self.head_dim if self.qk_norm else 0)

    def _ffn_parameters_beside(self, tp: int, kind: LayerKind) -> int:
        """Biases and router."""
        if self.experts is not None and kind.has_experts:
            return self.experts.count * (self.hidden + self.experts.router_bias)
        biased_inputs = 2 if self.gated_ffn else 1
        return biased_inputs * _share(self.ffn, tp) + self.hidden if self.ffn_bias else 0

    @property
    def _ffn_inputs(self) -> int:
        """Matrices of ``hidden x ffn`` of a feed-forward network."""
        return 3 if self.gated_ffn else 2

    @property
    def _norm_parameters(self) -> int:
        return self.hidden if self.norm == "rmsnorm" else 2 * self.hidden


def stage_sizes(n_layers: int, pp: int) -> tuple[int, ...]:
    """Layers of each of ``pp`` pipeline stages; where they do not divide, earlier stages have one more."""
    return tuple(n_layers // pp + (stage < n_layers % pp) for stage in range(pp))


def _share(count: int, tp: int) -> int:
    return -(-count // tp)
