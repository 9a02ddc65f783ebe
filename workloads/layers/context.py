"""What every part of a layer may use: the chip, the run's tensors, and operators that several parts have in common.

Megatron's scheme: QKV and the first FFN product are split by columns, the output projection and the second FFN product
by rows, and an all-reduce follows each of the latter. Embedding and LM head are split over the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kernels.attention.attention import Attention, FlashMapping
from kernels.attention.streamed import flash_attention
from kernels.attention.tensors import AttentionTensors
from kernels.collectives.collectives import all_reduce
from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.gemm.weights import Weights
from kernels.mapping.mapper import Mapper
from kernels.masks.score_masks import ScoreMask, WindowMask
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import TileProgram
from kernels.vector.by_library import VectorKernels
from kernels.vector.elementwise import residual
from uarch.chip.schema import Chip
from workloads.layers.layout import Buffers, Layout
from workloads.layers.operator import Operator, Programs
from workloads.models.model import LayerKind, Model
from workloads.models.parallel import Shard
from workloads.predictors.kernel import Kernel
from workloads.settings.phase import Phase
from workloads.settings.stack import Stack


@dataclass(frozen=True)
class LayerContext:
    """One chip of a tensor-parallel group in one run."""

    chip: Chip
    stack: Stack
    mapper: Mapper
    layout: Layout
    buffers: Buffers

    @property
    def model(self) -> Model:
        """Model that is executed."""
        return self.layout.model

    @property
    def shard(self) -> Shard:
        """This chip's share of the model."""
        return self.layout.shard

    @property
    def phase(self) -> Phase:
        """This chip's part of the batch, and how it is executed."""
        return self.layout.phase

    @property
    def space(self) -> AddressSpace:
        """This chip's memory."""
        return self.layout.space

    @property
    def vector_kernels(self) -> VectorKernels:
        """Norms, activations and the like, as the stack's library writes them."""
        return VectorKernels(self.chip, self.stack.vector_kernels)

    @property
    def rank(self) -> int:
        """The chip of the group that is simulated: the last, whose share is the largest where shares differ."""
        return self.shard.tp - 1

    def score_mask(self, kind: LayerKind) -> ScoreMask | None:
        """Mask of a layer: its own window, or what the phase asks for; None: causal."""
        if kind.window is not None and kind.window < self.phase.kv_len:
            return WindowMask(kind.window)
        return self.phase.score_mask

    def product(self, name: str, x: Tensor, weights: Weights | Tensor, out: Tensor) -> Operator:
        """``out = x @ weights`` for the rows of all tokens."""
        return self.product_into(name, x, weights, [Output(Operand(out.as_rows()), 0, out.cols)])

    def product_into(self, name: str, x: Tensor, weights: Weights | Tensor, outputs: list[Output]) -> Operator:
        """``x @ weights`` for the rows of all tokens, with columns that go to different places."""
        phase, space, a = self.phase, self.space, Operand(x.as_rows())
        b = weights if isinstance(weights, Weights) else Operand(weights)
        n, k = (weights.n, weights.k) if isinstance(weights, Weights) else (weights.cols, weights.rows)
        shape, form = GemmShape(phase.tokens, n, k), weights.format if isinstance(weights, Weights) else None

        def build(mapping: GemmMapping) -> TileProgram:
            return gemm(name, shape, a, b, outputs, mapping, space, dtype=phase.dtype)

        plain = form is None or not (form.is_converted or form.is_sparse or form.scaled)
        kernels = (Kernel("gemm", (shape.m, shape.n, shape.k), phase.dtype),) if plain else ()
        return Operator(name, "gemm", lambda: (build(self.mapper.gemm(shape, build, weights=form)),), kernels)

    def attention(self, attention: Attention, tensors: AttentionTensors, name: str = "attention") -> Operator:
        """Streamed attention, its scores capped if the model caps them."""
        capped = self.model.attention_soft_cap is not None
        attention = replace(attention, soft_capped=capped)

        def build(mapping: FlashMapping) -> TileProgram:
            return flash_attention(name, attention, tensors, mapping, self.space)

        kernels = _attention_kernels(attention)
        return Operator(name, "attention", lambda: (build(self.mapper.attention(attention, build)),), kernels)

    def activation(self, name: str, inner: Tensor, activated: Tensor) -> Operator:
        """The model's activation of what the first product of a feed-forward network leaves."""
        kind, gated = self.model.activation, self.model.gated_ffn

        def build() -> Programs:
            kernels, dtype = self.vector_kernels, self.phase.dtype
            return (kernels.activation(name, inner, activated, activation=kind, gated=gated, dtype=dtype),)

        known_to_predictors = (kind, gated) in {("gelu", False), ("silu", True)}
        return Operator(name, "activation", build, self.row_kernel(kind, activated) if known_to_predictors else ())

    def norm(self, name: str, x: Tensor, weights: Tensor, out: Tensor, delta: Tensor | None = None) -> Operator:
        """The model's norm of every row of ``x``, to which ``delta`` is added before if it is given."""
        x, out, model, dtype = x.as_rows(), out.as_rows(), self.model, self.phase.dtype
        added = delta.as_rows() if delta else None

        def build() -> Programs:
            kernels, kind, eps = self.vector_kernels, model.norm, model.norm_eps
            return (kernels.norm(name, x, weights, out, norm=kind, eps=eps, delta=added, dtype=dtype),)

        return Operator(name, "norm", build, self.row_kernel("residual_norm" if delta else "norm", x))

    def add_to_stream(self, name: str, added: Tensor) -> Operator:
        """Add rows to the residual stream."""
        hidden = self.buffers.hidden.as_rows()

        def build() -> Programs:
            return (residual(name, self.chip, hidden, added.as_rows(), dtype=self.phase.dtype),)

        return Operator(name, "residual", build, self.row_kernel("residual", hidden))

    def partial_of(self, total: Tensor) -> Tensor:
        """Where a chip's part of a sum over the group goes: to the sum itself if the chip is alone."""
        return self.buffers.partial if self.shard.tp > 1 else total

    def all_reduce(self, name: str, total: Tensor) -> list[Operator]:
        """Add up the parts of all chips of the group; nothing to do if the chip is alone."""
        if self.shard.tp == 1:
            return []
        name = f"{name}.all_reduce"
        part, summed = self.partial_of(total).as_rows(), total.as_rows()
        ranks, dtype = self.shard.tp, self.phase.dtype
        library = self.stack.collectives

        def build() -> Programs:
            return all_reduce(name, self.chip, part, summed, rank=self.rank, ranks=ranks, dtype=dtype, library=library)

        return [Operator(name, "all_reduce", build, (Kernel("all_reduce", (part.rows * part.cols, ranks), dtype),))]

    def row_kernel(self, kind: str, result: Tensor) -> tuple[Kernel, ...]:
        """What a predictor of row-wise kernels is asked."""
        return (Kernel(kind, (result.batch * result.rows, result.cols), self.phase.dtype),)


def _attention_kernels(attention: Attention) -> tuple[Kernel, ...]:
    """What a predictor of plain fused attention is asked; sequences with as many new tokens have their mean context."""
    special = attention.mask is not None or attention.row_tile is not None or attention.soft_capped or attention.latent
    stored = attention.stored_dtype != attention.dtype or attention.page_size > 0
    if special or stored or attention.value_width != attention.head_dim:
        return ()
    tokens, keys = attention.real_sequences.q_len, attention.real_sequences.kv_len
    heads = attention.q_heads, attention.kv_heads, attention.head_dim
    kernels = []
    for q_len in np.unique(tokens).tolist():
        of_these = keys[tokens == q_len]
        mean_keys = -(-int(of_these.sum()) // len(of_these))
        kernels.append(Kernel("attention", (len(of_these), *heads, q_len, mean_keys), attention.dtype))
    return tuple(kernels)
