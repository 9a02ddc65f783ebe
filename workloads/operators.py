"""The operators of a phase in execution order, as tile programs: what one chip of a tensor-parallel group executes.

Megatron's scheme: QKV and the first FFN product are split by columns, the output projection and the second FFN product
by rows, and an all-reduce follows each of the latter. Embedding and LM head are split over the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.address_space import Tensor
from kernels.attention_shape import AttentionShape, FlashMapping
from kernels.collective import all_gather, all_reduce
from kernels.elementwise import activation, residual, soft_cap
from kernels.embedding import embedding
from kernels.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.head_norm import head_norm
from kernels.kv_storage import PLAIN
from kernels.kv_store import kv_store
from kernels.mapper import Mapper
from kernels.norm import norm
from kernels.program import TileProgram
from kernels.rope import rope
from kernels.score_masks import ScoreMask, WindowMask
from kernels.sequences import uniform
from kernels.soft_cap import soft_capped
from kernels.unfused_attention import UnfusedAttention
from kernels.weights import Weights
from uarch.chip import Chip
from workloads.attention_job import AttentionJob, JobTensors
from workloads.buffers import Buffers
from workloads.expert_exchange import ExpertRouting
from workloads.expert_layers import expert_operators
from workloads.latent_layers import latent_attention_operators
from workloads.layer_tensors import FfnTensors, LayerTensors
from workloads.model_shape import LayerKind, Model
from workloads.operator import Operator
from workloads.parallel import Shard
from workloads.phase import Phase
from workloads.stack import Stack

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
        lookup = embedding("embedding", self.chip, tokens, table, part, first_id=first_id, dtype=phase.dtype)
        operators = [Operator("embedding", "embedding", (lookup,)), *self._all_reduce("embedding", buffers.hidden)]
        if buffers.positions is not None:
            added = residual("positions", self.chip, buffers.hidden.as_rows(), buffers.positions, dtype=phase.dtype)
            operators.append(Operator("positions", "residual", (added,)))
        if buffers.embedding_norm is not None:
            program = self._norm_program("embedding_norm", buffers.embedding_norm, with_delta=False, in_place=True)
            operators.append(Operator("embedding_norm", "norm", (program,)))
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

        head = build(self.mapper.gemm(shape, build))
        operators = [*self._residual_and_norm("final_norm", buffers.final_norm, has_delta=True)]
        operators.append(Operator("lm_head", "lm_head", (head,)))
        if self.shard.tp > 1:
            gathered = all_gather(
                "logits", self.chip, buffers.logits, rank=self.rank, ranks=self.shard.tp, dtype=phase.dtype
            )
            operators.append(Operator("logits.all_gather", "all_gather", gathered))
        if model.logit_soft_cap is not None:
            capped = soft_cap("soft_cap", self.chip, buffers.logits, cap=model.logit_soft_cap, dtype=phase.dtype)
            operators.append(Operator("soft_cap", "activation", (capped,)))
        return operators

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

        return Operator(name, "gemm", (build(self.mapper.gemm(shape, build, weights=form)),))

    def feed_forward(
        self, name: str, tensors: FfnTensors, inner: Tensor, activated: Tensor, out: Tensor
    ) -> list[Operator]:
        """A feed-forward network of all tokens: ``name_in``, an activation, ``name_out``."""
        label = "activation" if name == "ffn" else f"{name}_activation"
        program = activation(
            label,
            self.chip,
            inner,
            activated,
            activation=self.model.activation,
            gated=self.model.gated_ffn,
            dtype=self.phase.dtype,
        )
        return [
            self.product(f"{name}_in", self.buffers.normed, tensors.w_in, inner),
            Operator(label, "activation", (program,)),
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
        job = AttentionJob(shape, self.phase.dtype, mask, kv_dtype, page_size, seed=self.phase.seed)

        def build(mapping: FlashMapping) -> TileProgram:
            program = job.program("attention", tensors, mapping, self.buffers.space)
            return soft_capped(program) if capped else program

        return Operator("attention", "attention", (build(self.mapper.attention(shape, build, job.load())),))

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
        assert tensors.qkv is not None
        return [
            self._qkv(tensors, tensors.qkv),
            *self._qk_norm(tensors),
            *self._rope(tensors),
            *self._store(tensors),
            *(self._unfused(tensors) if self.phase.unfused else self._flash(kind, tensors)),
        ]

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
        program = norm(
            name, self.chip, rows, weights, rows, norm=model.norm, eps=model.norm_eps, dtype=self.phase.dtype
        )
        return [Operator(name, "norm", (program,))]

    def _qk_norm(self, tensors: LayerTensors) -> list[Operator]:
        if tensors.qk_norms is None:
            return []
        program = head_norm(
            "qk_norm",
            self.chip,
            self.buffers.q,
            self._new_keys(tensors),
            *tensors.qk_norms,
            q_len=self.phase.q_len,
            kv_len=self.phase.q_len if self.buffers.new_keys else self.phase.kv_len,
            eps=self.model.norm_eps,
            dtype=self.phase.dtype,
        )
        return [Operator("qk_norm", "norm", (program,))]

    def _residual_and_norm(self, name: str, weights: Tensor, *, has_delta: bool) -> list[Operator]:
        fused = has_delta and self.stack.fused_residual
        program = self._norm_program(name, weights, with_delta=fused)
        operators = [Operator(name, "norm", (program,))]
        if has_delta and not fused:
            rows = self.buffers.hidden.as_rows(), self.buffers.delta.as_rows()
            added = residual(f"{name}.residual", self.chip, *rows, dtype=self.phase.dtype)
            operators.insert(0, Operator(f"{name}.residual", "residual", (added,)))
        return operators

    def _norm_program(self, name: str, weights: Tensor, *, with_delta: bool, in_place: bool = False) -> TileProgram:
        hidden = self.buffers.hidden.as_rows()
        return norm(
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

    def _qkv(self, tensors: LayerTensors, weights: Weights) -> Operator:
        """One product for queries, keys and values; keys and values go to their places in the KV cache."""
        shard, head_dim = self.shard, self.model.head_dim
        q_width, kv_width = shard.q_heads * head_dim, shard.kv_heads * head_dim
        keys, values = self._new_rows(tensors.k_cache), self._new_rows(tensors.v_cache)
        if self.buffers.new_keys is not None and self.buffers.new_values is not None:
            keys, values = Operand(self.buffers.new_keys.as_rows()), Operand(self.buffers.new_values.as_rows())
        outputs = [
            Output(Operand(self.buffers.q.as_rows()), 0, q_width),
            Output(keys, q_width, kv_width),
            Output(values, q_width + kv_width, kv_width),
        ]
        return self.product_into("qkv", self.buffers.normed, weights, outputs)

    def _new_rows(self, cache: Tensor) -> Operand:
        """Where the new tokens' rows lie in a cache: everywhere in prefill, the last row of each sequence in decode."""
        if self.phase.q_len == self.phase.kv_len:
            return Operand(cache.as_rows())
        return Operand(cache, row=self.phase.kv_len - 1, per_batch=True)

    def _rope(self, tensors: LayerTensors) -> list[Operator]:
        if self.buffers.rope is None:
            return []
        program = rope(
            "rope",
            self.chip,
            self.buffers.q,
            self._new_keys(tensors),
            self.buffers.rope,
            head_dim=self.model.head_dim,
            q_len=self.phase.q_len,
            kv_len=self.phase.kv_len,
            k_first=0 if self.buffers.new_keys else None,
            dtype=self.phase.dtype,
        )
        return [Operator("rope", "rope", (program,))]

    def _new_keys(self, tensors: LayerTensors) -> Tensor:
        """Where the new keys are normalised and rotated."""
        return self.buffers.new_keys or tensors.k_cache

    def _store(self, tensors: LayerTensors) -> list[Operator]:
        """New keys and values to the cache, if they are not there already."""
        buffers = self.buffers
        if buffers.new_keys is None or buffers.new_values is None or tensors.sequences is None:
            return []
        program = kv_store(
            "kv_store",
            (buffers.new_keys, buffers.new_values),
            (tensors.k_cache, tensors.v_cache),
            tensors.sequences,
            tensors.storage,
            head_dim=self.model.head_dim,
            dtype=self.phase.dtype,
        )
        return [Operator("kv_store", "kv_store", (program,))]

    def _flash(self, kind: LayerKind, tensors: LayerTensors) -> list[Operator]:
        q, out, mask = self.buffers.q, self.buffers.context, self.score_mask(kind)
        if tensors.sequences is None:
            return [self.plain_attention(q, tensors.k_cache, tensors.v_cache, out, mask)]
        cache = (tensors.k_cache, tensors.v_cache, out, tensors.storage, tensors.sequences)
        return [self.attention(self.attention_shape, JobTensors(q, *cache), mask, self.phase.kv_dtype)]

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
        scores, sums = self.mapper.search_unfused(attention)
        return [
            Operator("qk", "attention", (attention.qk(scores.mapping),)),
            Operator("softmax", "softmax", (attention.softmax(self.chip),)),
            Operator("pv", "attention", (attention.pv(sums.mapping),)),
        ]

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
        programs = all_reduce(name, self.chip, part, summed, rank=self.rank, ranks=ranks, dtype=dtype, library=library)
        return [Operator(name, "all_reduce", programs)]


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
