"""Where the tensors of a run lie in one chip's memory, and what allocates them.

Layers of equal kind that follow layers of equal kind are simulated once. Every simulated layer has weights of its own, so
that what the layer before has left in L2 of the activations is found there and what it has left of its weights is not
mistaken for those of the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from kernels.attention.attention import Attention
from kernels.gemm.weights import WeightFormat, Weights, allocate_weights
from kernels.program.address_space import AddressSpace, Tensor
from workloads.models.model import LayerKind, Model
from workloads.models.parallel import Shard
from workloads.settings.phase import Phase

LayerT = TypeVar("LayerT")
SharedT = TypeVar("SharedT")


@dataclass(frozen=True)
class Layout:
    """Allocates the tensors of a run: sizes follow from the model, this chip's share of it and of the batch."""

    space: AddressSpace
    model: Model
    shard: Shard
    phase: Phase
    weight_format: WeightFormat
    """How weights of products are stored."""

    def matrix(self, name: str, rows: int, cols: int, *, batch: int = 1) -> Tensor:
        """Allocate a matrix in the datatype of activations."""
        return self.space.allocate(name, rows, cols, self.phase.element_bits, batch=batch)

    def token_rows(self, name: str, cols: int) -> Tensor:
        """Allocate activations: a row for each new token, and a batch entry for each sequence if they have equally many."""
        tokens = self.phase.new_tokens
        if tokens.equal_q_len is None:
            return self.matrix(name, tokens.total, cols)
        return self.matrix(name, tokens.equal_q_len, cols, batch=self.phase.batch)

    def weights(self, name: str, k: int, n: int, *, batch: int = 1) -> Weights:
        """Allocate the weights of a product with ``k`` inputs and ``n`` outputs."""
        return allocate_weights(self.space, name, k, n, self.weight_format, batch=batch)

    def norm(self, name: str) -> Tensor:
        """Allocate the weights of a norm of the residual stream."""
        return self.matrix(name, self._norm_rows, self.model.hidden)

    def norms(self, name: str) -> tuple[Tensor, Tensor]:
        """Allocate the weights of two such norms."""
        return self.norm(f"{name}.0"), self.norm(f"{name}.1")

    def attention(
        self,
        q_heads: int,
        kv_heads: int,
        head_dim: int,
        *,
        value_dim: int = 0,
        latent: bool = False,
        scale: float = 0.0,
    ) -> Attention:
        """Causal attention of some heads over the sequences of the phase, on a cache that is stored as the phase says."""
        phase = self.phase
        return Attention(
            phase.batch,
            q_heads,
            kv_heads,
            head_dim,
            phase.q_len,
            phase.kv_len,
            value_dim=value_dim,
            latent=latent,
            scale=scale,
            dtype=phase.dtype,
            kv_dtype=phase.kv_dtype,
            page_size=phase.page_size,
            lengths=phase.lengths,
            seed=phase.seed,
        )

    @property
    def _norm_rows(self) -> int:
        return 1 if self.model.norm == "rmsnorm" else 2


class TensorOwner(Generic[LayerT, SharedT]):
    """A part of layers that has tensors of type ``LayerT`` in each of them, and of type ``SharedT`` in common."""


@dataclass(frozen=True)
class Layer:
    """Weights and caches of a layer, this chip's share."""

    index: int
    kind: LayerKind
    norm1: Tensor
    projection: Weights
    norm2: Tensor
    post_norms: tuple[Tensor, Tensor] | None
    """Norms of what attention and the feed-forward network add to the stream, if there are any."""
    tensors: dict[TensorOwner[Any, Any], Any]
    """Tensors of each part, in order of execution."""

    def of(self, owner: TensorOwner[LayerT, SharedT]) -> LayerT:
        """Tensors of one part of the layer."""
        return cast(LayerT, self.tensors[owner])


@dataclass(frozen=True)
class Buffers:
    """All tensors of a run. Activations have one row a token; ``hidden`` is the residual stream."""

    space: AddressSpace
    layers: dict[int, Layer]
    """Layers that are simulated, by index."""
    hidden: Tensor
    normed: Tensor
    q: Tensor
    """Queries of all heads."""
    context: Tensor
    """What attention makes of them."""
    delta: Tensor
    """What attention or FFN add to the stream."""
    partial: Tensor
    """This chip's part of such a sum, before the all-reduce."""
    inner: Tensor
    activated: Tensor
    shared: dict[TensorOwner[Any, Any], Any]
    """Activations of the parts of layers."""
    rope: Tensor | None
    """Cosines and sines of each position; None: the model encodes positions in another way."""
    positions: Tensor | None
    """Vectors that the model has learned for positions, if it has."""
    embedding: Tensor
    embedding_norm: Tensor | None
    final_norm: Tensor
    lm_head: Tensor
    logits: Tensor
    last: Tensor | None
    """Normed rows of the last tokens, if a kernel of its own brings them together for the LM head."""

    def of(self, owner: TensorOwner[LayerT, SharedT]) -> SharedT:
        """Activations of one part of layers."""
        return cast(SharedT, self.shared[owner])
