"""What kind of kernel a kernel is on a chip: what bounds it by its shape, and what is special about the shape."""

from __future__ import annotations

from math import ceil

from uarch.chip.schema import Chip
from workloads.predictors.kernel import Kernel
from workloads.predictors.roofline import busy_seconds

BOUNDS = ("compute", "memory", "latency")
SHAPES = ("small", "ragged", "skinny", "sparse", "regular")
REGIMES = BOUNDS + SHAPES

LATENCY_SECONDS = 4e-6
"""A kernel whose roofline is shorter is bound by latency: filling and draining a chip takes about as long."""
TILE = 128
"""Rows and columns of the output tile in which quantisation is measured."""
SKINNY = 64
"""Rows or columns up to which a product is skinny: less than half a tile."""
RAGGED = 64
"""Sizes that are no multiple of it leave part of a tile empty."""


def regimes(chip: Chip, kernel: Kernel) -> tuple[str, ...]:
    """Names out of ``REGIMES``: one of ``BOUNDS``, then all of ``SHAPES`` that apply, ``regular`` if none does.

    small: fewer output tiles than cores; ragged: a size that no whole number of tiles covers; skinny: few rows or columns;
    sparse: a causal mask drops scores.
    """
    busy = busy_seconds(chip, kernel)
    compute = max(busy["arrays"], busy["vector"], busy["special"])
    bound = "latency" if max(busy.values()) < LATENCY_SECONDS else "compute" if compute > busy["dram"] else "memory"
    rows, cols, depth, batch = _product(kernel)
    shapes = []
    if _tiles(rows, cols, batch) < chip.core.count:
        shapes.append("small")
    if any(size > RAGGED and size % RAGGED for size in (rows, cols, depth)):
        shapes.append("ragged")
    if min(rows, cols) <= SKINNY:
        shapes.append("skinny")
    if kernel.kind == "attention" and kernel.sizes[4] > 1:
        shapes.append("sparse")
    return (bound, *(shapes or ["regular"]))


def intensity(kernel: Kernel) -> float:
    """FLOP of the arrays per byte that must cross the memory."""
    return 2 * kernel.macs / (kernel.dram_read_bytes + kernel.dram_write_bytes)


def quantisation(chip: Chip, kernel: Kernel) -> float:
    """Useful part of the output tiles of ``TILE`` x ``TILE`` in whole waves over the cores, 0 to 1."""
    rows, cols, _, batch = _product(kernel)
    tiles = _tiles(rows, cols, batch)
    waves = ceil(tiles / chip.core.count)
    return batch * rows * cols / (waves * chip.core.count * TILE * TILE)


def _tiles(rows: int, cols: int, batch: int) -> int:
    return batch * ceil(rows / TILE) * ceil(cols / TILE)


def _product(kernel: Kernel) -> tuple[int, int, int, int]:
    """Rows, columns, depth and number of the products; of attention those with the values, heads of a group packed."""
    if kernel.kind == "attention":
        batch, q_heads, kv_heads, head_dim, q_len, kv_len = kernel.sizes
        return q_len * (q_heads // kv_heads), head_dim, kv_len, batch * kv_heads
    m, n, k = kernel.sizes
    return m, n, k, 1
