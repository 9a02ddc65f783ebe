"""What a change of the chip buys is what the breakdown of resources says it can buy.

Speeding a resource with use u up by a factor s promises to save u (1 - 1/s) of the time. Where nothing else is nearly as
busy, at least half of that must show; 1 - 1/s, the gain of a resource that is all that counts, cannot be surpassed.
"""

from __future__ import annotations

import pytest

from workloads.single.gemm import simulate_gemm

pytestmark = pytest.mark.compiled("minutes by the interpreter")

DECODE = (32, 8192, 8192)
PREFILL = (2048, 8192, 8192)
CHANGES = {
    "dram": (1.25, "memory.bandwidth_bytes_per_second=4.19e12"),
    "compute": (2.0, "core.systolic.cols=64"),
}


def time_ratio(shape: tuple[int, int, int], *overrides: str) -> float:
    """Time on the changed chip over that on spad-h100."""
    from uarch.chip_file import load_chip

    before, after = (simulate_gemm(load_chip("spad-h100", changes), *shape) for changes in ((), overrides))
    return after.seconds / before.seconds


@pytest.mark.parametrize(("shape", "resource"), [(DECODE, "dram"), (PREFILL, "compute")])
def test_the_busiest_resource_buys_what_its_use_promises(shape: tuple[int, int, int], resource: str) -> None:
    factor, override = CHANGES[resource]
    run = simulate_gemm("spad-h100", *shape)
    assert run.bound_by == resource
    promised = run.resource_use[resource] * (1 - 1 / factor)
    assert 1 / factor - 0.01 <= time_ratio(shape, override) <= 1 - 0.5 * promised


@pytest.mark.parametrize(("shape", "resource"), [(DECODE, "compute"), (PREFILL, "dram")])
def test_a_resource_that_is_not_busy_buys_little(shape: tuple[int, int, int], resource: str) -> None:
    assert 0.95 <= time_ratio(shape, CHANGES[resource][1]) <= 1.01


def test_more_cores_buy_compute_and_no_bandwidth() -> None:
    """132 cores take four rounds of 512 tiles of 128 x 256, 171 three."""
    assert time_ratio(PREFILL, "core.count=171") <= 0.9
    assert 0.97 <= time_ratio(DECODE, "core.count=171") <= 1.02


def test_more_l2_keeps_operands_and_reads_less_dram() -> None:
    from uarch.chip_file import load_chip

    shape = (8192, 8192, 4096)  # A, B and C take 256 MiB
    small, large = (
        simulate_gemm(load_chip("spad-h100", [f"l2.bytes={mebibytes << 20}"]), *shape) for mebibytes in (24, 512)
    )
    assert large.dram_bytes < small.dram_bytes
    assert large.seconds <= small.seconds * 1.005
