"""The router's second half: softmax over the scores of the best experts of every token."""

from __future__ import annotations

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import RowFootprint, cut_rows, row_register_bytes, rows_per_block
from uarch.chip.schema import Chip
from uarch.program.records import Function

SELECT_OPS = 1
"""Operations per score and chosen expert: comparison with the running maximum, as kernels find the best one by one."""
SOFTMAX_OPS = 3
"""Operations per chosen expert: subtract the maximum, add for the sum, multiply by its reciprocal."""


def top_k(name: str, chip: Chip, scores: Tensor, out: Tensor, *, k: int, dtype: str = "fp16") -> TileProgram:
    """``out`` = weights of the ``k`` largest scores of each row, then their columns.

    ``scores``: tokens x experts; ``out``: tokens x 2k in 32 bits. Other gates (sigmoid, choice among groups of experts) cost
    about the same and are taken as this one.

    Raises:
        InputError: a row does not fit into a core.
    """
    rows, experts = scores.batch * scores.rows, scores.cols
    if (out.batch * out.rows, out.cols) != (rows, 2 * k) or k > experts:
        raise ValueError(f"{name}: {out.name} must be {rows} x {2 * k}, and {scores.name} at least {k} wide")
    row = RowFootprint(-(-experts * scores.element_bits // 8), row_register_bytes(experts + 2 * k))
    chunk = rows_per_block(name, chip, rows, row)
    chunks = cut_rows(1, rows, chunk)
    writer = ProgramWriter(name, "router", f"{rows} x top {k} of {experts}", dtype)
    grid = writer.grid(len(chunks.row), 1)
    store = Box(out.as_rows(), n_rows=chunks.n_rows, n_cols=2 * k, row=chunks.row)
    grid.vector(
        0,
        Function.TOP_K,
        chunks.box(scores.as_rows()),
        Slot(0),
        m=chunks.n_rows,
        n=experts,
        store=store,
        parameter=float(k),
        ops_per_element=SELECT_OPS * k + SOFTMAX_OPS * k / experts,
        special_per_row=k + 1,
    )
    grid.resources(stages=1, l1_bytes=chunk * row.l1_bytes, register_bytes=chunk * row.register_bytes)
    return writer.finish(0)
