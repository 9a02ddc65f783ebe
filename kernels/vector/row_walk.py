"""Vector kernels as libraries write them: a block of threads walks along its row and waits for each load before the next.

A step is one iteration of the block's loop: every thread loads its elements, computes and stores. Only other resident blocks,
of which the threads of a core allow few, hide the latency. Norms walk twice: for the row's moments, then to scale it. What is
read again, by the same block or by others of its core, is found in L1: the row of a norm, its weights, a rotation's sines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Box, Grid, ProgramWriter, Slot, TileProgram
from kernels.vector.libraries import RowKernel
from kernels.vector.new_tokens import NewTokens
from kernels.vector.norm import NORMS
from uarch.chip.schema import Chip
from uarch.program.records import Function

_RESULT, _MOMENTS, _SUM = Slot(0), Slot(1), Slot(2)
_MOMENT_COLS = 3

REDUCTION_BARRIERS = 4
"""A sum over a block's threads: five shuffles within warps, a barrier, five over the warps' sums, a barrier; the shuffles take
about as long as a barrier each time."""

WARP_GROUPS = 4
"""Parts into which a block whose threads never meet is divided: each stands for a quarter of its warps."""

_Fill = Callable[[Grid, int, int, int, int], None]
"""Fills the steps of one iteration: (grid, first step, first column, columns, columns from one iteration to the next)."""


@dataclass(frozen=True)
class _Walk:
    """The rows of a matrix, a block each, and the strides in which their columns are walked."""

    chip: Chip
    kernel: RowKernel
    rows: npt.NDArray[np.int64]
    cols: int

    @staticmethod
    def over(chip: Chip, kernel: RowKernel, matrix: Tensor, cols: int) -> _Walk:
        """Walk over all rows of ``matrix``."""
        return _Walk(chip, kernel, np.arange(matrix.batch * matrix.rows), cols)

    @property
    def threads(self) -> int:
        """Threads of a block: as many as the row has work for."""
        return min(self.kernel.threads, -(-self.cols // self.kernel.elements))

    @property
    def stride(self) -> int:
        """Columns that a block works on in one iteration."""
        return self.threads * self.kernel.elements

    def box(self, tensor: Tensor, col: int, n_cols: int, step: int, *, cached: bool = False) -> Box:
        """Box of the rows' columns from ``col`` on; ``cached``: loads go by way of L1's cache."""
        return Box(tensor.as_rows(), 1, n_cols, row=self.rows, col=col, step_col=step, cached=cached)

    def add(self, grid: Grid, j: int, fill: _Fill, steps: int = 1) -> None:
        """Fill the steps from ``j`` on, ``steps`` an iteration: a loop over whole strides, then what is left of the row."""
        whole, rest = divmod(self.cols, self.stride)
        fill(grid, j, 0, self.stride if whole else rest, self.stride)
        grid.loop(j, steps, whole)
        fill(grid, j + steps, whole * self.stride if rest else 0, rest or self.stride if whole else rest, 0)
        grid.loop(j + steps, steps, 1 if rest else 0)

    def resources(self, grid: Grid, loaded_bytes_per_element: int = 0) -> None:
        """Set what a block needs of a core: room in L1 for the loads of unrolled iterations, and its threads' registers.

        Loads that go by way of L1's cache take no place there in advance.
        """
        core = self.chip.core
        share = self.threads / core.max_threads
        grid.resources(
            stages=self.kernel.unrolled,
            l1_bytes=min(core.l1.bytes, self.kernel.unrolled * self.stride * loaded_bytes_per_element),
            register_bytes=int(core.register_bytes * share),
        )


def row_silu_mul(name: str, chip: Chip, x: Tensor, out: Tensor, kernel: RowKernel, *, dtype: str) -> TileProgram:
    """``out = silu(x[:, :F]) * x[:, F:]``; shapes as for :func:`kernels.vector.elementwise.activation`.

    Its threads never meet: groups of warps walk on by themselves, each a block of the program. Blocks with a core to themselves
    stay whole, so that no row gets several cores.
    """
    walk = _Walk.over(chip, kernel, out, out.cols)
    width = -(-walk.stride // WARP_GROUPS) if len(walk.rows) >= chip.core.count else walk.stride
    groups = -(-min(walk.stride, out.cols) // width)
    row, first = np.repeat(walk.rows, groups), np.tile(np.arange(groups) * width, len(walk.rows))
    whole, rest = divmod(out.cols, walk.stride)
    writer = ProgramWriter(name, "activation", f"{len(walk.rows)} x {out.cols}", dtype)
    grid = writer.grid(len(row), 2)
    for j, start, n_cols, times in ((0, 0, walk.stride, whole), (1, whole * walk.stride, rest, 1)):
        n = np.clip(n_cols - first, 0, width)
        col, used = np.where(n > 0, start + first, 0), np.maximum(n, 1)
        a, b, store = (
            Box(tensor.as_rows(), 1, used, row=row, col=col + half, step_col=walk.stride)
            for tensor, half in ((x, 0), (x, out.cols), (out, 0))
        )
        ops = kernel.lane_ops(chip)
        grid.vector(j, Function.SILU_MUL, a, _RESULT, b=b, m=1, n=used, store=store, ops_per_element=ops)
        grid.loop(j, 1, times * (n > 0))
    core = chip.core
    grid.resources(
        stages=1,
        l1_bytes=min(core.l1.bytes, width * 2 * x.element_bits // 8),
        register_bytes=core.register_bytes // (max(1, core.max_threads // walk.threads) * groups),
    )
    return writer.finish(0)


def row_norm(
    name: str,
    chip: Chip,
    x: Tensor,
    weights: Tensor,
    out: Tensor,
    kernel: RowKernel,
    *,
    norm: str,
    eps: float,
    dtype: str,
    delta: Tensor | None = None,
) -> TileProgram:
    """``out = norm(x)``, with ``delta`` after ``x += delta``; shapes as for :func:`kernels.vector.norm.norm`.

    A row may be of any length; ``out`` may be ``x``. A sum with ``delta`` is stored in the first pass and read again in the
    second.
    """
    walk = _Walk.over(chip, kernel, x, x.cols)
    ops = kernel.lane_ops(chip, passes=2)
    scale = Function.RMS_SCALE if norm == "rmsnorm" else Function.LAYER_SCALE

    def sum_up(grid: Grid, j: int, col: int, n: int, advance: int) -> None:
        source: Box | Slot = walk.box(x, col, n, advance)
        if delta is not None:
            added = walk.box(delta, col, n, advance)
            grid.vector(j, Function.ADD, source, _SUM, b=added, m=1, n=n, store=walk.box(x, col, n, advance))
            source, j = _SUM, j + 1
        grid.vector(j, Function.MOMENTS, source, _MOMENTS, m=1, n=n, ops_per_element=ops)

    def scale_row(grid: Grid, j: int, col: int, n: int, advance: int) -> None:
        weight = Box(weights.as_rows(), NORMS[norm].weight_rows, n, col=col, step_col=advance, cached=True)
        grid.vector(
            j,
            scale,
            walk.box(x, col, n, advance),
            _RESULT,
            b=weight,
            state=_MOMENTS,
            m=1,
            n=n,
            store=walk.box(out, col, n, advance),
            parameter=eps,
            ops_per_element=ops,
        )

    writer = ProgramWriter(name, "norm", f"{len(walk.rows)} x {x.cols}", dtype)
    steps = 1 if delta is None else 2
    grid = writer.grid(len(walk.rows), 2 * steps + 3)
    walk.add(grid, 0, sum_up, steps)
    reduction = kernel.thread_ops(chip) * walk.threads / _MOMENT_COLS
    grid.vector(
        2 * steps,
        Function.IDENTITY,
        _MOMENTS,
        _MOMENTS,
        m=1,
        n=_MOMENT_COLS,
        ops_per_element=reduction,
        barriers=REDUCTION_BARRIERS,
    )
    walk.add(grid, 2 * steps + 1, scale_row)
    walk.resources(grid)
    return writer.finish(0)


def row_rope(
    name: str,
    chip: Chip,
    q: Tensor,
    k: Tensor,
    table: Tensor,
    kernel: RowKernel,
    tokens: NewTokens,
    *,
    first_key: int = 0,
    dtype: str,
) -> TileProgram:
    """Rotate the queries and keys of new tokens in place, one block a token; shapes as for :func:`kernels.vector.rope.rope`."""
    head_dim = table.cols
    writer = ProgramWriter(name, "rope", f"{q.batch * q.rows} x ({q.cols} + {k.cols})", dtype)
    ops = kernel.lane_ops(chip)
    queries = _Walk.over(chip, kernel, q, q.cols)
    keys = _Walk(chip, kernel, tokens.rows_in_caches(k, first_key), k.cols)
    cos_sin = Box(table.as_rows(), 1, head_dim, row=tokens.positions, cached=True)
    grid = writer.grid(len(queries.rows), 4)
    for i, (tensor, walk) in enumerate(((q, queries), (k, keys))):
        stride = max(head_dim, walk.stride - walk.stride % head_dim)
        whole, rest = divmod(tensor.cols, stride)
        for j, col, n, advance, times in (
            (2 * i, 0, stride if whole else rest, stride, whole),
            (2 * i + 1, whole * stride if rest else 0, rest or min(stride, tensor.cols), 0, int(rest > 0)),
        ):
            box = walk.box(tensor, col, n, advance)
            grid.vector(j, Function.ROPE, box, _RESULT, b=cos_sin, m=1, n=n, store=box, ops_per_element=ops)
            grid.loop(j, 1, times)
    queries.resources(grid, q.element_bits // 8)
    return writer.finish(0)
