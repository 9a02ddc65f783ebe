"""The operators of a phase in execution order, as tile programs: what one chip of a tensor-parallel group executes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.collectives.collectives import all_gather, point_to_point
from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.program.address_space import Tensor
from kernels.program.tile_program import TileProgram
from kernels.vector.elementwise import soft_cap
from kernels.vector.embedding import embedding
from workloads.layers.context import LayerContext
from workloads.layers.layout import Layer
from workloads.layers.operator import Operator, Programs
from workloads.layers.registry import parts_of
from workloads.predictors.kernel import Kernel


@dataclass(frozen=True)
class OperatorBuilder:
    """Builds the operators of one run."""

    context: LayerContext

    def before_layers(self) -> list[Operator]:
        """Token embedding and what belongs to it."""
        context, buffers, phase = self.context, self.context.buffers, self.context.phase
        tokens = np.random.default_rng(phase.seed).integers(0, context.model.vocab, phase.tokens)
        table = buffers.embedding
        part, first_id = context.partial_of(buffers.hidden).as_rows(), context.rank * table.rows

        def lookup() -> Programs:
            return (embedding("embedding", context.chip, tokens, table, part, first_id=first_id, dtype=phase.dtype),)

        operators = [
            Operator("embedding", "embedding", lookup, context.row_kernel("embedding", buffers.hidden)),
            *context.all_reduce("embedding", buffers.hidden),
        ]
        if buffers.positions is not None:
            operators.append(context.add_to_stream("positions", buffers.positions))
        if buffers.embedding_norm is not None:
            operators.append(context.norm("embedding_norm", buffers.hidden, buffers.embedding_norm, buffers.hidden))
        return operators

    def layer(self, layer: Layer, *, first: bool) -> list[Operator]:
        """One transformer layer; the first has no FFN before it whose result it would have to add."""
        context, buffers = self.context, self.context.buffers
        attention, feed_forward = parts_of(context.model, context.phase, layer.kind)
        before, after = layer.post_norms or (None, None)
        part = context.partial_of(buffers.delta)
        return [
            *self._residual_and_norm("norm1", layer.norm1, has_delta=not first),
            *(operator for variant in attention for operator in variant.operators(context, layer)),
            context.product("projection", buffers.context, layer.projection, part),
            *context.all_reduce("attention", buffers.delta),
            *self._post_norm("post_attention_norm", before),
            *self._residual_and_norm("norm2", layer.norm2, has_delta=True),
            *(operator for variant in feed_forward for operator in variant.operators(context, layer)),
            *context.all_reduce("ffn", buffers.delta),
            *self._post_norm("post_ffn_norm", after),
        ]

    def after_layers(self) -> list[Operator]:
        """Final norm, and the LM head on the last token of each sequence, or on all."""
        context, logits = self.context, self.context.buffers.logits
        operators = [*self._residual_and_norm("final_norm", context.buffers.final_norm, has_delta=True)]
        operators += self._last_rows()
        operators.append(self._lm_head())
        if context.shard.tp > 1:
            operators.append(self._gather_logits())
        cap = context.model.logit_soft_cap
        if cap is not None:
            capped = soft_cap("soft_cap", context.chip, logits, cap=cap, dtype=context.phase.dtype)
            operators.append(Operator("soft_cap", "activation", (capped,)))
        return operators

    def stage_transfer(self) -> Operator:
        """A pipeline stage takes the residual stream over from the one before it."""
        chip, hidden, dtype = self.context.chip, self.context.buffers.hidden.as_rows(), self.context.phase.dtype

        def build() -> Programs:
            return point_to_point("stage_transfer", chip, hidden, dtype=dtype)

        kernel = Kernel("point_to_point", (hidden.rows * hidden.cols, 2), dtype)
        return Operator("stage_transfer", "point_to_point", build, (kernel,))

    def _last_rows(self) -> list[Operator]:
        """Bring the rows of the last tokens together, if the LM head cannot read them where they are."""
        context, normed, last = self.context, self.context.buffers.normed.as_rows(), self.context.buffers.last
        if last is None:
            return []
        rows, dtype = context.phase.new_tokens.last_rows, context.phase.dtype

        def gather() -> Programs:
            return (embedding("last_tokens", context.chip, rows, normed, last, first_id=0, dtype=dtype),)

        return [Operator("last_tokens", "embedding", gather, context.row_kernel("embedding", last))]

    def _lm_head(self) -> Operator:
        context, buffers, phase = self.context, self.context.buffers, self.context.phase
        shape = GemmShape(phase.logit_tokens, context.shard.vocab, context.model.hidden)
        if buffers.last is not None:
            rows = Operand(buffers.last)
        elif phase.sees_all_logits:
            rows = Operand(buffers.normed.as_rows())
        else:
            rows = Operand(buffers.normed, row=phase.q_len - 1, per_batch=True)
        outputs = [Output(Operand(buffers.logits, col=context.rank * context.shard.vocab), 0, context.shard.vocab)]
        weights = Operand(buffers.lm_head)

        def build(mapping: GemmMapping) -> TileProgram:
            space, dtype = context.space, phase.dtype
            return gemm(
                "lm_head", shape, rows, weights, outputs, mapping, space, dtype=dtype, transpose_b=True, kind="lm_head"
            )

        kernel = Kernel("gemm", (shape.m, shape.n, shape.k), phase.dtype)
        return Operator("lm_head", "lm_head", lambda: (build(context.mapper.gemm(shape, build)),), (kernel,))

    def _gather_logits(self) -> Operator:
        context, logits = self.context, self.context.buffers.logits
        ranks, dtype = context.shard.tp, context.phase.dtype

        def build() -> Programs:
            return all_gather("logits", context.chip, logits, rank=context.rank, ranks=ranks, dtype=dtype)

        kernel = Kernel("all_gather", (logits.batch * logits.rows * logits.cols, ranks), dtype)
        return Operator("logits.all_gather", "all_gather", build, (kernel,))

    def _post_norm(self, name: str, weights: Tensor | None) -> list[Operator]:
        """A norm of what is added to the stream, in place, if the model has one."""
        delta = self.context.buffers.delta
        return [self.context.norm(name, delta, weights, delta)] if weights is not None else []

    def _residual_and_norm(self, name: str, weights: Tensor, *, has_delta: bool) -> list[Operator]:
        context, buffers = self.context, self.context.buffers
        fused = has_delta and context.stack.fused_residual
        operators = [
            context.norm(name, buffers.hidden, weights, buffers.normed, delta=buffers.delta if fused else None)
        ]
        if has_delta and not fused:
            operators.insert(0, context.add_to_stream(f"{name}.residual", buffers.delta))
        return operators
