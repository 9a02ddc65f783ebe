"""Token embedding from a table that is split by vocabulary over the chips of a tensor-parallel group.

One block a core; the blocks take tokens in turn, so that tokens which are written at the same time share granules.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import RowFootprint, check_row_fits, row_register_bytes
from uarch.chip.schema import Chip
from uarch.program.records import Function

STAGES = 4
"""Rows of a core under way: three arrive while one is written, more than the bandwidth-delay product of DRAM."""


def embedding(
    name: str,
    chip: Chip,
    token_ids: npt.NDArray[np.int64],
    table: Tensor,
    out: Tensor,
    *,
    first_id: int,
    dtype: str = "fp16",
) -> TileProgram:
    """Row t of ``out`` is the table's row of token t, or zeros if the table does not hold it.

    ``token_ids``: int64, as many as ``out`` has rows; ``table``: rows of the ids from ``first_id`` on, best allocated
    with ``granule_rows=1``. The sum of all ranks' results is the embedding.

    Raises:
        InputError: a row does not fit into a core.
    """
    ids = np.asarray(token_ids, np.int64).ravel() - first_id
    table, out = table.as_rows(), out.as_rows()
    if (len(ids), table.cols) != (out.rows, out.cols):
        raise ValueError(f"{name}: {out.name} must be {len(ids)} x {table.cols}")
    row = RowFootprint(-(-table.cols * table.element_bits // 8), row_register_bytes(table.cols))
    check_row_fits(name, chip, row)
    n_blocks = min(chip.core.count, len(ids))
    per_block = -(-len(ids) // n_blocks)
    token = np.arange(n_blocks)[:, None] + np.arange(per_block) * n_blocks
    present = token < len(ids)
    token = np.minimum(token, len(ids) - 1)
    here = present & (ids[token] >= 0) & (ids[token] < table.rows)
    table_row = np.where(here, ids[token], 0)

    writer = ProgramWriter(name, "embedding", f"{len(ids)} x {table.cols}", dtype)
    grid = writer.grid(n_blocks, 2 * per_block)
    for i in range(per_block):
        store = Box(out, 1, out.cols, row=token[:, i])
        for j, function, source, executed in (
            (2 * i, Function.IDENTITY, Box(table, 1, table.cols, row=table_row[:, i]), here[:, i]),
            (2 * i + 1, Function.ZERO, Slot(0), present[:, i] & ~here[:, i]),
        ):
            grid.vector(j, function, source, Slot(0), m=1, n=out.cols, store=store)
            grid.loop(j, 1, executed.astype(np.int64))
    stages = min(STAGES, chip.core.l1.bytes // row.l1_bytes)
    grid.resources(stages=stages, l1_bytes=stages * row.l1_bytes, register_bytes=row.register_bytes)
    return writer.finish(0)
