"""A kernel as a predictor sees it: what is computed, not how; and the protocol of predictors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from kernels.vector.elementwise import GELU_OPS, GELU_SPECIAL_OPS, SILU_OPS, SILU_SPECIAL_OPS
from kernels.vector.norm import LAYER_NORM_OPS
from kernels.vector.rope import ROPE_OPS
from kernels.vector.softmax import SOFTMAX_OPS, SOFTMAX_SPECIAL_OPS
from uarch.chip.schema import Chip
from uarch.datatypes import MatrixDatatype, datatype


class RowCosts(NamedTuple):
    """Costs of a row-wise kernel per element of its result: elements read and written, lane operations, special functions."""

    reads: int
    writes: int
    operations: int
    special: int


ROW_KINDS = {
    "softmax": RowCosts(1, 1, SOFTMAX_OPS, SOFTMAX_SPECIAL_OPS),
    "norm": RowCosts(1, 1, LAYER_NORM_OPS, 0),
    "residual_norm": RowCosts(2, 2, LAYER_NORM_OPS + 1, 0),
    "residual": RowCosts(2, 1, 1, 0),
    "gelu": RowCosts(1, 1, GELU_OPS, GELU_SPECIAL_OPS),
    "silu": RowCosts(2, 1, SILU_OPS, SILU_SPECIAL_OPS),
    "rope": RowCosts(1, 1, ROPE_OPS, 0),
    "embedding": RowCosts(1, 1, 0, 0),
    "copy": RowCosts(1, 1, 0, 0),
}
"""Kinds of sizes (rows, columns of the result). ``silu`` is gated, ``residual_norm`` adds and stores the sum first."""

LINK_KINDS = ("all_reduce", "all_gather", "point_to_point")


@dataclass(frozen=True)
class Kernel:
    """One kernel; hashable and picklable. Its ``sizes``, by ``kind``:

    ``gemm`` (m, n, k); ``batched_gemm`` (batch, m, n, k); ``attention``, fused and causal, (batch, q_heads, kv_heads,
    head_dim, q_len, kv_len); ``LINK_KINDS`` (elements of the whole result, ranks), a ``point_to_point`` having 2;
    ``ROW_KINDS`` (rows, columns).
    """

    kind: str
    sizes: tuple[int, ...]
    dtype: MatrixDatatype

    @property
    def shape(self) -> str:
        """The sizes as text."""
        return " x ".join(map(str, self.sizes))

    @property
    def useful_flops(self) -> int:
        """Two per multiply-accumulate."""
        return 2 * self.macs

    @property
    def element_bytes(self) -> float:
        """Bytes of an element of inputs and results."""
        return datatype(self.dtype).bits / 8

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the arrays, masked scores included."""
        return self._counts[0]

    @property
    def vector_ops(self) -> int:
        """Lane operations of the vector units without special functions."""
        return self._counts[1]

    @property
    def special_ops(self) -> int:
        """Exponentials and the like."""
        return self._counts[2]

    @property
    def dram_read_bytes(self) -> float:
        """Operands, each once."""
        return self._counts[3] * self.element_bytes

    @property
    def dram_write_bytes(self) -> float:
        """Results, each once."""
        return self._counts[4] * self.element_bytes

    @property
    def link_bytes(self) -> float:
        """Received by one chip."""
        return self._counts[5] * self.element_bytes

    @property
    def _counts(self) -> tuple[int, int, int, int, int, int]:
        """MACs, lane operations, special functions; elements read, written, received."""
        if self.kind in ROW_KINDS:
            elements, costs = self.sizes[0] * self.sizes[1], ROW_KINDS[self.kind]
            operations, special = costs.operations * elements, costs.special * elements
            return 0, operations, special, costs.reads * elements, costs.writes * elements, 0
        if self.kind in LINK_KINDS:
            elements, ranks = self.sizes
            received = elements * (ranks - 1) // ranks
            if self.kind == "all_reduce":
                return 0, received, 0, elements, elements, 2 * received
            if self.kind == "all_gather":
                return 0, 0, 0, elements // ranks, received, received
            return 0, 0, 0, 0, elements, elements
        if self.kind == "attention":
            batch, q_heads, kv_heads, head_dim, q_len, kv_len = self.sizes
            scores, queries = batch * q_heads * q_len * kv_len, batch * q_heads * q_len * head_dim
            read = queries + 2 * batch * kv_heads * kv_len * head_dim
            return 2 * scores * head_dim, SOFTMAX_OPS * scores, SOFTMAX_SPECIAL_OPS * scores, read, queries, 0
        batch, m, n, k = self.sizes if self.kind == "batched_gemm" else (1, *self.sizes)
        return batch * m * n * k, 0, 0, batch * (m * k + k * n), batch * m * n, 0


class Predictor(Protocol):
    """Seconds that a kernel takes on a chip, launch excluded.

    Pure; raises :class:`uarch.InputError` for a kind or datatype that it has no model of.
    """

    def __call__(self, chip: Chip, kernel: Kernel) -> float:
        """Predict one kernel on one chip."""
