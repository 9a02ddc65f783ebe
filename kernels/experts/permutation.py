"""Token permutation of a mixture of experts: copies sorted by expert, and their weighted sums back in order.

Rows go one by one, each where the routing says; blocks take them in turn, so that rows which are written at the same time
share granules.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.experts.routing import Routing
from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import RowFootprint, check_row_fits, row_register_bytes
from uarch.arrays import IntArray
from uarch.chip.schema import Chip
from uarch.program.records import Function

STAGES = 4
"""Rows of a block under way: three arrive while one is written, more than the bandwidth-delay product of DRAM."""
BLOCKS_PER_CORE = 2

_SUM, _WEIGHTS = Slot(0), Slot(1)


def permute(name: str, chip: Chip, routing: Routing, x: Tensor, out: Tensor, *, dtype: str = "fp16") -> TileProgram:
    """Row r of ``out`` is the row of ``x`` of the token whose copy it is.

    ``x``: tokens x hidden; ``out``: at least tokens * top_k rows.

    Raises:
        InputError: a row does not fit into a core.
    """
    x, out = x.as_rows(), out.as_rows()
    token = routing.token_of_row
    if x.cols != out.cols or x.rows != routing.tokens or out.rows < len(token):
        raise ValueError(f"{name}: {x.name} and {out.name} do not hold {routing.tokens} tokens and {len(token)} copies")
    row = RowFootprint(-(-x.cols * x.element_bits // 8), row_register_bytes(x.cols))
    check_row_fits(name, chip, row)
    number, present = _in_turn(chip, len(token))
    writer = ProgramWriter(name, "permutation", f"{routing.tokens} x {routing.top_k} x {x.cols}", dtype)
    grid = writer.grid(*number.shape)
    for i in range(number.shape[1]):
        source = Box(x, 1, x.cols, row=token[number[:, i]])
        store = Box(out, 1, x.cols, row=number[:, i])
        grid.vector(i, Function.IDENTITY, source, _SUM, m=1, n=x.cols, store=store)
        grid.loop(i, 1, present[:, i].astype(np.int64))
    stages = max(1, min(STAGES, chip.core.l1.bytes // (BLOCKS_PER_CORE * row.l1_bytes)))
    grid.resources(stages=stages, l1_bytes=stages * row.l1_bytes, register_bytes=row.register_bytes)
    return writer.finish(0)


def unpermute(
    name: str,
    chip: Chip,
    routing: Routing,
    x: Tensor,
    weights: Tensor,
    out: Tensor,
    *,
    shared: Tensor | None = None,
    dtype: str = "fp16",
) -> TileProgram:
    """Row t of ``out`` is the sum of the token's copies in ``x``, times their weights, and its row of ``shared`` if given.

    ``x``: rows as :func:`permute` leaves them; ``weights``: tokens x 2 top_k, as :func:`kernels.experts.router.top_k` stores
    them: the weight of a token's copy j in column j; ``out`` and ``shared``: tokens x hidden.

    Raises:
        InputError: a row does not fit into a core.
    """
    x, out = x.as_rows(), out.as_rows()
    if x.cols != out.cols or out.rows != routing.tokens or x.rows < routing.tokens * routing.top_k:
        raise ValueError(f"{name}: {x.name} and {out.name} do not hold {routing.tokens} tokens and their copies")
    row = RowFootprint(-(-x.cols * x.element_bits // 8), 2 * row_register_bytes(x.cols))
    check_row_fits(name, chip, row)
    number, present = _in_turn(chip, routing.tokens)
    k, n = routing.top_k, x.cols
    per_token = k + 1 + (shared is not None)
    writer = ProgramWriter(name, "permutation", f"{routing.tokens} x {k} x {n}", dtype)
    grid = writer.grid(len(number), number.shape[1] * per_token)
    for i in range(number.shape[1]):
        token, first = number[:, i], i * per_token
        gates = Box(weights.as_rows(), 1, k, row=token)
        grid.vector(first, Function.IDENTITY, gates, _WEIGHTS, m=1, n=k, ops_per_element=0)
        sources = [(x, routing.row_of_copy[token, copy]) for copy in range(k)]
        for copy, (tensor, row_number) in enumerate(sources):
            j = first + 1 + copy
            last = copy == k - 1 and shared is None
            box, gate = Box(tensor, 1, n, row=row_number), Slot(_WEIGHTS.index, col=copy, n_cols=1)
            # The first product starts the sum: the slot still holds the token before.
            function = Function.SCALE if copy == 0 else Function.MULTIPLY_ADD
            store = Box(out, 1, n, row=token) if last else None
            grid.vector(j, function, box, _SUM, b=gate, m=1, n=n, store=store, parameter=1.0)
        if shared is not None:
            box, store = Box(shared.as_rows(), 1, n, row=token), Box(out, 1, n, row=token)
            grid.vector(first + k + 1, Function.ADD, box, _SUM, b=_SUM, m=1, n=n, store=store)
        for j in range(first, first + per_token):
            grid.loop(j, 1, present[:, i].astype(np.int64))
    stages = max(1, min(STAGES, chip.core.l1.bytes // (BLOCKS_PER_CORE * row.l1_bytes)))
    grid.resources(stages=stages, l1_bytes=stages * row.l1_bytes, register_bytes=row.register_bytes)
    return writer.finish(0)


def _in_turn(chip: Chip, rows: int) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Rows of each block, shape ``(blocks, rows of a block)``, and which of them there are."""
    blocks = min(BLOCKS_PER_CORE * chip.core.count, rows)
    number = np.arange(blocks)[:, None] + np.arange(-(-rows // blocks)) * blocks
    return np.minimum(number, rows - 1), number < rows
