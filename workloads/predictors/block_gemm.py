"""A GEMM by LLMCompass's block model (Zhang et al., ISCA 2024), in closed form over all tilings of its search space.

Device memory -> L2 tile -> L1 tile -> lane, each level in lock-step: at every step the next tile is read while the present
one is computed, then sums are written, which nothing overlaps. Loops run over k outermost and m innermost at both levels.
Sizes are in elements, rates in elements per cycle of the tensor clock.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class BlockMachine(NamedTuple):
    """What the model knows of a chip, for one datatype; ``vector_rate`` is FLOP per cycle of one core."""

    cores: int
    lanes: int
    rows: int
    cols: int
    macs_per_pe_per_cycle: float
    l1_elements: int
    l2_elements: int
    dram_rate: float
    l2_rate: float
    l2_read_rate: float
    """Bytes a second from L2 to all cores; what several of them read counts once."""
    vector_rate: float


class Tilings(NamedTuple):
    """Tiles of L2 and of L1 (square but for k), how the lanes of a core share the latter; each of shape ``(tilings,)``."""

    l2_m: Floats
    l2_n: Floats
    l2_k: Floats
    side: Floats
    depth: Floats
    lanes_m: Floats
    lanes_n: Floats
    lanes_k: Floats
    double_buffered: Floats
    """Whether L2 holds two tiles, as 0 or 1."""


@lru_cache(maxsize=256)
def tilings(k: int, lanes: int, l1_elements: int, l2_elements: int) -> Tilings:
    """The tool's search space for a GPU: L2 tiles of powers of two, L1 tiles that leave half of L1 for the next."""
    parts = (1, 2, 4, 8) if k <= 12288 else tuple(k // depth for depth in (1024, 2048, 4096, 8192))
    l2_ks = [1 << (-(-k // part)).bit_length() - 1 for part in parts]
    splits = [split for split in product(range(1, lanes + 1), repeat=3) if np.prod(split) == lanes]
    menu = (
        (64, 128, 256, 512, 1024, 2048),
        (0.5, 1, 2),
        l2_ks,
        (32, 64, 128, 256),
        (1, 2, 4, 8, 16, 32),
        range(len(splits)),
    )
    l2_m, ratio, l2_k, side, k_parts, split = (axis.ravel() for axis in np.meshgrid(*menu, indexing="ij"))
    l2_n, depth = l2_m * ratio, np.ceil(l2_k / k_parts)
    size = l2_m * l2_k + l2_k * l2_n + l2_m * l2_n
    fits_l1 = (side <= np.minimum(l2_m, l2_n)) & (side * side + 2 * side * depth <= l1_elements // 2)
    columns = l2_m, l2_n, l2_k, side, depth, *np.array(splits)[split].T, 2 * size <= l2_elements
    return Tilings(*(column[fits_l1 & (size <= l2_elements)].astype(np.float64) for column in columns))


@lru_cache(maxsize=1 << 16)
def fastest_cycles(m: int, n: int, k: int, machine: BlockMachine) -> float:
    """Cycles of ``m x n x k`` under the fastest tiling."""
    found = tilings(k, machine.lanes, machine.l1_elements, machine.l2_elements)
    return float(gemm_cycles(m, n, k, found, machine).min())


def gemm_cycles(m: int, n: int, k: int, t: Tilings, machine: BlockMachine) -> Floats:
    """A whole GEMM, shape ``(tilings,)``: the first L2 tile's reads, reads against work, the last tile's work, and writes.

    Steps read what they read and work the mean of all, so that ragged GEMMs of a few L2 tiles come out up to 15 % low.
    """
    count_m, count_n, count_k = np.ceil(m / t.l2_m), np.ceil(n / t.l2_n), np.ceil(k / t.l2_k)
    axes = [
        ((count - 1, tile), (np.ones_like(tile), size - (count - 1) * tile))  # full tiles, and the last one
        for size, tile, count in ((m, t.l2_m, count_m), (n, t.l2_n, count_n), (k, t.l2_k, count_k))
    ]
    work = np.zeros_like(t.l2_m)
    for (many_m, size_m), (many_n, size_n), (many_k, size_k) in product(*axes):
        work += many_m * many_n * many_k * l2_tile_cycles(size_m, size_n, size_k, t, machine)
    added = (count_k - 1) * m * n  # sums of an L2 tile to those of the k before, from L2 and back
    work += added / (machine.vector_rate * machine.cores) + 2 * added / machine.l2_rate
    spilt = np.where(count_m * count_n > 1, added, 0)
    steps = count_m * count_n * count_k
    mean_work, a, b, sums = work / steps, m * k / (count_m * count_k), k * n / (count_n * count_k), spilt / steps
    both = np.where(count_m > 1, count_n, 1) * count_k  # steps that need new tiles of both operands; the others of one
    first = (np.minimum(t.l2_m, m) + np.minimum(t.l2_n, n)) * np.minimum(t.l2_k, k)
    total = (first + m * n + spilt) / machine.dram_rate + mean_work
    for many, elements in ((both - 1, a + b + sums), (steps - both, np.where(count_m > 1, a, b) + sums)):
        read = elements / machine.dram_rate
        total += many * np.where(t.double_buffered > 0, np.maximum(read, mean_work), read + mean_work)
    return np.asarray(total)


def l2_tile_cycles(m: Floats, n: Floats, k: Floats, t: Tilings, machine: BlockMachine) -> Floats:
    """Computing one L2 tile by waves of L1 tiles, one a core; shape ``(tilings,)``.

    A wave reads a tile once, however many cores use it, and not what the wave before has used: operands are read once if a
    wave spans m, and sums stay in the cores if it spans m and n. It takes as long as its slowest core or its reads.
    """
    cores = machine.cores
    side_m, side_n, depth = np.minimum(t.side, m), np.minimum(t.side, n), np.minimum(t.depth, k)
    count_m, count_n, count_k = np.ceil(m / t.side), np.ceil(n / t.side), np.ceil(k / t.depth)
    waves = np.ceil(count_m * count_n * count_k / cores)
    again = np.clip(count_m / cores - 1, 0, 1) * (count_n - 1)
    spanned = cores / (count_m * count_n)
    moved_sums = np.clip(1 / spanned - 1, 0, 1) * (count_k - 1) * m * n
    # Sums of one k for the next in the first wave.
    gone_on_with = np.where(count_k > 1, np.clip(spanned - 1, 0, 1), 0) * m * n
    reads = m * k * (1 + again) + k * n + moved_sums + gone_on_with
    in_wave_n, in_wave_k = np.clip(cores / count_m, 1, count_n), np.clip(spanned, 1, count_k)
    operands = (np.minimum(count_m, cores) * side_m + in_wave_n * side_n) * in_wave_k * depth
    first = np.minimum(reads, operands + gone_on_with)
    adding = np.where(count_k > 1, 1 - (count_m * count_n // cores) / waves, 0)  # share of waves that go on with sums
    compute = l1_cycles(side_m, side_n, depth, t, machine) + adding * side_m * side_n / machine.vector_rate
    wave_read = (reads - first) / np.maximum(waves - 1, 1) / machine.l2_read_rate
    overlapped = (waves - 1) * np.maximum(wave_read, compute)
    return np.asarray(first / machine.l2_read_rate + overlapped + compute + (m * n + moved_sums) / machine.l2_rate)


def l1_cycles(m: Floats, n: Floats, k: Floats, t: Tilings, machine: BlockMachine) -> Floats:
    """One L1 tile on the lanes of a core; the vector units add up what lanes that share k have summed."""
    lane = np.ceil(m / t.lanes_m), np.ceil(n / t.lanes_n), np.ceil(k / t.lanes_k)
    return np.asarray(array_cycles(*lane, machine) + (t.lanes_k - 1) * m * n / machine.vector_rate)


def array_cycles(m: npt.ArrayLike, n: npt.ArrayLike, k: npt.ArrayLike, machine: BlockMachine) -> Floats:
    """One output-stationary array: 98 or 99 % of its rate on long work, otherwise every fold fills and drains."""
    m, n, k = np.asarray(m), np.asarray(n), np.asarray(k)
    rows, cols = machine.rows, machine.cols
    ideal = np.maximum(m / rows, 1) * np.maximum(n / cols, 1) * k
    folds = np.ceil(m / rows) * np.ceil(n / cols) * (k + rows + cols - 2) - 1
    full = (ideal >= 128 * max(rows, cols)) & (m >= rows) & (n >= cols)
    cycles = np.where(full, ideal / 0.99, np.where(ideal >= 64 * max(rows, cols), ideal / 0.98, folds))
    return np.asarray(cycles / machine.macs_per_pe_per_cycle)
