"""Rotary position embedding of queries and of the newest keys, in place."""

from __future__ import annotations

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import RowFootprint, row_register_bytes, rows_per_block
from kernels.vector.new_tokens import NewTokens
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
    tokens: NewTokens,
    first_key: int = 0,
    dtype: str = "fp16",
) -> TileProgram:
    """Rotate the queries and keys of new tokens by their positions.

    ``q``: a row for each token, heads side by side, each as wide as ``table``. ``k``: likewise, or, of
    sequences with equally many new tokens, a batch entry for each, whose rows from ``first_key`` on are the new keys, as
    in a cache. ``table``: row p holds the cosines, then the sines of position p.

    Raises:
        InputError: a row does not fit into a core.
    """
    head_dim = table.cols
    if head_dim % 2 or q.cols % head_dim or k.cols % head_dim:
        raise ValueError(f"{name}: columns of {q.name} and {k.name} must be heads of {head_dim}, an even number")
    k = tokens.caches(k)
    too_short = first_key + (tokens.equal_q_len or tokens.total) > k.rows or int(tokens.kv_len.max()) > table.rows
    if too_short or q.batch * q.rows != tokens.total:
        raise ValueError(f"{name}: {q.name}, {k.name} and {table.name} must hold {tokens.total} new tokens")
    writer = ProgramWriter(name, "rope", f"{tokens} x ({q.cols} + {k.cols})", dtype)
    for tensor, first_row in ((tokens.entries(q), 0), (k, first_key)):
        loaded_bits = tensor.cols * tensor.element_bits + head_dim * table.element_bits
        row = RowFootprint(l1_bytes=-(-loaded_bits // 8), register_bytes=row_register_bytes(tensor.cols))
        chunk = rows_per_block(name, chip, tokens.total, row)
        chunks, position = tokens.cut(chunk)
        box = chunks.box(tensor, first_row)
        grid = writer.grid(len(chunks.row), 1)
        grid.vector(
            0,
            Function.ROPE,
            box,
            Slot(0),
            b=Box(table, n_rows=chunks.n_rows, n_cols=head_dim, row=position),
            m=chunks.n_rows,
            n=tensor.cols,
            store=box,
            ops_per_element=ROPE_OPS,
        )
        grid.resources(stages=1, l1_bytes=chunk * row.l1_bytes, register_bytes=chunk * row.register_bytes)
    return writer.finish(0)
