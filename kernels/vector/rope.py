"""Rotary position embedding of queries and of the newest keys, in place."""

from __future__ import annotations

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import RowFootprint, cut_rows, row_register_bytes, rows_per_block
from uarch.chip.schema import Chip
from uarch.program.records import Function

ROPE_OPS = 2
"""Operations per element of a rotated pair: a multiply and a multiply-add."""


def rope(
    name: str,
    chip: Chip,
    q: Tensor,
    k: Tensor,
    table: Tensor,
    *,
    head_dim: int,
    q_len: int,
    kv_len: int,
    k_first: int | None = None,
    dtype: str = "fp16",
) -> TileProgram:
    """Rotate Q and the newest ``q_len`` keys of each sequence: positions ``kv_len - q_len`` to ``kv_len - 1``.

    ``q``: (sequences * q_len) x (heads * head_dim); ``k``: the cache, sequences x (at least kv_len) x (kv_heads *
    head_dim), or other rows of which those from ``k_first`` of each batch entry on are the newest keys; ``table``: row p
    holds the head_dim / 2 cosines, then the head_dim / 2 sines of position p.

    Raises:
        InputError: a row does not fit into a core.
    """
    if head_dim % 2 or q.cols % head_dim or k.cols % head_dim or table.cols != head_dim:
        raise ValueError(f"{name}: columns of {q.name}, {k.name} and {table.name} must be heads of {head_dim}")
    first = kv_len - q_len
    k_first = first if k_first is None else k_first
    too_short = k_first + q_len > k.rows or kv_len > table.rows
    if first < 0 or too_short or q.batch * q.rows != k.batch * q_len:
        raise ValueError(f"{name}: {q.name}, {k.name} and {table.name} do not hold {q_len} of {kv_len} positions")
    writer = ProgramWriter(name, "rope", f"{k.batch} x {q_len} x ({q.cols} + {k.cols})", dtype)
    for tensor, first_row in ((q.in_batches_of(q_len), 0), (k, k_first)):
        loaded_bits = tensor.cols * tensor.element_bits + head_dim * table.element_bits
        row = RowFootprint(l1_bytes=-(-loaded_bits // 8), register_bytes=row_register_bytes(tensor.cols))
        chunk = rows_per_block(name, chip, k.batch * q_len, row)
        chunks = cut_rows(k.batch, q_len, chunk)
        box = chunks.box(tensor, first_row)
        grid = writer.grid(len(chunks.row), 1)
        grid.vector(
            0,
            Function.ROPE,
            box,
            Slot(0),
            b=Box(table, n_rows=chunks.n_rows, n_cols=head_dim, row=first + chunks.row),
            m=chunks.n_rows,
            n=tensor.cols,
            store=box,
            ops_per_element=ROPE_OPS,
        )
        grid.resources(stages=1, l1_bytes=chunk * row.l1_bytes, register_bytes=chunk * row.register_bytes)
    return writer.finish(0)
