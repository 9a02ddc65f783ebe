"""Inline ECC: what its check bits add to an access, and to a program."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uarch.chip_file import load_chip
from uarch.engine.inline_ecc import check_share, data_bytes_per_second
from workloads.single.gemm import simulate_gemm
from workloads.single.vector import simulate_vector_kernel

A40 = load_chip("a40")
BURST_BYTES = 32


@given(st.integers(1, 1 << 20))
def test_runs_pay_whole_bursts(run_bytes: int) -> None:
    """A sixteenth of a run of lines, rounded up to bursts: from a quarter of a line to little more than a sixteenth."""
    run_bytes = max(run_bytes, 128)
    bursts = math.ceil(run_bytes / 16 / BURST_BYTES)
    assert check_share(A40.memory, run_bytes) == pytest.approx(bursts * BURST_BYTES / run_bytes)
    assert 1 / 16 <= check_share(A40.memory, run_bytes) <= check_share(A40.memory, 128) == 1 / 4


def test_devices_with_bits_of_their_own_pay_nothing() -> None:
    memory = load_chip("h100").memory
    assert check_share(memory, 128) == 0
    assert data_bytes_per_second(memory) == memory.bandwidth_bytes_per_second


@pytest.mark.once("products of thousands of rows")
def test_the_fewer_lines_lie_together_the_slower() -> None:
    """Without ECC as fast as with a bus that is faster by what the check bits take: 1/16 of rows, 1/4 of tiles of a product."""
    for share, run in (
        (1 / 16, lambda chip: simulate_vector_kernel(chip, "copy", 256, 4096)),
        (1 / 4, lambda chip: simulate_gemm(chip, 16, 2048, 2048, residency="cold")),
    ):
        with_ecc = run(A40)
        bandwidth = A40.memory.bandwidth_bytes_per_second / (1 + share)
        sets = ["memory.check_bytes_per_byte=0", f"memory.bandwidth_bytes_per_second={bandwidth!r}"]
        assert run(load_chip("a40", sets)).seconds == pytest.approx(with_ecc.seconds, rel=0.02)
        assert run(load_chip("a40", ["memory.check_bytes_per_byte=0"])).seconds < with_ecc.seconds
