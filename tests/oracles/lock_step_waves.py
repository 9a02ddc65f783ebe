"""The slow, obvious form of the block model: every wave of L1 tiles as sets of tiles, every L2 tile as a step."""

from __future__ import annotations

from math import ceil, inf

import numpy as np

from workloads.predictors.block_gemm import BlockMachine, Tilings, l1_cycles

Tile = tuple[str, int, int]


class Axes:
    """A box of m x n x k cut into tiles; the last one along each axis holds what is left."""

    def __init__(self, sizes: dict[str, int], tiles: dict[str, int]) -> None:
        self.sizes, self.tiles = sizes, tiles
        self.counts = {axis: ceil(sizes[axis] / tiles[axis]) for axis in sizes}

    def size(self, axis: str, index: int) -> int:
        return min(self.tiles[axis], self.sizes[axis] - index * self.tiles[axis])

    def elements(self, tiles: set[Tile]) -> int:
        return sum(self.size(name[0], a) * self.size(name[1], b) for name, a, b in tiles)

    def in_order(self) -> list[tuple[int, int, int]]:
        """(i, j, k) with k outermost and m innermost."""
        m, n, k = (range(self.counts[axis]) for axis in "mnk")
        return [(i, j, ik) for ik in k for j in n for i in m]


def operands_of(tiles: list[tuple[int, int, int]]) -> set[Tile]:
    return {("mk", i, ik) for i, _, ik in tiles} | {("kn", ik, j) for _, j, ik in tiles}


def l2_tile_cycles_of_sets(m: int, n: int, k: int, tiling: Tilings, machine: BlockMachine) -> float:
    """:func:`workloads.predictors.block_gemm.l2_tile_cycles` for one tiling."""
    side, depth = int(tiling.side[0]), int(tiling.depth[0])
    axes = Axes({"m": m, "n": n, "k": k}, {"m": side, "n": side, "k": depth})
    tiles = axes.in_order()
    cycles, computing = 0.0, 0.0
    operands_before: set[Tile] = set()
    sums_before: set[Tile] = set()
    for start in range(0, len(tiles), machine.cores):
        wave = tiles[start : start + machine.cores]
        operands = operands_of(wave)
        continued: set[Tile] = {("mn", i, j) for i, j, ik in wave if ik > 0}
        sums: set[Tile] = {("mn", i, j) for i, j, _ in wave}
        read = axes.elements(operands - operands_before) + axes.elements(continued - sums_before)
        cycles += max(read / machine.l2_read_rate, computing)
        cycles += axes.elements(sums_before - continued) / machine.l2_rate
        computing = max(tile_cycles(axes, *tile, tiling, machine) for tile in wave)
        operands_before, sums_before = operands, sums
    return cycles + computing + axes.elements(sums_before) / machine.l2_rate


def tile_cycles(axes: Axes, i: int, j: int, ik: int, tiling: Tilings, machine: BlockMachine) -> float:
    m, n, k = axes.size("m", i), axes.size("n", j), axes.size("k", ik)
    sizes = (np.array([float(size)]) for size in (m, n, k))
    return float(l1_cycles(*sizes, tiling, machine)[0]) + (m * n / machine.vector_rate if ik > 0 else 0)


def gemm_cycles_of_steps(m: int, n: int, k: int, tiling: Tilings, machine: BlockMachine) -> float:
    """:func:`workloads.predictors.block_gemm.gemm_cycles` for one tiling."""
    l2 = {axis: int(getattr(tiling, f"l2_{axis}")[0]) for axis in "mnk"}
    axes = Axes({"m": m, "n": n, "k": k}, l2)
    total, work, last = 0.0, 0.0, (-1, -1, -1)
    known: dict[tuple[int, int, int], float] = {}
    for i, j, ik in axes.in_order():
        sizes = axes.size("m", i), axes.size("n", j), axes.size("k", ik)
        same_sum = last[:2] == (i, j)
        needed = operands_of([(i, j, ik)]) | ({("mn", i, j)} if ik > 0 else set())
        held = operands_of([last]) | {("mn", *last[:2])}
        written = axes.elements({("mn", *last[:2])}) if last[0] >= 0 else 0
        read = axes.elements(needed - held) / machine.dram_rate
        total += max(read, work) if tiling.double_buffered[0] else read + work
        total += 0 if same_sum else written / machine.dram_rate
        if sizes not in known:
            known[sizes] = l2_tile_cycles_of_sets(*sizes, tiling, machine)
        added = sizes[0] * sizes[1] if ik > 0 else 0
        work = known[sizes] + added / (machine.vector_rate * machine.cores) + 2 * added / machine.l2_rate
        last = i, j, ik
    return total + work + axes.elements({("mn", *last[:2])}) / machine.dram_rate


def fastest_of_steps(m: int, n: int, k: int, tilings: Tilings, machine: BlockMachine) -> float:
    """The least over all tilings."""
    least = inf
    for index in range(len(tilings.side)):
        one = Tilings(*(column[index : index + 1] for column in tilings))
        least = min(least, gemm_cycles_of_steps(m, n, k, one, machine))
    return least
