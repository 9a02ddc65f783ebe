"""How fast tiles are evaluated from jitted code; run with ``pytest tests/benchmarks --benchmark-only``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from uarch.jit import kernel
from uarch.systolic.cycles import (
    Dataflow,
    Overlap,
    SystolicArray,
    busy_cycles,
    fill_drain_cycles,
    operand_traffic,
    tile_cycles,
)
from uarch.systolic.scalesim import run_layer
from uarch.systolic.scalesim_files import Config, Layer

TILES = 1_000_000
Integers = npt.NDArray[np.int64]


@kernel
def _sum_of_cycles(array: SystolicArray, m: Integers, n: Integers, k: Integers) -> int:
    total = 0
    for i in range(m.size):
        total += tile_cycles(array, m[i], n[i], k[i])
    return total


@kernel
def _sum_of_what_the_engine_asks(dataflow: int, edge: int, m: Integers, n: Integers, k: Integers) -> int:
    total = 0
    for i in range(m.size):
        total += busy_cycles(dataflow, edge, edge, m[i], n[i], k[i]) + fill_drain_cycles(dataflow, edge, edge, 1)
        a_reads, b_reads, _, writes = operand_traffic(dataflow, edge, edge, m[i], n[i], k[i])
        total += a_reads + b_reads + writes
    return total


@pytest.fixture(scope="module")
def shapes() -> tuple[Integers, Integers, Integers]:
    drawn = np.random.default_rng(0).integers(1, 5000, (3, TILES))
    return drawn[0], drawn[1], drawn[2]


@pytest.mark.parametrize("overlap", Overlap)
@pytest.mark.parametrize("dataflow", Dataflow)
def test_tile_cycles_per_second(
    benchmark: Any, dataflow: Dataflow, overlap: Overlap, shapes: tuple[Integers, Integers, Integers]
) -> None:
    array = SystolicArray(int(dataflow), 32, 32, int(overlap))
    _sum_of_cycles(array, *(sizes[:1] for sizes in shapes))
    assert benchmark(_sum_of_cycles, array, *shapes) > 0
    benchmark.extra_info["tiles_per_second"] = TILES / benchmark.stats.stats.median


@pytest.mark.parametrize("dataflow", Dataflow)
def test_engine_questions_per_second(
    benchmark: Any, dataflow: Dataflow, shapes: tuple[Integers, Integers, Integers]
) -> None:
    _sum_of_what_the_engine_asks(int(dataflow), 32, *(sizes[:1] for sizes in shapes))
    assert benchmark(_sum_of_what_the_engine_asks, int(dataflow), 32, *shapes) > 0
    benchmark.extra_info["tiles_per_second"] = TILES / benchmark.stats.stats.median


RESNET18 = [
    # The 20 convolutions of He et al., CVPR 2016, table 1, as GEMMs: M (pixels), N (filters), K (window)
    Layer("conv1", 112 * 112, 64, 7 * 7 * 3),
    *[Layer(f"conv2_{i}", 56 * 56, 64, 9 * 64) for i in range(4)],
    Layer("conv3_0", 28 * 28, 128, 9 * 64),
    *[Layer(f"conv3_{i}", 28 * 28, 128, 9 * 128) for i in range(1, 4)],
    Layer("conv3_shortcut", 28 * 28, 128, 64),
    Layer("conv4_0", 14 * 14, 256, 9 * 128),
    *[Layer(f"conv4_{i}", 14 * 14, 256, 9 * 256) for i in range(1, 4)],
    Layer("conv4_shortcut", 14 * 14, 256, 128),
    Layer("conv5_0", 7 * 7, 512, 9 * 256),
    *[Layer(f"conv5_{i}", 7 * 7, 512, 9 * 512) for i in range(1, 4)],
    Layer("conv5_shortcut", 7 * 7, 512, 256),
]


@pytest.mark.parametrize("bandwidth", [None, (10, 10, 10)], ids=["CALC", "USER"])
def test_resnet18(benchmark: Any, bandwidth: tuple[int, int, int] | None) -> None:
    config = Config(32, 32, Dataflow.WS, (64 * 1024,) * 3, bandwidth, False)
    reports = benchmark(lambda: [run_layer(config, layer) for layer in RESNET18])
    assert sum(one.layer.m * one.layer.n * one.layer.k for one in reports) == 1_813_561_344
