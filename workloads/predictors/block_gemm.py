"""A GEMM by LLMCompass's block model (Zhang et al., ISCA 2024): two levels of tiles, and the search for the fastest.

Device memory -> L2 tile -> L1 tile -> lane, each level in lock-step: at every step the next tile is read while the present
one is computed, then sums are written, which nothing overlaps. Sizes are in elements, rates in elements per cycle of the
tensor clock. Loops run over k outermost and m innermost at both levels.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.jit import inline, kernel

IntArray = npt.NDArray[np.int64]


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
    vector_rate: float


class Tiling(NamedTuple):
    """Tiles of L2 and of L1 (square but for k), how the lanes of a core share the latter, whether L2 holds two tiles."""

    l2_m: int
    l2_n: int
    l2_k: int
    l1_mn: int
    l1_k: int
    lanes_m: int
    lanes_n: int
    lanes_k: int
    double_buffered: bool


@cache
def tilings(k: int, lanes: int, l1_elements: int, l2_elements: int) -> tuple[Tiling, ...]:
    """The tool's search space for a GPU: L2 tiles of powers of two, L1 tiles that leave half of L1 for the next."""
    found = []
    parts = (1, 2, 4, 8) if k <= 12288 else tuple(k // depth for depth in (1024, 2048, 4096, 8192))
    splits = [s for s in product(range(1, lanes + 1), repeat=3) if s[0] * s[1] * s[2] == lanes]
    for l2_m, ratio, part in product((64, 128, 256, 512, 1024, 2048), (0.5, 1, 2), parts):
        l2_n, l2_k = int(l2_m * ratio), 1 << (-(-k // part)).bit_length() - 1
        size = l2_m * l2_k + l2_k * l2_n + l2_m * l2_n
        if size > l2_elements:
            continue
        for side, part_k in product((32, 64, 128, 256), (1, 2, 4, 8, 16, 32)):
            l1_k = -(-l2_k // part_k)
            if side <= min(l2_m, l2_n) and side * side + 2 * side * l1_k <= l1_elements // 2:
                found += [
                    Tiling(l2_m, l2_n, l2_k, side, l1_k, lanes_m, lanes_n, lanes_k, 2 * size <= l2_elements)
                    for lanes_m, lanes_n, lanes_k in splits
                ]
    return tuple(found)


def fastest_tiling(m: int, n: int, k: int, machine: BlockMachine) -> tuple[int, Tiling]:
    """Cycles of ``m x n x k`` on the fastest tiling, and that; bounds decide which tilings need a look at all."""
    candidates = tilings(k, machine.lanes, machine.l1_elements, machine.l2_elements)
    bounds = least_cycles(m, n, k, _columns(candidates), machine)
    best, best_cycles = candidates[0], np.iinfo(np.int64).max
    for index in np.argsort(bounds, kind="stable"):
        if bounds[index] >= best_cycles:
            break
        cycles = gemm_cycles(m, n, k, candidates[index], machine)
        if cycles < best_cycles:
            best, best_cycles = candidates[index], cycles
    return best_cycles, best


@cache
def _columns(candidates: tuple[Tiling, ...]) -> IntArray:
    return np.array(candidates, np.int64)


@inline
def _ceil(value: float) -> int:
    return int(np.ceil(value))


@inline
def _extent(index: int, tile: int, size: int) -> int:
    """Size of the tile at ``index`` along an axis: the last one holds what is left."""
    return min(tile, size - index * tile)


@inline
def array_cycles(m: int, n: int, k: int, machine: BlockMachine) -> int:
    """One output-stationary array: 98 or 99 % of its rate on long work, otherwise every fold fills and drains."""
    rows, cols, rate = machine.rows, machine.cols, machine.macs_per_pe_per_cycle
    ideal = max(m / rows, 1.0) * max(n / cols, 1.0) * k
    if ideal >= 128 * max(rows, cols) and m >= rows and n >= cols:
        return _ceil(ideal / rate / 0.99)
    if ideal >= 64 * max(rows, cols):
        return _ceil(ideal / rate / 0.98)
    return _ceil((_ceil(m / rows) * _ceil(n / cols) * (k + rows + cols - 2) - 1) / rate)


@inline
def l1_cycles(m: int, n: int, k: int, tiling: Tiling, machine: BlockMachine) -> int:
    """One L1 tile on the lanes of a core; the vector units add up what lanes that share k have summed."""
    lane_m, lane_n, lane_k = _ceil(m / tiling.lanes_m), _ceil(n / tiling.lanes_n), _ceil(k / tiling.lanes_k)
    return _ceil(array_cycles(lane_m, lane_n, lane_k, machine) + (tiling.lanes_k - 1) * m * n / machine.vector_rate)


@kernel
def l2_tile_cycles(m: int, n: int, k: int, tiling: Tiling, machine: BlockMachine) -> int:
    """Computing one L2 tile by waves of L1 tiles, one a core.

    A wave reads each tile once, however many cores use it, and not what the wave before has used; it takes as long as its
    slowest core or its reads; then the sums that the next wave does not go on with are written.
    """
    side, depth = tiling.l1_mn, tiling.l1_k
    count_m, count_n, count_k = _ceil(m / side), _ceil(n / side), _ceil(k / depth)
    # The wave, counted from 1, that used a tile last; of sums, also the one before that, and the last to go on with it.
    a_used, b_used = np.full((count_m, count_k), -1), np.full((count_k, count_n), -1)
    sum_used, sum_before, sum_read = np.full((3, count_m, count_n), -1)
    wave, members, tiles = 1, 0, count_m * count_n * count_k
    total, read, written, kept, compute, computed, to_write = 0, 0, 0, 0, 0, 0, 0
    for index in range(tiles):
        ik, rest = divmod(index, count_m * count_n)
        j, i = divmod(rest, count_m)
        size_m, size_n, size_k = _extent(i, side, m), _extent(j, side, n), _extent(ik, depth, k)
        if a_used[i, ik] < wave - 1:
            read += size_m * size_k
        if b_used[ik, j] < wave - 1:
            read += size_k * size_n
        a_used[i, ik], b_used[ik, j] = wave, wave
        if sum_used[i, j] < wave:
            written += size_m * size_n
            sum_before[i, j], sum_used[i, j] = sum_used[i, j], wave
        if ik > 0 and sum_read[i, j] < wave:
            sum_read[i, j] = wave
            if sum_before[i, j] == wave - 1:
                kept += size_m * size_n
            else:
                read += size_m * size_n
        added = _ceil(size_m * size_n / machine.vector_rate) if ik > 0 else 0
        compute = max(compute, l1_cycles(size_m, size_n, size_k, tiling, machine) + added)
        members += 1
        if members == machine.cores or index == tiles - 1:
            total += max(_ceil(read / machine.l2_rate), computed) + _ceil((to_write - kept) / machine.l2_rate)
            computed, to_write = compute, written
            read, written, kept, compute, members = 0, 0, 0, 0, 0
            wave += 1
    return total + computed + _ceil(to_write / machine.l2_rate)


@kernel
def gemm_cycles(m: int, n: int, k: int, tiling: Tiling, machine: BlockMachine) -> int:
    """A whole GEMM under one tiling."""
    count_m, count_n, count_k = _ceil(m / tiling.l2_m), _ceil(n / tiling.l2_n), _ceil(k / tiling.l2_k)
    compute = np.full((2, 2, 2), -1)  # of an L2 tile, by whether it is the last along m, n and k
    total, work, sum_size, last_i, last_j, last_k = 0, 0, 0, -1, -1, -1
    for index in range(count_m * count_n * count_k):
        ik, rest = divmod(index, count_m * count_n)
        j, i = divmod(rest, count_m)
        size_m, size_n, size_k = _extent(i, tiling.l2_m, m), _extent(j, tiling.l2_n, n), _extent(ik, tiling.l2_k, k)
        same_sum = i == last_i and j == last_j
        read = 0 if i == last_i and ik == last_k else _ceil(size_m * size_k / machine.dram_rate)
        read += 0 if j == last_j and ik == last_k else _ceil(size_k * size_n / machine.dram_rate)
        read += _ceil(size_m * size_n / machine.dram_rate) if ik > 0 and not same_sum else 0
        work += _sum_cycles(sum_size, machine) if ik > 0 else 0
        total += max(read, work) if tiling.double_buffered else read + work
        total += 0 if same_sum else _ceil(sum_size / machine.dram_rate)
        kind = int(i == count_m - 1), int(j == count_n - 1), int(ik == count_k - 1)
        if compute[kind] < 0:
            compute[kind] = l2_tile_cycles(size_m, size_n, size_k, tiling, machine)
        work, sum_size, last_i, last_j, last_k = compute[kind], size_m * size_n, i, j, ik
    total += work + _ceil(sum_size / machine.dram_rate)
    return total + (_sum_cycles(sum_size, machine) if count_k > 1 else 0)


@inline
def _sum_cycles(elements: int, machine: BlockMachine) -> int:
    """Adding an L2 tile's sums to those of the k before, from L2 and back."""
    return _ceil(elements / (machine.vector_rate * machine.cores)) + 2 * _ceil(elements / machine.l2_rate)


@kernel
def least_cycles(m: int, n: int, k: int, candidates: IntArray, machine: BlockMachine) -> IntArray:
    """What a GEMM takes at least under each tiling: reads or array work of full waves, whichever is more, and writes."""
    bounds = np.empty(len(candidates), np.int64)
    for index in range(len(candidates)):
        c = candidates[index]
        tiling = Tiling(c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8] != 0)
        side, depth = tiling.l1_mn, tiling.l1_k
        tile_m, tile_n, tile_k = min(tiling.l2_m, m), min(tiling.l2_n, n), min(tiling.l2_k, k)
        fulls = (m // tile_m) * (n // tile_n) * (k // tile_k)
        rows, cols, steps = tile_m // side, tile_n // side, max(tile_k // depth, 1)
        full = l1_cycles(side, side, min(depth, tile_k), tiling, machine)
        added = _ceil(side * side / machine.vector_rate)
        work = (
            _ceil(rows * cols * steps / machine.cores) * full + _ceil(rows * cols * (steps - 1) / machine.cores) * added
        )
        work = fulls * (work + _ceil(tile_m * tile_n / machine.l2_rate))
        count_n, count_k = _ceil(n / tile_n), _ceil(k / tile_k)
        split = tile_m < m  # one tile of m that is used by all of n is read once
        reads = (m * k * (count_n if split else 1) + k * n + m * n * (count_k - 1 if split else 0)) / machine.dram_rate
        writes = m * n * (count_k if split or tile_n < n else 1) / machine.dram_rate
        both = max(reads, work) if tiling.double_buffered else reads + work
        bounds[index] = int(both + writes)
    return bounds
