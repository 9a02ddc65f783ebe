"""What travels: every byte of an operand leaves DRAM once, passes the port of every core that asks for it, and no more."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.gemm.gemm import GemmMapping
from tests.support.small_programs import SMALL_CORES, gemm_program, small_chip
from uarch.engine.execute import KernelResult, execute
from uarch.events import Event

TILE, TILE_BYTES = 16, 16 * 16 * 2
MAPPING = GemmMapping(TILE, TILE, TILE, 2)
CHIP = small_chip("h100", "noc.multicast_cores=1")
tiles = st.integers(1, 5)


def products(m_tiles: int, n_tiles: int, k_tiles: int, cores: int = 4) -> tuple[KernelResult, KernelResult]:
    """A product with an empty L2, and the same again with what the first has left there."""
    chip = small_chip("h100", "noc.multicast_cores=1", f"core.count={cores}")
    program = gemm_program(m_tiles * TILE, n_tiles * TILE, k_tiles * TILE, MAPPING)
    cold, l2_state = execute(chip, program)
    warm, _ = execute(chip, program, l2_state)
    return cold, warm


@given(tiles, tiles, tiles, st.sampled_from([1, 3, 4]))
def test_operands_leave_dram_once_however_many_cores_ask(m_tiles: int, n_tiles: int, k_tiles: int, cores: int) -> None:
    cold, warm = products(m_tiles, n_tiles, k_tiles, cores)
    operand_bytes = (m_tiles + n_tiles) * k_tiles * TILE_BYTES
    loads_bytes = 2 * m_tiles * n_tiles * k_tiles * TILE_BYTES
    stores_bytes = m_tiles * n_tiles * TILE_BYTES
    assert cold.count(Event.DRAM_READ_BYTES) == operand_bytes
    assert warm.count(Event.DRAM_READ_BYTES) == warm.count(Event.L2_MISSES) == 0
    for result in (cold, warm):
        assert operand_bytes <= result.count(Event.L2_READ_BYTES) <= loads_bytes
        assert result.count(Event.L2_WRITE_BYTES) == stores_bytes
        assert result.count(Event.NOC_BYTES) == loads_bytes + stores_bytes


@pytest.mark.parametrize("sharing_cores", [1, 2, 4])
def test_neighbours_that_ask_at_once_share_a_response(sharing_cores: int) -> None:
    """Four cores, a block each in a row of tiles: all wait for one tile of A, which leaves L2 once for each group of them."""
    chip = small_chip("h100", f"noc.multicast_cores={sharing_cores}")
    result, _ = execute(chip, gemm_program(TILE, SMALL_CORES * TILE, TILE, MAPPING))
    assert result.count(Event.L2_READ_BYTES) == (SMALL_CORES // sharing_cores + SMALL_CORES) * TILE_BYTES
    assert result.count(Event.NOC_BYTES) == 3 * SMALL_CORES * TILE_BYTES


@pytest.mark.parametrize("columns", [1, 7, 16])
def test_a_part_of_a_row_is_read_in_whole_bursts(columns: int) -> None:
    """One row of ``columns`` fp16 numbers of A and of C each, a column of B: DRAM reads bursts of 64 bytes or less of each."""
    result, _ = execute(CHIP, gemm_program(1, 1, columns, MAPPING))
    asked_bytes = 2 * columns * 2
    burst_bytes = 64
    assert (
        asked_bytes <= result.count(Event.DRAM_READ_BYTES) <= (ceil(2 * columns / burst_bytes) + columns) * burst_bytes
    )
    assert result.count(Event.NOC_BYTES) == asked_bytes + 2
