"""Timings of tiny programs, derived by hand from the chip's rates and latencies, to the picosecond.

The chip has one clock of 1 GHz, so that a cycle is 1000 ps, and takes

===========================  =========================================================================
block launch                100 000 ps
a 16 x 16 x 16 tile         16 cycles on the 16 x 16 WS array, 16 000 ps; then the array's chain, 16 steps of load and
                            30 of skew, and L1's latency of 20 cycles: 66 000 ps until the result can be used
256 lane-operations         256 / 32 per cycle: 8 000 ps, then L1's latency: 20 000 ps
512 bytes through L2        512 / 64 per cycle: 8 000 ps
512 bytes into a core       512 / 32 per cycle: 16 000 ps
512 bytes out of a core     512 / 16 per cycle: 32 000 ps
L2 hit, besides             200 000 ps, half of it on the way there
512 bytes of a DRAM channel  6.25 GB/s are 32 bytes in 2 clocks of 2560 ps; in these, hbm3-5200 has nRCD 8 and nCL 5. The
                            activate takes 1.5 clocks, then nRCD, nCL and 16 bursts: 46.5 clocks; controller 50 000 ps
512 bytes over the link     512 * 160 / 128 bytes at 50 GB/s: 12 800 ps, then 1 000 000 ps
===========================  =========================================================================
"""

from __future__ import annotations

from functools import cache

import pytest

from kernels.gemm.gemm import GemmMapping
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import Box, ProgramWriter, Slot, TileProgram
from tests.support.small_programs import gemm_program
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.engine.execute import KernelResult, execute
from uarch.events import Cause, Event
from uarch.program.records import Function

LAUNCH_PS = 100_000
TILE_PS, DRAIN_PS = 16_000, 66_000
VECTOR_PS, VECTOR_END_PS = 8_000, 20_000
L2_PS, PORT_PS, STORE_PS = 8_000, 16_000, 32_000
THERE_PS, BACK_PS = 100_000, 100_000
DRAM_PS = (3 + 2 * (8 + 5 + 16 * 2)) * 1280 + 50_000
LINK_PS = 12_800 + 1_000_000

OVERRIDES = (
    "core.lanes=1",
    "clock.tensor_hz=1e9",
    "clock.vector_hz=1e9",
    "clock.l2_hz=1e9",
    "core.systolic.rows=16",
    "core.systolic.cols=16",
    "core.systolic.dataflow=ws",
    "core.systolic.mac_stages=1",
    "core.vector.width=32",
    "core.l1.banks=32",
    "core.l1.bank_bytes=32",
    "core.l1.latency_cycles=20",
    "core.block_launch_seconds=1e-7",
    "core.step_gap_cycles=0",
    "launch.kernel_seconds=0",
    "launch.matrix_kernel_seconds=0",
    "l2.slices=16",
    "l2.bytes_per_cycle_per_slice=4",
    "l2.interleave_bytes=512",
    "l2.latency_seconds=2e-7",
    "noc.read_bytes_per_cycle_per_core=32",
    "noc.write_bytes_per_cycle_per_core=16",
    "noc.multicast_cores=1",
    "memory.packages=1",
    "memory.channels=16",
    "memory.bandwidth_bytes_per_second=100e9",
    "memory.interleave_bytes=512",
    "memory.latency_seconds=5e-8",
    "memory.standard=hbm3-5200",
    "link.bandwidth_bytes_per_second=50e9",
    "link.latency_seconds=1e-6",
    "link.payload_bytes=128",
    "link.header_bytes=32",
)


@cache
def chip(cores: int = 1) -> Chip:
    return load_chip("h100", [*OVERRIDES, f"core.count={cores}"])


def causes(result: KernelResult, core: int = 0) -> dict[Cause, int]:
    return {cause: int(ps) for cause, ps in zip(Cause, result.causes_ps[core], strict=True) if ps}


def test_one_tile_from_dram_and_back_to_l2() -> None:
    """C = A B with 16 x 16 matrices: 512 bytes each, which is 8 bursts from a row in each of 2 bank groups."""
    result, _ = execute(chip(), gemm_program(16, 16, 16, GemmMapping(16, 16, 16, 2)))
    asked_ps = LAUNCH_PS + THERE_PS
    filled_ps = asked_ps + DRAM_PS  # A and B lie in different channels
    arrived_ps = filled_ps + 2 * PORT_PS + BACK_PS  # both pass the port, which is slower than L2
    multiplied_ps = arrived_ps + TILE_PS + DRAIN_PS
    converted_ps = multiplied_ps + VECTOR_PS + VECTOR_END_PS
    stored_ps = converted_ps + STORE_PS
    assert result.total_ps == stored_ps == 643_040
    assert causes(result) == {
        Cause.MATRIX: TILE_PS + DRAIN_PS,
        Cause.VECTOR: VECTOR_PS + VECTOR_END_PS,
        Cause.L2_NOC: arrived_ps - filled_ps + STORE_PS,
        Cause.DRAM: filled_ps - LAUNCH_PS,
        Cause.LAUNCH: LAUNCH_PS,
    }
    assert result.count(Event.L1_BYTES) == 2 * 512 + 2 * 512 + 512  # fill, read, store
    assert (result.count(Event.DRAM_ROW_HITS), result.count(Event.DRAM_ROW_MISSES)) == (3 * 14, 3 * 2)  # A, B, C


