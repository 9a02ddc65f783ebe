"""The operators of a phase in execution order, as tile programs: what one chip of a tensor-parallel group executes.

Megatron's scheme: QKV and the first FFN product are split by columns, the output projection and the second FFN product
by rows, and an all-reduce follows each of the latter. Embedding and LM head are split over the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.attention.kv_storage import PLAIN
from kernels.attention.sequences import uniform
from kernels.attention.shape import AttentionShape, FlashMapping
from kernels.attention.soft_cap import soft_capped
from kernels.collectives.collectives import all_gather, all_reduce, point_to_point
from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.gemm.weights import Weights
from kernels.mapping.mapper import Mapper
from kernels.masks.score_masks import ScoreMask, WindowMask
from kernels.program.address_space import Tensor
from kernels.program.tile_program import TileProgram
from kernels.vector.elementwise import activation, residual, soft_cap
from kernels.vector.embedding import embedding
from kernels.vector.norm import norm
from uarch.chip.schema import Chip
from workloads.layers.attention import attention_operators
from workloads.layers.attention_job import AttentionJob, JobTensors
from workloads.layers.buffers import Buffers
from workloads.layers.expert_exchange import ExpertRouting
from workloads.layers.experts import expert_operators
from workloads.layers.latent_attention import latent_attention_operators
from workloads.layers.layer_tensors import FfnTensors, LayerTensors
from workloads.layers.operator import Operator, Programs
from workloads.models.model import LayerKind, Model
from workloads.models.parallel import Shard
from workloads.predictors.kernel import Kernel
from workloads.settings.phase import Phase
from workloads.settings.stack import Stack

__all__ = ["Operator", "OperatorBuilder", "attention_shape"]


@dataclass(frozen=True)
class OperatorBuilder:
    """Builds the operators of one run."""

    chip: Chip
    model: Model
    shard: Shard
    phase: Phase
    stack: Stack
    buffers: Buffers
    mapper: Mapper
    routing: ExpertRouting | None = None
    """Of the tokens among experts, if the model has some."""

    @property
    def rank(self) -> int:
        """The chip of the group that is simulated: the last, whose share is the largest where shares differ."""
        return self.shard.tp - 1

    @property
    def attention_shape(self) -> AttentionShape:
        """Attention of one layer on one chip."""
        return attention_shape(self.model, self.shard, self.phase)

    def before_layers(self) -> list[Operator]:
        """Token embedding and what belongs to it."""
        buffers, phase = self.buffers, self.phase
        tokens = np.random.default_rng(phase.seed).integers(0, self.model.vocab, phase.tokens)
        table = buffers.embedding
        part, first_id = self._partial(buffers.hidden).as_rows(), self.rank * table.rows

        def lookup() -> Programs:
            return (embedding("embedding", self.chip, tokens, table, part, first_id=first_id, dtype=phase.dtype),)

        kernel = self._row_kernel("embedding", buffers.hidden)
        operators = [
            Operator("embedding", "embedding", lookup, kernel),
            *self._all_reduce("embedding", buffers.hidden),
        ]
        if buffers.positions is not None:
            operators.append(self._residual("positions", buffers.positions))
        if buffers.embedding_norm is not None:
            operators.append(self._norm("embedding_norm", buffers.embedding_norm, with_delta=False, in_place=True))
        return operators

    def layer(self, kind: LayerKind, tensors: LayerTensors, *, first: bool) -> list[Operator]:
        """One transformer layer; the first has no FFN before it whose result it would have to add."""
        before, after = tensors.post_norms or (None, None)
        return [
            *self._residual_and_norm("norm1", tensors.norm1, has_delta=not first),
            *self._attention(kind, tensors),
            self.product("projection", self.buffers.context, tensors.projection, self._partial(self.buffers.delta)),
            *self._all_reduce("attention", self.buffers.delta),
            *self._post_norm("post_attention_norm", before),
            *self._residual_and_norm("norm2", tensors.norm2, has_delta=True),
            *self._ffn(tensors),
            *self._all_reduce("ffn", self.buffers.delta),
            *self._post_norm("post_ffn_norm", after),
        ]

    def after_layers(self) -> list[Operator]:
        """Final norm, and the LM head on the last token of each sequence, or on all."""
        buffers, phase, model = self.buffers, self.phase, self.model
        shape = GemmShape(phase.logit_tokens, self.shard.vocab, model.hidden)
        if phase.logits == "last":
            rows = Operand(buffers.normed, row=phase.q_len - 1, per_batch=True)
        else:
            rows = Operand(buffers.normed.as_rows())
        logits = Operand(buffers.logits, col=self.rank * self.shard.vocab)

        def build(mapping: GemmMapping) -> TileProgram:
            outputs = [Output(logits, 0, self.shard.vocab)]
            return gemm(
                "lm_head",
                shape,
                rows,
                Operand(buffers.lm_head),
                outputs,
                mapping,
                buffers.space,
                dtype=phase.dtype,
                transpose_b=True,
                kind="lm_head",
            )

        operators = [*self._residual_and_norm("final_norm", buffers.final_norm, has_delta=True)]
        kernel = Kernel("gemm", (shape.m, shape.n, shape.k), phase.dtype)
        operators.append(Operator("lm_head", "lm_head", lambda: (build(self.mapper.gemm(shape, build)),), kernel))
        if self.shard.tp > 1:
            operators.append(self._gather_logits())
        if model.logit_soft_cap is not None:
            capped = soft_cap("soft_cap", self.chip, buffers.logits, cap=model.logit_soft_cap, dtype=phase.dtype)
            operators.append(Operator("soft_cap", "activation", (capped,)))
        return operators

    def stage_transfer(self) -> Operator:
        """A pipeline stage takes the residual stream over from the one before it."""
        hidden, dtype = self.buffers.hidden.as_rows(), self.phase.dtype

        def build() -> Programs:
            return point_to_point("stage_transfer", self.chip, hidden, dtype=dtype)

        kernel = Kernel("point_to_point", (hidden.rows * hidden.cols, 2), dtype)
        return Operator("stage_transfer", "point_to_point", build, kernel)

    def product(self, name: str, x: Tensor, weights: Weights | Tensor, out: Tensor) -> Operator:
        """``out = x @ weights`` for the rows of all tokens."""
        return self.product_into(name, x, weights, [Output(Operand(out.as_rows()), 0, out.cols)])

    def product_into(self, name: str, x: Tensor, weights: Weights | Tensor, outputs: list[Output]) -> Operator:
        """The same with columns that go to different places."""
        phase, space, a = self.phase, self.buffers.space, Operand(x.as_rows())
        b = weights if isinstance(weights, Weights) else Operand(weights)
        n, k = (weights.n, weights.k) if isinstance(weights, Weights) else (weights.cols, weights.rows)
        shape, form = GemmShape(phase.tokens, n, k), weights.format if isinstance(weights, Weights) else None

        def build(mapping: GemmMapping) -> TileProgram:
            return gemm(name, shape, a, b, outputs, mapping, space, dtype=phase.dtype)

        plain = form is None or not (form.is_converted or form.is_sparse or form.scaled)
        kernel = Kernel("gemm", (shape.m, shape.n, shape.k), phase.dtype) if plain else None
        return Operator(name, "gemm", lambda: (build(self.mapper.gemm(shape, build, weights=form)),), kernel)

    def feed_forward(
        self, name: str, tensors: FfnTensors, inner: Tensor, activated: Tensor, out: Tensor
    ) -> list[Operator]:
        """A feed-forward network of all tokens: ``name_in``, an activation, ``name_out``."""
        label = "activation" if name == "ffn" else f"{name}_activation"

        def build() -> Programs:
            program = activation(
                label,
                self.chip,
                inner,
                activated,
                activation=self.model.activation,
                gated=self.model.gated_ffn,
                dtype=self.phase.dtype,
            )
            return (program,)

        return [
            self.product(f"{name}_in", self.buffers.normed, tensors.w_in, inner),
            Operator(label, "activation", build, self._activation_kernel(activated)),
            self.product(f"{name}_out", activated, tensors.w_out, out),
        ]

    def attention(
        self,
        shape: AttentionShape,
        tensors: JobTensors,
        mask: ScoreMask | None = None,
        kv_dtype: str | None = None,
    ) -> Operator:
        """Streamed attention under ``mask``, or the shape's own, over keys and values stored as ``kv_dtype``."""
        capped = self.model.attention_soft_cap is not None
        page_size = tensors.sequences.page_size
        lengths, seed = self.phase.lengths, self.phase.seed
        job = AttentionJob(shape, self.phase.dtype, mask, kv_dtype, page_size, lengths, seed=seed)

        def build(mapping: FlashMapping) -> TileProgram:
            program = job.program("attention", tensors, mapping, self.buffers.space)
            return soft_capped(program) if capped else program

        sizes = (shape.batch, shape.q_heads, shape.kv_heads, shape.head_dim, shape.q_len, shape.kv_len)
        plain = job.is_plain and not capped and not shape.latent and shape.value_dim in {0, shape.head_dim}
        kernel = Kernel("attention", sizes, self.phase.dtype) if plain else None
        return Operator(
            "attention", "attention", lambda: (build(self.mapper.attention(shape, build, job.load())),), kernel
        )

    def plain_attention(self, q: Tensor, k: Tensor, v: Tensor, out: Tensor, mask: ScoreMask | None = None) -> Operator:
        """The same where every sequence has its batch entry of plain tensors."""
        shape = self.attention_shape
        sequences = uniform(shape.batch, shape.q_len, shape.kv_len)
        return self.attention(shape, JobTensors(q, k, v, out, PLAIN, sequences), mask)

    def score_mask(self, kind: LayerKind) -> ScoreMask | None:
        """Mask of a layer: its own window, or what the phase asks for; None: causal."""
        if kind.window is not None and kind.window < self.phase.kv_len:
            return WindowMask(kind.window)
        return self.phase.score_mask

    def _attention(self, kind: LayerKind, tensors: LayerTensors) -> list[Operator]:
        if tensors.latent is not None:
            return latent_attention_operators(self, tensors)
        return attention_operators(self, kind, tensors)

    def _ffn(self, tensors: LayerTensors) -> list[Operator]:
        buffers, out = self.buffers, self._partial(self.buffers.delta)
        if tensors.experts is not None:
            return expert_operators(self, tensors.experts, out)
        assert tensors.ffn is not None
        return self.feed_forward("ffn", tensors.ffn, buffers.inner, buffers.activated, out)

    def _post_norm(self, name: str, weights: Tensor | None) -> list[Operator]:
        """Of what is added to the stream, in place."""
        if weights is None:
            return []
        rows, model = self.buffers.delta.as_rows(), self.model

        def build() -> Programs:
            program = norm(
                name, self.chip, rows, weights, rows, norm=model.norm, eps=model.norm_eps, dtype=self.phase.dtype
            )
            return (program,)

        return [Operator(name, "norm", build, self._row_kernel("norm", rows))]

    def _gather_logits(self) -> Operator:
        logits, ranks, dtype = self.buffers.logits, self.shard.tp, self.phase.dtype

        def build() -> Programs:
            return all_gather("logits", self.chip, logits, rank=self.rank, ranks=ranks, dtype=dtype)

        kernel = Kernel("all_gather", (logits.batch * logits.rows * logits.cols, ranks), dtype)
        return Operator("logits.all_gather", "all_gather", build, kernel)

    def _residual_and_norm(self, name: str, weights: Tensor, *, has_delta: bool) -> list[Operator]:
        fused = has_delta and self.stack.fused_residual
        operators = [self._norm(name, weights, with_delta=fused)]
        if has_delta and not fused:
            operators.insert(0, self._residual(f"{name}.residual", self.buffers.delta.as_rows()))
        return operators

    def _residual(self, name: str, added: Tensor) -> Operator:
        hidden = self.buffers.hidden.as_rows()

        def build() -> Programs:
            return (residual(name, self.chip, hidden, added, dtype=self.phase.dtype),)

        return Operator(name, "residual", build, self._row_kernel("residual", hidden))

    def _norm(self, name: str, weights: Tensor, *, with_delta: bool, in_place: bool = False) -> Operator:
        hidden = self.buffers.hidden.as_rows()

        def build() -> Programs:
            program = norm(
                name,
                self.chip,
                hidden,
                weights,
                hidden if in_place else self.buffers.normed.as_rows(),
                norm=self.model.norm,
                eps=self.model.norm_eps,
                delta=self.buffers.delta.as_rows() if with_delta else None,
                dtype=self.phase.dtype,
            )
            return (program,)

        return Operator(name, "norm", build, self._row_kernel("residual_norm" if with_delta else "norm", hidden))

    def _row_kernel(self, kind: str, result: Tensor) -> Kernel:
        return Kernel(kind, (result.batch * result.rows, result.cols), self.phase.dtype)

    def _activation_kernel(self, result: Tensor) -> Kernel | None:
        """GELU, or SiLU with a gate: what predictors know."""
        known = {("gelu", False), ("silu", True)}
        activation = self.model.activation
        return self._row_kernel(activation, result) if (activation, self.model.gated_ffn) in known else None

    def _partial(self, total: Tensor) -> Tensor:
        """Where a chip's part of a sum over the group goes: to the sum itself if the chip is alone."""
        return self.buffers.partial if self.shard.tp > 1 else total

    def _all_reduce(self, name: str, total: Tensor) -> list[Operator]:
        if self.shard.tp == 1:
            return []
        name = f"{name}.all_reduce"
        part, summed = self._partial(total).as_rows(), total.as_rows()
        ranks, dtype = self.shard.tp, self.phase.dtype
        library = self.stack.collectives

        def build() -> Programs:
            return all_reduce(name, self.chip, part, summed, rank=self.rank, ranks=ranks, dtype=dtype, library=library)

        return [Operator(name, "all_reduce", build, Kernel("all_reduce", (part.rows * part.cols, ranks), dtype))]


def attention_shape(model: Model, shard: Shard, phase: Phase) -> AttentionShape:
    """Attention of one layer on one chip."""
    latent = model.latent
    if latent is None:
        return AttentionShape(phase.batch, shard.q_heads, shard.kv_heads, model.head_dim, phase.q_len, phase.kv_len)
    scale = latent.head_dim**-0.5
    if phase.expands_latents:
        sizes = (shard.q_heads, shard.q_heads, latent.head_dim, phase.q_len, phase.kv_len)
        return AttentionShape(phase.batch, *sizes, value_dim=latent.value_dim, scale=scale)
    sizes = (shard.q_heads, 1, latent.cached_dim, phase.q_len, phase.kv_len)
    return AttentionShape(phase.batch, *sizes, value_dim=latent.kv_rank, latent=True, scale=scale)
