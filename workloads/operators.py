"""The operators of a phase in execution order, as tile programs: what one chip of a tensor-parallel group executes.

Megatron's scheme: QKV and the first FFN product are split by columns, the output projection and the second FFN product
by rows, and an all-reduce follows each of the latter. Embedding and LM head are split over the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from kernels.address_space import Tensor
from kernels.attention import AttentionShape, FlashMapping, UnfusedAttention, flash_attention
from kernels.collective import all_gather, all_reduce, point_to_point
from kernels.elementwise import activation, residual
from kernels.embedding import embedding
from kernels.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.mapper import Mapper
from kernels.norm import norm
from kernels.program import TileProgram
from kernels.rope import rope
from uarch.chip import Chip
from workloads.buffers import Buffers, LayerTensors
from workloads.model_shape import Model
from workloads.parallel import Shard
from workloads.phase import Phase
from workloads.predictors.kernel import Kernel
from workloads.stack import Stack

Programs = tuple[TileProgram, ...]


@dataclass(frozen=True)
class Operator:
    """One operator: ``kind`` is that of the software stack's overheads; its programs follow each other in one launch."""

    name: str
    kind: str
    work: Programs | Callable[[], Programs]
    """The programs, or what finds their mappings and builds them when the engine needs them."""
    kernel: Kernel | None = None
    """The same work for a predictor, which needs no programs; None if no predictor knows such work."""

    @property
    def programs(self) -> Programs:
        """Tile programs in execution order, built anew at each call if they are not given."""
        return self.work() if callable(self.work) else self.work


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

    def layer(self, tensors: LayerTensors, *, first: bool) -> list[Operator]:
        """One transformer layer; the first has no FFN before it whose result it would have to add."""
        return [
            *self._residual_and_norm("norm1", tensors.norm1, has_delta=not first),
            self._qkv(tensors),
            *self._rope(tensors),
            *(self._unfused(tensors) if self.phase.unfused else self._flash(tensors)),
            self._product("projection", self.buffers.context, tensors.projection, self._partial(self.buffers.delta)),
            *self._all_reduce("attention", self.buffers.delta),
            *self._residual_and_norm("norm2", tensors.norm2, has_delta=True),
            self._product("ffn_in", self.buffers.normed, tensors.ffn_in, self.buffers.inner),
            self._activation(),
            self._product("ffn_out", self.buffers.activated, tensors.ffn_out, self._partial(self.buffers.delta)),
            *self._all_reduce("ffn", self.buffers.delta),
        ]

    def after_layers(self) -> list[Operator]:
        """Final norm, and the LM head on the last token of each sequence."""
        buffers, phase, model = self.buffers, self.phase, self.model
        shape = GemmShape(phase.batch, self.shard.vocab, model.hidden)
        last = Operand(buffers.normed, row=phase.q_len - 1, per_batch=True)
        logits = Operand(buffers.logits, col=self.rank * self.shard.vocab)

        def build(mapping: GemmMapping) -> TileProgram:
            outputs = [Output(logits, 0, self.shard.vocab)]
            return gemm(
                "lm_head",
                shape,
                last,
                Operand(buffers.lm_head),
                outputs,
                mapping,
                buffers.space,
                dtype=phase.dtype,
                transpose_b=True,
                kind="lm_head",
            )

        operators = [*self._residual_and_norm("final_norm", buffers.final_norm, has_delta=True)]
        operators.append(self._gemm("lm_head", "lm_head", shape, build))
        if self.shard.tp > 1:
            operators.append(self._gather_logits())
        return operators

    def _gather_logits(self) -> Operator:
        logits, ranks, dtype = self.buffers.logits, self.shard.tp, self.phase.dtype

        def build() -> Programs:
            return all_gather("logits", self.chip, logits, rank=self.rank, ranks=ranks, dtype=dtype)

        kernel = Kernel("all_gather", (self.phase.batch * logits.cols, ranks), dtype)
        return Operator("logits.all_gather", "all_gather", build, kernel)

    def stage_transfer(self) -> Operator:
        """A pipeline stage takes the residual stream over from the one before it."""
        hidden, dtype = self.buffers.hidden.as_rows(), self.phase.dtype

        def build() -> Programs:
            return point_to_point("stage_transfer", self.chip, hidden, dtype=dtype)

        kernel = Kernel("point_to_point", (hidden.rows * hidden.cols, 2), dtype)
        return Operator("stage_transfer", "point_to_point", build, kernel)

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

    def _gemm(self, name: str, kind: str, shape: GemmShape, build: Callable[[GemmMapping], TileProgram]) -> Operator:
        kernel = Kernel("gemm", (shape.m, shape.n, shape.k), self.phase.dtype)
        return Operator(name, kind, lambda: (build(self.mapper.gemm(shape, build)),), kernel)

    def _qkv(self, tensors: LayerTensors) -> Operator:
        """One product for queries, keys and values; keys and values go to their places in the KV cache."""
        shard, phase, head_dim = self.shard, self.phase, self.model.head_dim
        q_width, kv_width = shard.q_heads * head_dim, shard.kv_heads * head_dim
        shape = GemmShape(phase.tokens, q_width + 2 * kv_width, self.model.hidden)
        outputs = [
            Output(Operand(self.buffers.q.as_rows()), 0, q_width),
            Output(self._new_rows(tensors.k_cache), q_width, kv_width),
            Output(self._new_rows(tensors.v_cache), q_width + kv_width, kv_width),
        ]
        normed, weights = Operand(self.buffers.normed.as_rows()), Operand(tensors.qkv)

        def build(mapping: GemmMapping) -> TileProgram:
            return gemm("qkv", shape, normed, weights, outputs, mapping, self.buffers.space, dtype=phase.dtype)

        return self._gemm("qkv", "gemm", shape, build)

    def _new_rows(self, cache: Tensor) -> Operand:
        """Where the new tokens' rows lie in a cache: everywhere in prefill, the last row of each sequence in decode."""
        if self.phase.q_len == self.phase.kv_len:
            return Operand(cache.as_rows())
        return Operand(cache, row=self.phase.kv_len - 1, per_batch=True)

    def _rope(self, tensors: LayerTensors) -> list[Operator]:
        if self.buffers.rope is None:
            return []
        table, width = self.buffers.rope, (self.shard.q_heads + self.shard.kv_heads) * self.model.head_dim

        def build() -> Programs:
            program = rope(
                "rope",
                self.chip,
                self.buffers.q,
                tensors.k_cache,
                table,
                head_dim=self.model.head_dim,
                q_len=self.phase.q_len,
                kv_len=self.phase.kv_len,
                dtype=self.phase.dtype,
            )
            return (program,)

        return [Operator("rope", "rope", build, Kernel("rope", (self.phase.tokens, width), self.phase.dtype))]

    def _flash(self, tensors: LayerTensors) -> list[Operator]:
        shape, buffers = self.attention_shape, self.buffers

        def build(mapping: FlashMapping) -> TileProgram:
            return flash_attention(
                "attention",
                shape,
                buffers.q,
                tensors.k_cache,
                tensors.v_cache,
                buffers.context,
                mapping,
                buffers.space,
                dtype=self.phase.dtype,
            )

        sizes = (shape.batch, shape.q_heads, shape.kv_heads, shape.head_dim, shape.q_len, shape.kv_len)
        kernel = Kernel("attention", sizes, self.phase.dtype)
        return [Operator("attention", "attention", lambda: (build(self.mapper.attention(shape, build)),), kernel)]

    def _unfused(self, tensors: LayerTensors) -> list[Operator]:
        shape, buffers = self.attention_shape, self.buffers
        assert buffers.scores is not None
        assert buffers.probabilities is not None
        attention = UnfusedAttention(
            shape,
            buffers.q,
            tensors.k_cache,
            tensors.v_cache,
            buffers.scores,
            buffers.probabilities,
            buffers.context,
            buffers.space,
            self.phase.dtype,
        )
        searches = cache(lambda: self.mapper.search_unfused(attention))
        heads, dtype = shape.batch * shape.kv_heads, self.phase.dtype
        rows = shape.q_heads // shape.kv_heads * shape.q_len
        qk = Kernel("batched_gemm", (heads, rows, shape.kv_len, shape.head_dim), dtype)
        softmax = Kernel("softmax", (heads * rows, shape.kv_len), dtype)
        pv = Kernel("batched_gemm", (heads, rows, shape.head_dim, shape.kv_len), dtype)
        return [
            Operator("qk", "attention", lambda: (attention.qk(searches()[0].mapping),), qk),
            Operator("softmax", "softmax", lambda: (attention.softmax(self.chip),), softmax),
            Operator("pv", "attention", lambda: (attention.pv(searches()[1].mapping),), pv),
        ]

    def _product(self, name: str, x: Tensor, weights: Tensor, out: Tensor) -> Operator:
        shape = GemmShape(self.phase.tokens, weights.cols, weights.rows)
        a, b = Operand(x.as_rows()), Operand(weights)
        outputs = [Output(Operand(out.as_rows()), 0, weights.cols)]

        def build(mapping: GemmMapping) -> TileProgram:
            return gemm(name, shape, a, b, outputs, mapping, self.buffers.space, dtype=self.phase.dtype)

        return self._gemm(name, "gemm", shape, build)

    def _activation(self) -> Operator:
        def build() -> Programs:
            program = activation(
                "activation",
                self.chip,
                self.buffers.inner,
                self.buffers.activated,
                activation=self.model.activation,
                gated=self.model.gated_ffn,
                dtype=self.phase.dtype,
            )
            return (program,)

        return Operator(
            "activation", "activation", build, self._row_kernel(self.model.activation, self.buffers.activated)
        )

    def _partial(self, total: Tensor) -> Tensor:
        """Where a chip's part of a sum over the group goes: to the sum itself if the chip is alone."""
        return self.buffers.partial if self.shard.tp > 1 else total

    def _all_reduce(self, name: str, total: Tensor) -> list[Operator]:
        if self.shard.tp == 1:
            return []
        name = f"{name}.all_reduce"
        part, summed = self._partial(total).as_rows(), total.as_rows()
        ranks, dtype = self.shard.tp, self.phase.dtype

        def build() -> Programs:
            return all_reduce(name, self.chip, part, summed, rank=self.rank, ranks=ranks, dtype=dtype)

        return [Operator(name, "all_reduce", build, Kernel("all_reduce", (part.rows * part.cols, ranks), dtype))]


def attention_shape(model: Model, shard: Shard, phase: Phase) -> AttentionShape:
    """Attention of one layer on one chip."""
    return AttentionShape(
        phase.batch, shard.q_heads, shard.kv_heads, model.head_dim, phase.q_len, phase.kv_len, causal=True
    )
