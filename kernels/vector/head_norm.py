"""RMSNorm of every head's queries and of the newest keys, in place: before the rotation in models that have it (Qwen3)."""

from __future__ import annotations

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import RowFootprint, cut_rows, row_register_bytes, rows_per_block
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
    q_len: int,
    kv_len: int,
    eps: float,
    dtype: str = "fp16",
) -> TileProgram:
    """Normalise each head of Q and of the newest ``q_len`` keys of each sequence.

    ``q``: (sequences * q_len) x (heads * head_dim); ``k``: the cache, sequences x (at least kv_len) x (kv_heads *
    head_dim); the weights: 1 x head_dim.

    Raises:
        InputError: a row does not fit into a core.
    """
    head_dim = q_weights.cols
    if q.cols % head_dim or k.cols % head_dim or k_weights.cols != head_dim:
        raise ValueError(f"{name}: columns of {q.name} and {k.name} must be heads of {head_dim}")
    writer = ProgramWriter(name, "norm", f"{k.batch} x {q_len} x ({q.cols} + {k.cols})", dtype)
    for tensor, weights, first_row in ((q.in_batches_of(q_len), q_weights, 0), (k, k_weights, kv_len - q_len)):
        loaded_bits = tensor.cols * tensor.element_bits + head_dim * weights.element_bits
        row = RowFootprint(l1_bytes=-(-loaded_bits // 8), register_bytes=row_register_bytes(tensor.cols))
        chunk = rows_per_block(name, chip, k.batch * q_len, row)
        chunks = cut_rows(k.batch, q_len, chunk)
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
