"""Multi-head latent attention as operators (DeepSeek-V2, arXiv 2405.04434, Section 2.1).

Prefill expands keys and values of all heads from the cached latents. Decode absorbs those weights instead: queries go into
the space of the latents, which are keys and values of one head that all query heads share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.attention.kv_store import kv_store
from kernels.attention.latent import latent_cache, rotate_heads
from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.program.address_space import Tensor
from kernels.program.tile_program import TileProgram
from kernels.vector.norm import norm
from workloads.layers.attention_job import JobTensors
from workloads.layers.buffers import LatentBuffers
from workloads.layers.layer_tensors import LatentTensors, LayerTensors
from workloads.layers.operator import Operator
from workloads.models.model import LatentAttention

if TYPE_CHECKING:
    from workloads.layers.builder import OperatorBuilder


def latent_attention_operators(builder: OperatorBuilder, tensors: LayerTensors) -> list[Operator]:
    """From the normed stream to the context of all heads."""
    latent, weights, buffers = builder.model.latent, tensors.latent, builder.buffers.latent
    assert latent is not None
    assert weights is not None
    assert buffers is not None
    part = _LatentPart(builder, latent, weights, buffers, tensors)
    attend = part.expanded() if builder.phase.expands_latents else part.absorbed()
    return [*part.projections(), *attend]


class _LatentPart:
    """The operators of one layer."""

    def __init__(
        self,
        builder: OperatorBuilder,
        latent: LatentAttention,
        weights: LatentTensors,
        buffers: LatentBuffers,
        tensors: LayerTensors,
    ) -> None:
        self.builder, self.latent, self.weights, self.buffers, self.tensors = builder, latent, weights, buffers, tensors
        self.heads, self.phase = builder.shard.q_heads, builder.phase
        self.stored_later = builder.buffers.new_keys
        """New entries, if a kernel of its own takes them to the cache."""

    def projections(self) -> list[Operator]:
        """Queries of all heads, and the new tokens' cache entries."""
        builder, latent, weights, buffers = self.builder, self.latent, self.weights, self.buffers
        phase, table = self.phase, builder.buffers.rope
        assert table is not None
        down = [Output(Operand(buffers.down.as_rows()), latent.q_rank or 0, latent.cached_dim)]
        source, q_norms = builder.buffers.normed, []
        if buffers.q_latent is not None and weights.q_norm is not None:
            source = buffers.q_latent
            down.insert(0, Output(Operand(source.as_rows()), 0, source.cols))
            q_norms.append(self._norm("q_norm", source, weights.q_norm))
        entries = latent_cache(
            "latent_cache",
            builder.chip,
            buffers.down,
            self.stored_later or self.tensors.k_cache,
            weights.kv_norm,
            table,
            q_len=phase.q_len,
            kv_len=phase.kv_len,
            eps=builder.model.norm_eps,
            first_row=0 if self.stored_later else None,
            dtype=phase.dtype,
        )
        return [
            builder.product_into("latent_down", builder.buffers.normed, weights.down, down),
            *q_norms,
            builder.product("q_up", source, weights.q_up, builder.buffers.q),
            Operator("latent_cache", "rope", (entries,)),
            *self._store(),
        ]

    def _store(self) -> list[Operator]:
        tensors = self.tensors
        if self.stored_later is None or tensors.sequences is None:
            return []
        entries, cache, dim = (self.stored_later,), (tensors.k_cache,), self.latent.cached_dim
        where = (tensors.sequences, tensors.storage)
        program = kv_store("kv_store", entries, cache, *where, head_dim=dim, dtype=self.phase.dtype)
        return [Operator("kv_store", "kv_store", (program,))]

    def expanded(self) -> list[Operator]:
        """Prefill: keys and values of all heads, then plain attention."""
        builder, latent, buffers, heads = self.builder, self.latent, self.buffers, self.heads
        keys, values, q = buffers.keys, buffers.values, builder.buffers.q
        assert keys is not None
        assert values is not None
        tokens, nope, width = self.phase.tokens, latent.nope_dim, latent.head_dim
        head = np.arange(heads)
        latents = Operand((self.stored_later or self.tensors.k_cache).as_rows())
        k_shape = GemmShape(tokens, nope, latent.kv_rank, heads)
        k_parts = [Output(Operand(keys.as_rows(), col=head * width), 0, nope)]
        v_shape = GemmShape(tokens, heads * latent.value_dim, latent.kv_rank)
        v_parts = [Output(Operand(values.as_rows()), 0, v_shape.n)]
        return [
            self._rotate("q_rope", q, q, (nope, width), (nope, width)),
            self._rotate("k_rope", buffers.down, keys, (latent.kv_rank, 0), (nope, width)),
            self._product("k_up", k_shape, latents, Operand(self.weights.k_up, col=head * nope), k_parts),
            self._product("v_up", v_shape, latents, Operand(self.weights.v_up), v_parts),
            builder.plain_attention(q, keys, values, builder.buffers.context, builder.phase.score_mask),
        ]

    def absorbed(self) -> list[Operator]:
        """Decode: every head's query in the space of the latents; attention over the cache; values of every head."""
        builder, latent, buffers = self.builder, self.latent, self.buffers
        absorbed, contexts, q = buffers.absorbed, buffers.latent_context, builder.buffers.q
        assert absorbed is not None
        assert contexts is not None
        tokens, nope, rank, head = self.phase.tokens, latent.nope_dim, latent.kv_rank, np.arange(self.heads)
        q_shape = GemmShape(tokens, rank, nope, self.heads)
        queries = Operand(q.as_rows(), col=head * latent.head_dim)
        q_parts = [Output(Operand(absorbed.as_rows(), col=head * latent.cached_dim), 0, rank)]
        v_shape = GemmShape(tokens, latent.value_dim, rank, self.heads)
        v_parts = [Output(Operand(builder.buffers.context.as_rows(), col=head * latent.value_dim), 0, latent.value_dim)]
        of_head = Operand(contexts.as_rows(), col=head * rank)
        k_up, v_up = (
            Operand(self.weights.k_up, col=head * nope),
            Operand(self.weights.v_up, col=head * latent.value_dim),
        )
        return [
            self._rotate("q_rope", q, absorbed, (nope, latent.head_dim), (rank, latent.cached_dim)),
            self._product("q_absorb", q_shape, queries, k_up, q_parts, transpose_b=True),
            self._attention(absorbed, contexts),
            self._product("v_up", v_shape, of_head, v_up, v_parts),
        ]

    def _attention(self, queries: Tensor, contexts: Tensor) -> Operator:
        """Over the cache, of which keys and values are parts."""
        builder, cache, mask = self.builder, self.tensors.k_cache, self.phase.score_mask
        if self.tensors.sequences is None:
            return builder.plain_attention(queries, cache, cache, contexts, mask)
        operands = JobTensors(queries, cache, cache, contexts, self.tensors.storage, self.tensors.sequences)
        return builder.attention(builder.attention_shape, operands, mask, self.phase.kv_dtype)

    def _norm(self, name: str, x: Tensor, weights: Tensor) -> Operator:
        model, dtype = self.builder.model, self.phase.dtype
        rows = x.as_rows()
        program = norm(name, self.builder.chip, rows, weights, rows, norm=model.norm, eps=model.norm_eps, dtype=dtype)
        return Operator(name, "norm", (program,))

    def _rotate(self, name: str, x: Tensor, out: Tensor, source: tuple[int, int], target: tuple[int, int]) -> Operator:
        phase, table = self.phase, self.builder.buffers.rope
        assert table is not None
        program = rotate_heads(
            name,
            self.builder.chip,
            x,
            out,
            table,
            heads=self.heads,
            source=source,
            target=target,
            q_len=phase.q_len,
            kv_len=phase.kv_len,
            dtype=phase.dtype,
        )
        return Operator(name, "rope", (program,))

    def _product(
        self, name: str, shape: GemmShape, a: Operand, b: Operand, outputs: list[Output], *, transpose_b: bool = False
    ) -> Operator:
        space, dtype = self.builder.buffers.space, self.phase.dtype

        def build(mapping: GemmMapping) -> TileProgram:
            return gemm(name, shape, a, b, outputs, mapping, space, dtype=dtype, transpose_b=transpose_b)

        return Operator(name, "gemm", (build(self.builder.mapper.gemm(shape, build)),))
