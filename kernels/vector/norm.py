"""RMSNorm and LayerNorm over rows, alone or fused with the residual addition before it.

Blocks are persistent: each keeps the weights in registers and walks over chunks of rows, loading one ahead. The blocks
advance over the matrix together, so that neighbouring rows (which share granules) are read at about the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, Grid, Ints, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import RowFootprint, check_same_shape, row_register_bytes, rows_per_block
from uarch.chip.schema import Chip
from uarch.errors import InputError
from uarch.program.records import Function


@dataclass(frozen=True)
class _Norm:
    function: Function
    weight_rows: int
    ops_per_element: int


RMS_NORM_OPS = 3
"""Operations per element of an RMSNorm: square and add; scale by the reciprocal root; multiply by gamma."""
LAYER_NORM_OPS = 5
"""Operations per element of a LayerNorm: add for the mean; subtract it; square and add; scale; gamma with beta."""
SPECIAL_OPS_PER_ROW = 1
"""Special-function operations per row: the reciprocal square root."""

STAGES = 2
"""Chunks in a core at a time: the next one arrives while this one is normalised."""

NORMS = {
    "rmsnorm": _Norm(Function.RMS_NORM, 1, RMS_NORM_OPS),
    "layernorm": _Norm(Function.LAYER_NORM, 2, LAYER_NORM_OPS),
}

_WEIGHTS, _ROWS = Slot(0), Slot(1)


def norm(
    name: str,
    chip: Chip,
    hidden: Tensor,
    weights: Tensor,
    out: Tensor,
    *,
    norm: str,
    eps: float,
    delta: Tensor | None = None,
    dtype: str = "fp16",
) -> TileProgram:
    """``out = norm(hidden)``; with ``delta`` first ``hidden += delta``, which is stored.

    ``hidden``, ``delta`` and ``out`` are ``rows x cols``; ``weights`` has ``cols`` columns and one row (gamma) for
    ``rmsnorm``, two (gamma, beta) for ``layernorm``.

    Raises:
        InputError: unknown ``norm``, or a row that does not fit into a core.
    """
    if norm not in NORMS:
        raise InputError(f"norm: {norm!r} is unknown; allowed are {', '.join(NORMS)}")
    kind = NORMS[norm]
    inputs = [hidden.as_rows()] if delta is None else [hidden.as_rows(), delta.as_rows()]
    check_same_shape(name, *inputs, out)
    if (weights.batch * weights.rows, weights.cols) != (kind.weight_rows, hidden.cols):
        raise ValueError(f"{name}: {weights.name} must be {kind.weight_rows} x {hidden.cols}")

    rows, cols = inputs[0].rows, inputs[0].cols
    row_bytes = -(-cols * sum(tensor.element_bits for tensor in inputs) // 8)
    weight_bytes = -(-kind.weight_rows * cols * weights.element_bits // 8)
    stages = STAGES if STAGES * max(row_bytes, weight_bytes) <= chip.core.l1.bytes else 1
    row = RowFootprint(stages * row_bytes, row_register_bytes(cols), kind.weight_rows * row_register_bytes(cols))
    chunk = rows_per_block(name, chip, rows, row, resident_blocks=1)

    writer = ProgramWriter(name, "norm", f"{rows} x {cols}", dtype)
    whole, rest = divmod(rows, chunk)
    n_blocks = min(chip.core.count, whole + (rest > 0))
    block = np.arange(n_blocks)
    grid = writer.grid(n_blocks, 1 + 2 * len(inputs))
    grid.vector(0, Function.IDENTITY, _whole(weights), _WEIGHTS, m=kind.weight_rows, n=cols)
    of_block = (whole - block + n_blocks - 1) // n_blocks
    takes_rest = (block == whole % n_blocks) & (rest > 0)
    for first_step, n_rows, first_row, step_row, repeat in (
        (1, chunk, block * chunk, n_blocks * chunk, of_block),
        (1 + len(inputs), max(1, rest), whole * chunk, 0, takes_rest.astype(np.int64)),
    ):
        boxes = [Box(tensor, n_rows, cols, row=first_row, step_row=step_row) for tensor in (*inputs, out.as_rows())]
        _norm_chunk(grid, first_step, kind, boxes, n_rows, cols, eps)
        grid.loop(first_step, len(inputs), repeat)
    grid.resources(
        stages=stages,
        l1_bytes=stages * max(chunk * row_bytes, weight_bytes),
        register_bytes=(chunk + kind.weight_rows) * row_register_bytes(cols),
    )
    return writer.finish(0)


def _norm_chunk(grid: Grid, j: int, kind: _Norm, boxes: list[Box], m: Ints, n: int, eps: float) -> None:
    """Steps from ``j`` on for one chunk; ``boxes`` are hidden, delta if there is one, and out."""
    source: Box | Slot = boxes[0]
    if len(boxes) == 3:
        grid.vector(j, Function.ADD, boxes[0], _ROWS, b=boxes[1], m=m, n=n, store=boxes[0])
        source, j = _ROWS, j + 1
    grid.vector(
        j,
        kind.function,
        source,
        _ROWS,
        b=_WEIGHTS,
        m=m,
        n=n,
        store=boxes[-1],
        parameter=eps,
        ops_per_element=kind.ops_per_element,
        special_per_row=SPECIAL_OPS_PER_ROW,
    )


def _whole(tensor: Tensor) -> Box:
    flat = tensor.as_rows()
    return Box(flat, flat.rows, flat.cols)
