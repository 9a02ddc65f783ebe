"""Softmax over rows of scores in memory: the middle kernel of unfused attention."""

from __future__ import annotations

import math

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Mask, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import RowFootprint, check_same_shape, cut_rows, row_register_bytes, rows_per_block
from uarch.chip.schema import Chip
from uarch.program.records import Function

SOFTMAX_OPS = 4
"""Operations per score: maximum; scale and subtract it; add for the sum; multiply by the sum's reciprocal."""
SOFTMAX_SPECIAL_OPS = 1
"""Special-function operations per score: the exponential."""
SPECIAL_OPS_PER_ROW = 1
"""Special-function operations per row: the reciprocal of the sum."""


def softmax(
    name: str,
    chip: Chip,
    scores: Tensor,
    out: Tensor,
    *,
    scale: float,
    causal_diagonal: int | None,
    row_repeat: int = 1,
    dtype: str = "fp16",
    issued: float = 0.0,
) -> TileProgram:
    """``out = softmax(scale * scores)`` along rows of ``batch x rows x kv``; ``out`` may be ``scores``.

    With ``causal_diagonal`` d, row r of each batch entry keeps the scores up to column ``r // row_repeat + d``; whole
    rows are read and written all the same. ``issued``: lane-operations per score for which the vector units are taken, if more
    than the arithmetic. A row stays in registers, so that scores are read once.

    Raises:
        InputError: a row does not fit into a core.
    """
    check_same_shape(name, scores, out)
    if causal_diagonal is None:
        scores, out = scores.as_rows(), out.as_rows()
    elif (scores.batch, scores.rows) != (out.batch, out.rows):
        raise ValueError(f"{name}: batch entries of {scores.name} and {out.name} differ")
    row_bytes = -(-scores.cols * scores.element_bits // 8)
    row = RowFootprint(l1_bytes=row_bytes, register_bytes=row_register_bytes(scores.cols))
    chunk = rows_per_block(name, chip, scores.batch * scores.rows, row)
    if causal_diagonal is not None:
        chunk = _whole_queries(chunk, row_repeat)
    chunks = cut_rows(scores.batch, scores.rows, chunk)
    mask = None if causal_diagonal is None else Mask(causal_diagonal, chunks.row // row_repeat, 0, row_repeat)
    writer = ProgramWriter(name, "softmax", f"{scores.batch * scores.rows} x {scores.cols}", dtype)
    grid = writer.grid(len(chunks.row), 1)
    grid.vector(
        0,
        Function.SOFTMAX,
        chunks.box(scores),
        Slot(0),
        m=chunks.n_rows,
        n=scores.cols,
        store=chunks.box(out),
        parameter=scale,
        ops_per_element=max(SOFTMAX_OPS, issued),
        special_per_element=SOFTMAX_SPECIAL_OPS,
        special_per_row=SPECIAL_OPS_PER_ROW,
        mask=mask,
    )
    grid.resources(stages=1, l1_bytes=chunk * row.l1_bytes, register_bytes=chunk * row.register_bytes)
    return writer.finish(0)


def _whole_queries(chunk: int, row_repeat: int) -> int:
    """Rows of a chunk that begins with a query's first row, or lies within one query's rows."""
    return chunk - chunk % row_repeat if chunk >= row_repeat else math.gcd(chunk, row_repeat)
