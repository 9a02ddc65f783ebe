"""How fast kernels and whole models run, warm; run with ``pytest tests/benchmarks --benchmark-only``."""

from __future__ import annotations

from typing import Any

import pytest

from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from tests.support.forgetful import forget_mappings
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.engine.execute import execute
from workloads.running.runner import simulate
from workloads.single.gemm import simulate_gemm

M, N, K = 2048, 8192, 8192


@pytest.fixture
def h100() -> Chip:
    return load_chip("h100")


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """No mapping is remembered: every search is made anew."""
    forget_mappings(monkeypatch)


def large_gemm() -> TileProgram:
    space = AddressSpace()
    a, b, c = (space.allocate(name, *shape, 16) for name, shape in (("a", (M, K)), ("b", (K, N)), ("c", (M, N))))
    mapping = GemmMapping(tile_m=128, tile_n=256, tile_k=64, stages=4, raster_rows=16)
    return gemm("gemm", GemmShape(M, N, K), Operand(a), Operand(b), [Output(Operand(c), 0, N)], mapping, space)


def test_one_gemm_on_the_engine(benchmark: Any, h100: Chip) -> None:
    program = large_gemm()
    result, _ = benchmark(execute, h100, program)
    assert result.seconds > 0


def test_one_gemm_with_its_mapping_remembered(benchmark: Any, h100: Chip) -> None:
    run = benchmark(simulate_gemm, h100, M, N, K)
    assert run.seconds > 0


def test_one_gemm_with_its_mapping_searched(benchmark: Any, h100: Chip, forgetful: None) -> None:
    run = benchmark.pedantic(simulate_gemm, args=(h100, M, N, K), rounds=3, warmup_rounds=1)
    assert run.seconds > 0


@pytest.mark.parametrize(("phase", "batch", "seq"), [("prefill", 1, 2048), ("decode", 32, 1024)])
def test_llama_3_70b(benchmark: Any, h100: Chip, phase: str, batch: int, seq: int) -> None:
    arguments = {"batch": batch, "seq": seq, "tp": 4}
    trace = benchmark.pedantic(simulate, (h100, "llama-3-70b", phase), arguments, rounds=3, warmup_rounds=1)
    assert trace.rollup["seconds"] > 0
