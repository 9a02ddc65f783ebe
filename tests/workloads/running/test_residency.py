"""What L2 holds before a kernel: inputs that did not fit are those that a matrix product wrote first."""

from __future__ import annotations

from kernels.program.address_space import AddressSpace
from uarch.chip_file import load_chip
from uarch.program.records import GRANULE_BYTES
from workloads.running.residency import initial_l2
from workloads.single.gemm import simulate_gemm
from workloads.single.vector import simulate_vector_kernel

CHIP = load_chip("a100", ["l2.bytes=1310720", "l2.partitions=1", "l2.slices=1", "l2.interleave_bytes=8192"])
"""160 granules of 64 rows x 64 columns in fp16."""


def test_the_last_columns_of_an_input_are_there() -> None:
    space = AddressSpace()
    x = space.allocate("x", 512, 2048, 16)
    across, down, held = 32, 8, CHIP.l2.bytes // GRANULE_BYTES
    state = initial_l2(CHIP, "inputs", "tile", [x], [])
    columns = (state.granules - x.first_granule) % across
    assert len(state.granules) == held
    assert columns.min() >= across - held // down - 1
    assert state.resident_bytes == CHIP.l2.bytes


def test_nothing_is_there_when_cold() -> None:
    x = AddressSpace().allocate("x", 64, 64, 16)
    assert len(initial_l2(CHIP, "cold", "tile", [x], []).granules) == 0
    assert len(initial_l2(CHIP, "inputs", "analytical", [x], []).granules) == 0


def test_what_cores_of_both_partitions_use_takes_two_places() -> None:
    """1.5 MB hold 1.4 MB of a product and 1.5 MB of a copy; tiles of the product share operands, those of the copy nothing."""
    rest = ["l2.bytes=1572864", "l2.slices=4", "core.count=8", "l2.eager_write_back=false"]
    one, two = (load_chip("a100", [f"l2.partitions={partitions}", *rest]) for partitions in (1, 2))
    assert simulate_gemm(one, 256, 768, 512, residency="warm").dram_bytes == 0
    assert simulate_gemm(two, 256, 768, 512, residency="warm").dram_bytes > 500_000
    for chip in (one, two):
        assert simulate_vector_kernel(chip, "copy", 512, 768, residency="warm").dram_bytes == 0


def test_each_further_partition_takes_its_own_copy_of_what_all_cores_use() -> None:
    """A product reads 1 MB and writes 0.4 MB; every core uses A, two cores each part of B: 2 MB hold that once or twice."""
    rest = ["l2.bytes=2097152", "l2.slices=4", "core.count=8", "l2.eager_write_back=false"]
    moved = [
        simulate_gemm(load_chip("a100", [f"l2.partitions={n}", *rest]), 256, 768, 512, residency="warm").dram_bytes
        for n in (1, 2, 4, 8)
    ]
    assert moved[0] == moved[1] == 0
    assert 0 < moved[2] < moved[3]
