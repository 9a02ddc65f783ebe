"""A decoder-only transformer as the simulator sees it: its dimensions, not its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Norm = Literal["rmsnorm", "layernorm"]
Activation = Literal["silu", "gelu"]
Positions = Literal["rope", "alibi", "learned"]


@dataclass(frozen=True)
class Model:
    """Dimensions of a model, under names that do not depend on its architecture; hashable and picklable.

    A degree ``tp`` of tensor parallelism counts one chip's share: heads, FFN columns and vocabulary are split, what
    does not divide is rounded up; norms, position tables and the biases added after an all-reduce are on every chip.
    :func:`workloads.parallel.check_parallel` says which degrees a model allows.
    """

    name: str
    architecture: str
    """Class name in Hugging Face Transformers."""
    n_layers: int
    hidden: int
    q_heads: int
    kv_heads: int
    """Fewer than ``q_heads`` for grouped-query attention."""
    head_dim: int
    ffn: int
    """Inner width of the feed-forward network."""
    vocab: int
    norm: Norm
    norm_eps: float
    activation: Activation
    gated_ffn: bool
    """Activation(gate(x)) x up(x) instead of activation(up(x))."""
    positions: Positions
    max_positions: int | None
    """Tokens of context the model was made for, if stated; rows of the table where ``positions`` are learned."""
    tied_embeddings: bool
    """The LM head is the embedding table."""
    attention_bias: bool
    ffn_bias: bool
    embedding_norm: bool
    """A norm between the embedding table and the first layer."""

    @property
    def parameters_per_layer(self) -> int:
        """Parameters of one layer, biases and norms included."""
        return self.layer_parameters_per_chip(1)

    @property
    def total_parameters(self) -> int:
        """Parameters of the whole model; tied embeddings count once."""
        return self.parameters_per_chip(1)

    def layer_parameters_per_chip(self, tp: int) -> int:
        """Parameters of one layer on one of ``tp`` chips."""
        q_width = _share(self.q_heads, tp) * self.head_dim
        qkv_width = q_width + 2 * _share(self.kv_heads, tp) * self.head_dim
        ffn = _share(self.ffn, tp)
        inputs, biased_inputs = (3, 2) if self.gated_ffn else (2, 1)
        weights = self.hidden * (qkv_width + q_width + inputs * ffn)
        attention_biases = qkv_width + self.hidden if self.attention_bias else 0
        ffn_biases = biased_inputs * ffn + self.hidden if self.ffn_bias else 0
        return weights + attention_biases + ffn_biases + 2 * self._norm_parameters

    def parameters_per_chip(self, tp: int, pp: int = 1) -> int:
        """Parameters on one of ``tp`` chips of the largest of ``pp`` stages.

        Embedding table and LM head are split over the vocabulary; the first stage has the one, the last the other.
        """
        tables = _share(self.vocab, tp) * (1 if self.tied_embeddings or pp > 1 else 2)
        if self.positions == "learned":
            tables += self.max_positions or 0
        norms = 2 if self.embedding_norm else 1  # the other one is after the last layer
        outside_layers = tables * self.hidden + norms * self._norm_parameters
        return _share(self.n_layers, pp) * self.layer_parameters_per_chip(tp) + outside_layers

    def kv_bytes_per_token(self, dtype_bits: int, tp: int = 1, pp: int = 1) -> int:
        """Bytes of KV cache that one token takes on one of ``tp`` chips, in the layers of the largest of ``pp`` stages.

        With more chips than K/V heads every chip holds one whole head, so the cache is replicated, not split further.
        """
        elements = 2 * _share(self.n_layers, pp) * _share(self.kv_heads, tp) * self.head_dim
        return -(-elements * dtype_bits // 8)

    @property
    def _norm_parameters(self) -> int:
        return self.hidden if self.norm == "rmsnorm" else 2 * self.hidden


def _share(count: int, tp: int) -> int:
    return -(-count // tp)