def test_the_launch_of_the_kernel_comes_first() -> None:
    program = gemm_program(16, 16, 16, GemmMapping(16, 16, 16, 2))
    without, _ = execute(chip(), program)
    with_launch, _ = execute(chip(), program, launch_seconds=3e-6)
    assert with_launch.total_ps == without.total_ps + 3_000_000
    assert causes(with_launch)[Cause.LAUNCH] == LAUNCH_PS + 3_000_000


@pytest.mark.parametrize(
    ("stages", "expected_ps"),
    [
        # One buffer: the second pair of tiles is asked for when the first has been used.
        (1, LAUNCH_PS + 2 * (2 * PORT_PS + THERE_PS + BACK_PS + TILE_PS) + DRAIN_PS + 28_000 + STORE_PS),
        # Two: all four tiles go through the port one after the other, and the array takes the last pair as it comes.
        (2, LAUNCH_PS + 4 * PORT_PS + THERE_PS + BACK_PS + TILE_PS + DRAIN_PS + 28_000 + STORE_PS),
    ],
)
def test_double_buffering_of_two_k_tiles_from_a_warm_l2(stages: int, expected_ps: int) -> None:
    """The accumulators stay: between the two tiles nothing drains."""
    program = gemm_program(16, 16, 32, GemmMapping(16, 16, 16, stages))
    _, warm = execute(chip(), program)
    result, _ = execute(chip(), program, warm)
    assert result.total_ps == expected_ps
    assert result.count(Event.DRAM_READ_BYTES) == 0


def alternating_program(blocks: int) -> TileProgram:
    """Blocks that need no memory: twice a matrix step of 1024 cycles and a vector step of 1024 cycles."""
    writer = ProgramWriter("alternating", "test", "", "fp16")
    writer.tensor_index(AddressSpace().allocate("unused", 1, 1, 16))
    grid = writer.grid(blocks, 2)
    grid.matmul(0, Slot(0), Slot(1), Slot(2), m=64, n=64, k=64, accumulate=False)  # 4 x 4 folds of 64 cycles
    grid.vector(1, Function.IDENTITY, Slot(2), Slot(0), m=64, n=64, ops_per_element=8)  # 32 768 operations
    grid.loop(0, 2, 2)
    grid.resources(stages=1, l1_bytes=1, register_bytes=1)
    return writer.finish(useful_flops=0)


def test_two_resident_blocks_overlap_matrix_and_vector_work() -> None:
    unit_ps = 1_024_000
    alone, _ = execute(chip(), alternating_program(1))
    assert alone.total_ps == LAUNCH_PS + 2 * (unit_ps + DRAIN_PS + unit_ps + VECTOR_END_PS)

    both, _ = execute(chip(), alternating_program(2))
    first_matrix_ps = LAUNCH_PS + unit_ps  # of block 0; the array is block 1's from then on
    first_vector_ps = first_matrix_ps + DRAIN_PS + unit_ps  # block 0's; block 1's result is there at the same time
    second_vector_ps = first_vector_ps + unit_ps  # block 1's
    second_matrix_ps = first_vector_ps + VECTOR_END_PS + unit_ps  # block 0's, as the array has long been free
    last_matrix_ps = second_matrix_ps + unit_ps  # block 1's, whose vector step has just drained
    assert second_matrix_ps == second_vector_ps + VECTOR_END_PS
    third_vector_ps = second_matrix_ps + DRAIN_PS + unit_ps  # block 0's
    assert third_vector_ps == last_matrix_ps + DRAIN_PS
    assert both.total_ps == third_vector_ps + unit_ps + VECTOR_END_PS == 5_392_000
    assert causes(both)[Cause.MATRIX] + causes(both)[Cause.VECTOR] + LAUNCH_PS == both.total_ps


