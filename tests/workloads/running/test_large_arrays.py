"""Chips whose arrays are larger than the tiles of GPU libraries, written from what is public of them: a TPU v5e."""

from __future__ import annotations

import pytest

from uarch.chip_file import load_chip
from workloads.single.gemm import simulate_gemm
from workloads.single.vector import simulate_vector_kernel

pytestmark = pytest.mark.once("products of thousands of rows")

TPU = load_chip(
    "h100",
    [
        "name=tpu",
        "core.count=1",
        "core.lanes=4",  # four arrays of 128 x 128 at 1.5 GHz: 197 TFLOP/s
        "core.systolic.rows=128",
        "core.systolic.cols=128",
        "core.systolic.weight_sparsity=none",
        "core.step_gap_cycles=0",
        "core.register_bytes=33554432",
        "core.vector.width=1024",
        "core.vector.special_width=128",
        "core.l1.bytes=67108864",
        "core.l1.banks=1024",
        "core.l1.bank_bytes=8",
        "clock.tensor_hz=1.5e9",
        "clock.vector_hz=1.5e9",
        "clock.l2_hz=1.5e9",
        "noc.read_bytes_per_cycle_per_core=2048",
        "noc.write_bytes_per_cycle_per_core=2048",
        "noc.multicast_cores=1",
        "memory.technology=hbm2e",
        "memory.standard=hbm2e-3200",
        "memory.packages=2",
        "memory.channels=32",
        "memory.bandwidth_bytes_per_second=8.19e11",
        "power.cap=false",
    ],
)


def test_it_takes_no_gpu_library_unless_told_so() -> None:
    assert not TPU.uses_library
    assert load_chip("h100").uses_library
    assert TPU.model_copy(update={"mapping": "library"}).uses_library


@pytest.mark.parametrize(("m", "share"), [(16, 0.75), (4096, 0.9)])
def test_products_come_near_the_roofline(m: int, share: float) -> None:
    """Tiles grow with the arrays; of 128 x 256, as GPUs have them, 4096 rows reach a quarter of the peak."""
    run = simulate_gemm(TPU, m, 4096, 4096, dtype="bf16")
    assert run.roofline_seconds >= share * run.seconds


@pytest.mark.parametrize("op", ["residual_add", "silu_mul", "rmsnorm", "layernorm", "gelu"])
@pytest.mark.parametrize("library", ["rows", "vectors"])
def test_vector_kernels_are_bound_by_memory(op: str, library: str) -> None:
    run = simulate_vector_kernel(TPU, op, 2048, 4096, dtype="bf16", library=library)
    assert run.bound_by == "dram"
    assert run.seconds == simulate_vector_kernel(TPU, op, 2048, 4096, dtype="bf16").seconds
