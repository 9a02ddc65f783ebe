"""The closed-form execution: nothing of it is extrapolated, and its parts add up."""

from __future__ import annotations

import pytest

from kernels.gemm.tiles import GemmMapping
from tests.support.small_programs import gemm_program, small_chip
from uarch.engine.roofline import execute_analytically
from uarch.events import Cause, Event


@pytest.mark.parametrize("bandwidth", [200e9, 100e9])
def test_a_product_takes_its_launch_and_the_longest_of_its_resources(bandwidth: float) -> None:
    """256 x 512 x 384 reads 640 KB and leaves its results in L2: 3.28 us at 200 GB/s, less than its MACs take; 6.55 us at half.

    Four cores of 4 arrays of 16 x 32 at 1.83 GHz do 15 TMAC/s: 3.36 us for 50.3 million.
    """
    chip, (m, n, k) = small_chip("h100", f"memory.bandwidth_bytes_per_second={bandwidth}"), (256, 384, 512)
    result = execute_analytically(chip, gemm_program(m, n, k, GemmMapping(64, 64, 64, 3)), launch_seconds=2e-6)
    read_bytes, macs = 2 * (m * k + k * n), m * n * k
    bounds = {Cause.MATRIX: 2 * macs / chip.peak_flops("fp16"), Cause.DRAM: read_bytes / bandwidth}
    bound = max(bounds, key=lambda cause: bounds[cause])
    assert bound == (Cause.MATRIX if bandwidth == 200e9 else Cause.DRAM)
    assert result.seconds == pytest.approx(2e-6 + bounds[bound])
    assert result.cause_seconds(bound) == pytest.approx(bounds[bound])
    assert (result.count(Event.MACS), result.dram_bytes) == (macs, read_bytes)
    assert result.causes_ps.sum() == result.total_ps
    assert result.extrapolated_ps == 0