def test_a_block_that_waits_for_another_ones_end() -> None:
    """As in a split along K: the second block holds its core, and is launched when the counter allows it."""
    writer = ProgramWriter("waits", "test", "", "fp16", n_counters=1)
    writer.tensor_index(AddressSpace().allocate("unused", 1, 1, 16))
    for number in range(2):
        grid = writer.grid(1, 1)
        grid.vector(0, Function.ZERO, Slot(0), Slot(0), m=16, n=16 * (number + 1))
        grid.resources(stages=1, l1_bytes=1)
        if number == 0:
            grid.signal(0)
        else:
            grid.wait(0, 1)
    result, _ = execute(chip(cores=2), writer.finish(useful_flops=0))
    first_ps = LAUNCH_PS + VECTOR_PS + VECTOR_END_PS
    second_ps = LAUNCH_PS + 2 * VECTOR_PS + VECTOR_END_PS
    assert result.total_ps == first_ps + second_ps
    assert causes(result, 0) == {
        Cause.LAUNCH: LAUNCH_PS,
        Cause.VECTOR: VECTOR_PS + VECTOR_END_PS,
        Cause.IDLE: second_ps,
    }
    assert causes(result, 1) == {
        Cause.DEPENDENCY: first_ps,
        Cause.LAUNCH: LAUNCH_PS,
        Cause.VECTOR: 2 * VECTOR_PS + VECTOR_END_PS,
    }


def test_a_counter_that_nobody_signals() -> None:
    writer = ProgramWriter("stuck", "test", "", "fp16", n_counters=1)
    writer.tensor_index(AddressSpace().allocate("unused", 1, 1, 16))
    grid = writer.grid(1, 1)
    grid.vector(0, Function.ZERO, Slot(0), Slot(0), m=1, n=1)
    grid.resources(stages=1, l1_bytes=1)
    grid.wait(0, 1)
    with pytest.raises(RuntimeError, match="stuck: blocks wait for counters that no block signals"):
        execute(chip(), writer.finish(useful_flops=0))


def test_a_remote_tensor_comes_over_the_link() -> None:
    """What a peer sends is read from its DRAM, through its L2, over the link and into the core."""
    space = AddressSpace()
    x = space.allocate("x", 16, 16, 16)
    writer = ProgramWriter("remote", "test", "", "fp16")
    grid = writer.grid(1, 1)
    grid.vector(0, Function.IDENTITY, Box(x.at_peer(1, 0), 16, 16), Slot(0), m=16, n=16)
    grid.resources(stages=1, l1_bytes=512)
    result, _ = execute(chip(), writer.finish(useful_flops=0))
    arrived_ps = LAUNCH_PS + THERE_PS + DRAM_PS + L2_PS + LINK_PS + BACK_PS  # the port is wider than the link
    assert result.total_ps == arrived_ps + VECTOR_PS + VECTOR_END_PS
    assert causes(result)[Cause.LINK] == arrived_ps - LAUNCH_PS
    assert result.count(Event.LINK_BYTES) == 512


def test_l1_bandwidth_below_what_the_array_takes() -> None:
    """Two banks of 4 bytes: 2048 bytes of fills and reads take 256 cycles, 16 of which the array would need anyway."""
    narrow = load_chip("h100", [*OVERRIDES, "core.count=1", "core.l1.banks=2", "core.l1.bank_bytes=4"])
    program = gemm_program(16, 16, 16, GemmMapping(16, 16, 16, 2))
    wide_result, narrow_result = (execute(machine, program)[0] for machine in (chip(), narrow))
    tile_ps, store_ps = 2048 // 8 * 1000, 512 // 8 * 1000
    assert narrow_result.total_ps - wide_result.total_ps == tile_ps - TILE_PS + store_ps - VECTOR_PS
    assert causes(narrow_result)[Cause.L1] == tile_ps - TILE_PS + store_ps - VECTOR_PS
    assert causes(narrow_result)[Cause.MATRIX] == TILE_PS + DRAIN_PS


def test_cores_that_share_a_response_get_it_at_the_same_time() -> None:
    """Two neighbours ask a slow L2 for the same tile: one read of 512 bytes at 4 per cycle serves both, neither earlier."""
    slow = load_chip("h100", [*OVERRIDES, "core.count=2", "noc.multicast_cores=2", "l2.bytes_per_cycle_per_slice=0.25"])
    space = AddressSpace()
    x = space.allocate("x", 16, 16, 16)
    writer = ProgramWriter("shared", "test", "", "fp16")
    grid = writer.grid(2, 1)
    grid.vector(0, Function.IDENTITY, Box(x, 16, 16), Slot(0), m=16, n=16)
    grid.resources(stages=1, l1_bytes=512)
    program = writer.finish(useful_flops=0)
    _, warm = execute(slow, program)
    result, _ = execute(slow, program, warm)
    sent_ps = 512 // 4 * 1000
    assert result.total_ps == LAUNCH_PS + sent_ps + THERE_PS + BACK_PS + VECTOR_PS + VECTOR_END_PS
    assert causes(result, 0) == causes(result, 1)
    assert result.count(Event.L2_READ_BYTES) == 512
    assert result.count(Event.NOC_BYTES) == 2 * 512
