"""L1 traffic of matrix steps whose operands threads read into registers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.gemm.tiles import GemmMapping
from tests.support.small_programs import gemm_program
from uarch.chip_file import load_chip
from uarch.engine.machine import Machine, lower
from uarch.engine.step_costs import matrix_step_ps, step_costs
from uarch.systolic.cycles import busy_cycles

LANES = 4


def machine(edge: int) -> Machine:
    return lower(load_chip("a100", [f"core.systolic.register_tile={edge}", f"core.lanes={LANES}"]), "fp16")


def read_by_parts(m: int, n: int, k: int, edge: int) -> int:
    """Elements: every part of a lane's share, one after the other, reads its rows of A and its columns of B."""
    reads = 0
    for row, col in product(range(0, m, edge), range(0, n, edge)):
        reads += (min(edge, m - row) + min(edge, n - col)) * k
    return reads


def fewest_reads(target: Machine, m: int, n: int, k: int, edge: int) -> int:
    """Over all ways to split the tile over the lanes that keep the arrays busy for the shortest time."""
    ways = []
    for lanes_m in (1, 2, 4):
        share_m, share_n = -(-m // lanes_m), -(-n // (LANES // lanes_m))
        cycles = busy_cycles(target.dataflow, target.rows, target.cols, share_m, share_n, k)
        ways.append((cycles, LANES * read_by_parts(share_m, share_n, k, edge)))
    return min(ways)[1]


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 70), st.sampled_from([8, 32, 64]))
def test_each_part_reads_its_operands_once(m: int, n: int, k: int, edge: int) -> None:
    target, program = machine(edge), gemm_program(m, n, k, GemmMapping(256, 256, k, 1))
    costs = step_costs(target, program.tensors, program.steps, program.operands)
    (matrix,) = costs[costs["macs"] > 0]
    filled = (m + n) * k
    assert matrix["l1_bytes"] == 2 * (filled + fewest_reads(target, m, n, k, edge))


@pytest.mark.parametrize(
    ("tile", "l1_bytes"),
    [
        # 4 lanes of 32 x 32: 64 columns of k = 64 each, and 128 to fill
        ((64, 64, 64), (4 * 64 + 128) * 64 * 2),
        # 4 lanes of 64 x 64
        ((128, 128, 64), (4 * 128 + 256) * 64 * 2),
        # 4 lanes of 64 x 128, two parts each
        ((128, 256, 64), (4 * 2 * 128 + 384) * 64 * 2),
    ],
)
def test_small_tiles_are_bound_by_l1(tile: tuple[int, int, int], l1_bytes: int) -> None:
    """L1 moves 128 bytes a cycle, four arrays of 16 x 16 compute 1024 products."""
    (taken_ps,) = matrix_step_ps(machine(64), np.array([tile], np.int64), 16)
    m, n, k = tile
    cycles = max(m * n * k / 1024, l1_bytes / 128)
    assert taken_ps == pytest.approx(cycles / 1.41e9 * 1e12, abs=1)
