"""The slow, obvious form of a wave of L1 tiles: sets of tiles instead of stamps."""

from __future__ import annotations

from math import ceil

from workloads.predictors.block_gemm import BlockMachine, Tiling, l1_cycles

Tile = tuple[str, int, int]


def l2_tile_cycles_of_sets(m: int, n: int, k: int, tiling: Tiling, machine: BlockMachine) -> int:
    """:func:`workloads.predictors.block_gemm.l2_tile_cycles`, every wave as three sets of named tiles."""
    side, depth = tiling.l1_mn, tiling.l1_k
    extent = {"m": (m, side), "n": (n, side), "k": (k, depth)}

    def size(axis: str, index: int) -> int:
        total, tile = extent[axis]
        return min(tile, total - index * tile)

    def elements(tiles: set[Tile]) -> int:
        return sum(size(name[0], a) * size(name[1], b) for name, a, b in tiles)

    tiles = [(i, j, ik) for ik in range(ceil(k / depth)) for j in range(ceil(n / side)) for i in range(ceil(m / side))]
    waves = [tiles[start : start + machine.cores] for start in range(0, len(tiles), machine.cores)]
    cycles, computing = 0, 0
    operands_before: set[Tile] = set()
    sums_before: set[Tile] = set()
    for wave in waves:
        operands: set[Tile] = {("mk", i, ik) for i, _, ik in wave} | {("kn", ik, j) for _, j, ik in wave}
        continued: set[Tile] = {("mn", i, j) for i, j, ik in wave if ik > 0}
        sums: set[Tile] = {("mn", i, j) for i, j, _ in wave}
        read = elements(operands - operands_before) + elements(continued - sums_before)
        cycles += max(ceil(read / machine.l2_rate), computing)
        cycles += ceil(elements(sums_before - continued) / machine.l2_rate)
        computing = max(
            l1_cycles(size("m", i), size("n", j), size("k", ik), tiling, machine)
            + (ceil(size("m", i) * size("n", j) / machine.vector_rate) if ik > 0 else 0)
            for i, j, ik in wave
        )
        operands_before, sums_before = operands, sums
    return cycles + computing + ceil(elements(sums_before) / machine.l2_rate)
