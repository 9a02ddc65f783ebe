"""Attention through memory: scores, softmax and weighted sums as three kernels.

Tensors are those of :mod:`kernels.attention.streamed`; the scores of all heads lie in memory between the kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kernels.attention.attention import Attention
from kernels.attention.tensors import AttentionTensors
from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import TileProgram
from kernels.vector.by_library import VectorKernels
from uarch.arrays import IntArray


@dataclass(frozen=True)
class UnfusedAttention:
    """Attention through memory: scores = Q K^T, a softmax kernel over them, out = probabilities x V.

    ``scores`` and ``probabilities`` are made by :func:`scores_tensor`. Query heads of a group are rows of one matrix if there
    is a single query position. Masked scores are computed like all others, but do not count as useful.
    """

    attention: Attention
    tensors: AttentionTensors
    scores: Tensor
    probabilities: Tensor
    space: AddressSpace

    @property
    def pack(self) -> int:
        """Query heads whose rows form one matrix."""
        return score_packing(self.attention)

    @property
    def qk_shape(self) -> GemmShape:
        """Scores of all sequences and heads (or groups)."""
        attention = self.attention
        return GemmShape(attention.q_len * self.pack, attention.kv_len, attention.head_dim, self._entries)

    @property
    def pv_shape(self) -> GemmShape:
        """Weighted sums of values."""
        attention = self.attention
        return GemmShape(attention.q_len * self.pack, attention.head_dim, attention.kv_len, self._entries)

    def qk(self, mapping: GemmMapping) -> TileProgram:
        """Tile program of the scores."""
        batch, col, kv_col = self._columns()
        entries = np.arange(self._entries)
        a = Operand(self.tensors.q, batch=batch, col=col, pack=self.pack)
        outputs = [Output(Operand(self.scores, batch=entries), 0, self.attention.kv_len)]
        keys = Operand(self.tensors.cache.k, batch=batch, col=kv_col)
        program = gemm(
            "qk", self.qk_shape, a, keys, outputs, mapping, self.space, dtype=self.attention.dtype, transpose_b=True
        )
        return replace(program, useful_flops=self.attention.flops // 2)

    def softmax(self, kernels: VectorKernels) -> TileProgram:
        """Tile program of the probabilities, as a library writes it.

        Raises :class:`uarch.InputError` if a row of scores does not fit into a core.
        """
        return kernels.softmax(
            "softmax",
            self.scores,
            self.probabilities,
            scale=self.attention.head_dim**-0.5,
            causal_diagonal=self.attention.kv_len - self.attention.q_len if self.attention.causal else None,
            row_repeat=self.pack,
            dtype=self.attention.dtype,
        )

    def pv(self, mapping: GemmMapping) -> TileProgram:
        """Tile program of the weighted sums."""
        batch, col, kv_col = self._columns()
        a = Operand(self.probabilities, batch=np.arange(self._entries))
        outputs = [Output(Operand(self.tensors.out, batch=batch, col=col, pack=self.pack), 0, self.attention.head_dim)]
        values = Operand(self.tensors.cache.v, batch=batch, col=kv_col)
        program = gemm("pv", self.pv_shape, a, values, outputs, mapping, self.space, dtype=self.attention.dtype)
        return replace(program, useful_flops=self.attention.flops // 2)

    @property
    def _entries(self) -> int:
        return self.attention.batch * self.attention.q_heads // self.pack

    def _columns(self) -> tuple[IntArray, IntArray, IntArray]:
        """Sequence, first column in Q and first column in the caches of every batch entry."""
        batch, head = np.divmod(np.arange(self._entries), self.attention.q_heads // self.pack)
        first_head = head * self.pack
        return batch, first_head * self.attention.head_dim, first_head // self.attention.group * self.attention.head_dim


def score_packing(attention: Attention) -> int:
    """Query heads whose scores form one matrix in unfused attention: a whole group for a single query position."""
    return attention.group if attention.q_len == 1 else 1


def scores_tensor(space: AddressSpace, name: str, attention: Attention) -> Tensor:
    """Allocate a tensor for the scores of unfused attention: one batch entry for each sequence and head (or group)."""
    pack = score_packing(attention)
    return space.allocate(
        name,
        attention.q_len * pack,
        attention.kv_len,
        attention.element_bits,
        batch=attention.batch * attention.q_heads // pack,
    )
