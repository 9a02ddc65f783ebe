"""The block model of GEMMs: against the tool's published predictions, against its obvious form, and its search."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles.lock_step_waves import l2_tile_cycles_of_sets
from workloads.predictors.block_gemm import (
    BlockMachine,
    Tiling,
    fastest_tiling,
    gemm_cycles,
    l2_tile_cycles,
    least_cycles,
    tilings,
)

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"

HZ = 1.41e9
A100 = BlockMachine(
    cores=108,
    lanes=4,
    rows=16,
    cols=16,
    macs_per_pe_per_cycle=1.0,
    l1_elements=192 * 1024 // 2,
    l2_elements=40 * 1024 * 1024 // 2,
    dram_rate=2039e9 / HZ / 2,
    l2_rate=5120 / 2,
    vector_rate=512.0,
)
"""LLMCompass's A100: fp16, 78 TFLOP/s in the vector units."""

# LLMCompass at its commit 2e015fd, heuristic mapper, without launch overhead: (m, n, k), ms, mappings tried.
PREDICTIONS = [
    ((64, 12288, 12288), 0.1521, 2928),
    ((1024, 12288, 12288), 1.1019, 2928),
    ((8192, 64, 64), 0.0014, 7056),
    ((8192, 1024, 1024), 0.0745, 6138),
    ((8192, 8192, 8192), 3.7731, 2928),
]

SMALL = A100._replace(cores=5, l1_elements=16384, l2_elements=1 << 17, dram_rate=24.0, l2_rate=96.0)


@pytest.mark.parametrize(("sizes", "milliseconds", "rounds"), PREDICTIONS[-1:] if WITHOUT_JIT else PREDICTIONS)
def test_the_tools_predictions_are_reproduced(sizes: tuple[int, int, int], milliseconds: float, rounds: int) -> None:
    cycles, _ = fastest_tiling(*sizes, A100)
    assert cycles / HZ * 1e3 == pytest.approx(milliseconds, rel=0.03)
    assert len(tilings(sizes[2], A100.lanes, A100.l1_elements, A100.l2_elements)) == rounds


@pytest.mark.skipif(WITHOUT_JIT, reason="seconds compiled, minutes interpreted")
def test_all_predictions_of_the_reference_are_reproduced_within_3_percent() -> None:
    folder = os.environ.get("UARCH_REFERENCE")
    if folder is None:
        pytest.skip("UARCH_REFERENCE does not name the folder of the reference data")
    text = (Path(folder) / "llmcompass.md").read_text()
    rows = re.findall(r"^\| (\d+), (\d+), (\d+) \| ([\d.]+) \| (\d+) \|", text, re.MULTILINE)
    assert len(rows) == 20
    for m, n, k, milliseconds, rounds in rows:
        cycles, _ = fastest_tiling(int(m), int(n), int(k), A100)
        assert cycles / HZ * 1e3 == pytest.approx(float(milliseconds), rel=0.03), (m, n, k)
        assert len(tilings(int(k), A100.lanes, A100.l1_elements, A100.l2_elements)) == int(rounds)


sides = st.integers(1, 150)


@settings(deadline=None, max_examples=20 if WITHOUT_JIT else 200)
@given(m=sides, n=sides, k=sides, side=st.integers(8, 40), depth=st.integers(8, 70), cores=st.integers(1, 12))
def test_waves_are_those_of_the_obvious_form(m: int, n: int, k: int, side: int, depth: int, cores: int) -> None:
    machine = SMALL._replace(cores=cores)
    tiling = Tiling(256, 256, 256, side, depth, 2, 1, 2, True)
    assert l2_tile_cycles(m, n, k, tiling, machine) == l2_tile_cycles_of_sets(m, n, k, tiling, machine)


@settings(deadline=None, max_examples=5 if WITHOUT_JIT else 60)
@given(m=st.integers(2, 700), n=st.integers(2, 700), k=st.integers(1, 600), seed=st.integers(0, 1000))
def test_bounds_hold(m: int, n: int, k: int, seed: int) -> None:
    candidates = tilings(k, SMALL.lanes, SMALL.l1_elements, SMALL.l2_elements)
    some = [candidates[i] for i in np.random.default_rng(seed).integers(0, len(candidates), 20)]
    bounds = least_cycles(m, n, k, np.array(some, np.int64), SMALL)
    for tiling, bound in zip(some, bounds, strict=True):
        assert bound <= gemm_cycles(m, n, k, tiling, SMALL)


@pytest.mark.skipif(WITHOUT_JIT, reason="a second compiled, minutes interpreted")
@pytest.mark.parametrize("sizes", [(100, 70, 130), (33, 500, 64)])
def test_the_search_finds_what_trying_all_finds(sizes: tuple[int, int, int]) -> None:
    candidates = tilings(sizes[2], SMALL.lanes, SMALL.l1_elements, SMALL.l2_elements)
    assert fastest_tiling(*sizes, SMALL)[0] == min(gemm_cycles(*sizes, tiling, SMALL) for tiling in candidates)


@settings(deadline=None, max_examples=3 if WITHOUT_JIT else 30)
@given(m=st.integers(2, 300), n=st.integers(2, 300), k=st.integers(1, 300), factor=st.floats(1.0, 8.0))
def test_more_bandwidth_never_slows_a_gemm(m: int, n: int, k: int, factor: float) -> None:
    faster = SMALL._replace(dram_rate=SMALL.dram_rate * factor)
    assert fastest_tiling(m, n, k, faster)[0] <= fastest_tiling(m, n, k, SMALL)[0]


def test_a_gemm_takes_at_least_its_array_work_and_its_traffic() -> None:
    m, n, k = 512, 384, 640
    cycles, _ = fastest_tiling(m, n, k, SMALL)
    assert cycles >= m * n * k / (SMALL.cores * SMALL.lanes * SMALL.rows * SMALL.cols)
    assert cycles >= (m * k + k * n + m * n) / SMALL.dram_rate
