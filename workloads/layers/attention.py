"""Attention of a layer with keys and values of its own: QKV product, norms and rotation, the KV cache, and the attention."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from kernels.attention.kv_store import kv_store
from kernels.attention.unfused import UnfusedAttention
from kernels.gemm.gemm import Operand, Output
from kernels.masks.score_masks import ScoreMask
from kernels.program.address_space import Tensor
from kernels.vector.head_norm import head_norm
from kernels.vector.rope import rope
from workloads.layers.attention_job import AttentionJob, JobTensors
from workloads.layers.buffers import Buffers
from workloads.layers.layer_tensors import LayerTensors
from workloads.layers.native_sparse import native_sparse_operators
from workloads.layers.operator import Operator, Programs
from workloads.models.model import LayerKind, Model
from workloads.models.parallel import Shard
from workloads.predictors.kernel import Kernel
from workloads.settings.phase import Phase

if TYPE_CHECKING:
    from workloads.layers.builder import OperatorBuilder


def attention_operators(builder: OperatorBuilder, kind: LayerKind, tensors: LayerTensors) -> list[Operator]:
    """From the normed stream to the context of all heads."""
    return _AttentionPart(builder, kind, tensors).operators()


@dataclass(frozen=True)
class _AttentionPart:
    """The operators of one layer."""

    builder: OperatorBuilder
    kind: LayerKind
    tensors: LayerTensors

    @property
    def phase(self) -> Phase:
        """What is executed."""
        return self.builder.phase

    @property
    def model(self) -> Model:
        """What executes it."""
        return self.builder.model

    @property
    def shard(self) -> Shard:
        """This chip's share."""
        return self.builder.shard

    @property
    def buffers(self) -> Buffers:
        """Activations."""
        return self.builder.buffers

    def operators(self) -> list[Operator]:
        """In order of execution."""
        return [
            self._qkv(),
            *self._qk_norm(),
            *self._rope(),
            *self._store(),
            *(self._unfused() if self.phase.unfused else self._flash()),
        ]

    def _qk_norm(self) -> list[Operator]:
        if self.tensors.qk_norms is None:
            return []
        norms, shard = self.tensors.qk_norms, self.shard

        def build() -> Programs:
            program = head_norm(
                "qk_norm",
                self.builder.chip,
                self.buffers.q,
                self._new_keys,
                *norms,
                q_len=self.phase.q_len,
                kv_len=self.phase.q_len if self.buffers.new_keys else self.phase.kv_len,
                eps=self.model.norm_eps,
                dtype=self.phase.dtype,
            )
            return (program,)

        rows = self.phase.tokens * (shard.q_heads + shard.kv_heads)
        return [Operator("qk_norm", "norm", build, Kernel("norm", (rows, self.model.head_dim), self.phase.dtype))]

    def _qkv(self) -> Operator:
        """One product for queries, keys and values; keys and values go to their places in the KV cache."""
        shard, head_dim = self.shard, self.model.head_dim
        q_width, kv_width = shard.q_heads * head_dim, shard.kv_heads * head_dim
        keys, values = self._new_rows(self.tensors.k_cache), self._new_rows(self.tensors.v_cache)
        if self.buffers.new_keys is not None and self.buffers.new_values is not None:
            keys, values = (
                Operand(self.buffers.new_keys.as_rows()),
                Operand(self.buffers.new_values.as_rows()),
            )
        outputs = [
            Output(Operand(self.buffers.q.as_rows()), 0, q_width),
            Output(keys, q_width, kv_width),
            Output(values, q_width + kv_width, kv_width),
        ]
        assert self.tensors.qkv is not None
        return self.builder.product_into("qkv", self.buffers.normed, self.tensors.qkv, outputs)

    def _new_rows(self, cache: Tensor) -> Operand:
        """Where the new tokens' rows lie in a cache: everywhere in prefill, the last row of each sequence in decode."""
        if self.phase.q_len == self.phase.kv_len:
            return Operand(cache.as_rows())
        return Operand(cache, row=self.phase.kv_len - 1, per_batch=True)

    def _rope(self) -> list[Operator]:
        if self.buffers.rope is None:
            return []
        table, width = (
            self.buffers.rope,
            (self.shard.q_heads + self.shard.kv_heads) * self.model.head_dim,
        )

        def build() -> Programs:
            program = rope(
                "rope",
                self.builder.chip,
                self.buffers.q,
                self._new_keys,
                table,
                head_dim=self.model.head_dim,
                q_len=self.phase.q_len,
                kv_len=self.phase.kv_len,
                k_first=0 if self.buffers.new_keys else None,
                dtype=self.phase.dtype,
            )
            return (program,)

        return [Operator("rope", "rope", build, Kernel("rope", (self.phase.tokens, width), self.phase.dtype))]

    @property
    def _new_keys(self) -> Tensor:
        """Where the new keys are normalised and rotated."""
        return self.buffers.new_keys or self.tensors.k_cache

    def _store(self) -> list[Operator]:
        """New keys and values to the cache, if they are not there already."""
        buffers = self.buffers
        if buffers.new_keys is None or buffers.new_values is None or self.tensors.sequences is None:
            return []
        program = kv_store(
            "kv_store",
            (buffers.new_keys, buffers.new_values),
            (self.tensors.k_cache, self.tensors.v_cache),
            self.tensors.sequences,
            self.tensors.storage,
            head_dim=self.model.head_dim,
            dtype=self.phase.dtype,
        )
        return [Operator("kv_store", "kv_store", (program,))]

    def _flash(self) -> list[Operator]:
        if self.tensors.native_sparse is not None:
            return native_sparse_operators(self.builder, self.tensors)
        q, out, mask = self.buffers.q, self.buffers.context, self.builder.score_mask(self.kind)
        selection = self._select_pages(mask)
        if self.tensors.sequences is None:
            return [*selection, self.builder.plain_attention(q, self.tensors.k_cache, self.tensors.v_cache, out, mask)]
        cache = (self.tensors.k_cache, self.tensors.v_cache, out, self.tensors.storage, self.tensors.sequences)
        attention = self.builder.attention(
            self.builder.attention_shape, JobTensors(q, *cache), mask, self.phase.kv_dtype
        )
        return [*selection, attention]

    def _select_pages(self, mask: ScoreMask | None) -> list[Operator]:
        job = AttentionJob(self.builder.attention_shape, self.phase.dtype, mask)
        programs = job.selection(self.buffers.q, self.tensors.page_bounds, self.buffers.space)
        return [Operator(program.name, "attention", (program,)) for program in programs]

    def _unfused(self) -> list[Operator]:
        shape, buffers = self.builder.attention_shape, self.buffers
        assert buffers.scores is not None
        assert buffers.probabilities is not None
        attention = UnfusedAttention(
            shape,
            buffers.q,
            self.tensors.k_cache,
            self.tensors.v_cache,
            buffers.scores,
            buffers.probabilities,
            buffers.context,
            buffers.space,
            self.phase.dtype,
        )
        searches = cache(lambda: self.builder.mapper.search_unfused(attention))
        heads, dtype = shape.batch * shape.kv_heads, self.phase.dtype
        rows = shape.q_heads // shape.kv_heads * shape.q_len
        qk = Kernel("batched_gemm", (heads, rows, shape.kv_len, shape.head_dim), dtype)
        softmax = Kernel("softmax", (heads * rows, shape.kv_len), dtype)
        pv = Kernel("batched_gemm", (heads, rows, shape.head_dim, shape.kv_len), dtype)
        return [
            Operator("qk", "attention", lambda: (attention.qk(searches()[0].mapping),), qk),
            Operator("softmax", "softmax", lambda: (attention.softmax(self.builder.chip),), softmax),
            Operator("pv", "attention", lambda: (attention.pv(searches()[1].mapping),), pv),
        ]
