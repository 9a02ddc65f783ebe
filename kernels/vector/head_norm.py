"""RMSNorm of every head's queries and of the newest keys, in place: before the rotation in models that have it (Qwen3)."""

from __future__ import annotations

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import RowFootprint, row_register_bytes, rows_per_block
from kernels.vector.new_tokens import NewTokens
from kernels.vector.norm import RMS_NORM_OPS, SPECIAL_OPS_PER_ROW
from uarch.chip.schema import Chip
from uarch.program.records import Function


def head_norm(
    name: str,
    chip: Chip,
    q: Tensor,
    k: Tensor,
    q_weights: Tensor,
    k_weights: Tensor,
    *,
    tokens: NewTokens,
    eps: float,
    first_key: int = 0,
    dtype: str = "fp16",
) -> TileProgram:
    """Normalise each head of the queries and keys of new tokens.

    ``q`` and ``k`` with ``first_key`` as for :func:`kernels.vector.rope.rope`; the weights: 1 x head_dim.

    Raises:
        InputError: a row does not fit into a core.
    """
    head_dim = q_weights.cols
    if q.cols % head_dim or k.cols % head_dim or k_weights.cols != head_dim:
        raise ValueError(f"{name}: columns of {q.name} and {k.name} must be heads of {head_dim}")
    writer = ProgramWriter(name, "norm", f"{tokens} x ({q.cols} + {k.cols})", dtype)
    k = tokens.caches(k)
    for tensor, weights, first_row in ((tokens.entries(q), q_weights, 0), (k, k_weights, first_key)):
        loaded_bits = tensor.cols * tensor.element_bits + head_dim * weights.element_bits
        row = RowFootprint(l1_bytes=-(-loaded_bits // 8), register_bytes=row_register_bytes(tensor.cols))
        chunk = rows_per_block(name, chip, tokens.total, row)
        chunks, _ = tokens.cut(chunk)
        box = chunks.box(tensor, first_row)
        grid = writer.grid(len(chunks.row), 1)
        grid.vector(
            0,
            Function.RMS_NORM,
            box,
            Slot(0),
            b=Box(weights, 1, head_dim, cached=True),
            m=chunks.n_rows,
            n=tensor.cols,
            store=box,
            parameter=eps,
            ops_per_element=RMS_NORM_OPS,
            special_per_row=SPECIAL_OPS_PER_ROW * tensor.cols // head_dim,
        )
        grid.resources(stages=1, l1_bytes=chunk * row.l1_bytes, register_bytes=chunk * row.register_bytes)
    return writer.finish(0)
