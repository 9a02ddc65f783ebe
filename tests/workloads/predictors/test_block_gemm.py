"""The block model of GEMMs: against the tool's published predictions, against its obvious form, and its search."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles.lock_step_waves import fastest_of_steps, l2_tile_cycles_of_sets
from tests.support.golden import REFERENCE, SHIPPED, Row, read_rows
from workloads.predictors.block_gemm import BlockMachine, Tilings, fastest_cycles, gemm_cycles, l2_tile_cycles, tilings

pytestmark = pytest.mark.once("closed forms: nothing is jitted")

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
    l2_read_rate=5120 / 2,
    vector_rate=512.0,
)
"""LLMCompass's A100: fp16, 78 TFLOP/s in the vector units."""


def predictions() -> list[Row]:
    """Those that are shipped, then those that the reference has besides."""
    rows = read_rows(SHIPPED / "llmcompass_gemm.csv")
    if REFERENCE is None:
        return rows
    text = (REFERENCE / "llmcompass.md").read_text(encoding="utf-8")
    full = re.findall(r"^\| (\d+), (\d+), (\d+) \| ([\d.]+) \| (\d+) \|", text, re.MULTILINE)
    known = {tuple(row.values()) for row in rows}
    assert known <= set(full)
    return rows + [dict(zip(rows[0], values, strict=True)) for values in full if values not in known]


PREDICTIONS = predictions()

SMALL = A100._replace(cores=5, l1_elements=16384, l2_elements=1 << 17, dram_rate=24.0, l2_rate=96.0, l2_read_rate=48.0)


def search_space(k: int, machine: BlockMachine) -> Tilings:
    return tilings(k, machine.lanes, machine.l1_elements, machine.l2_elements)


@pytest.mark.parametrize("row", PREDICTIONS, ids=lambda row: "x".join(row[side] for side in "mnk"))
def test_the_tools_predictions_are_reproduced(row: Row) -> None:
    m, n, k = int(row["m"]), int(row["n"]), int(row["k"])
    assert fastest_cycles(m, n, k, A100) / HZ * 1e3 == pytest.approx(float(row["milliseconds"]), rel=0.03)
    assert len(search_space(k, A100).side) == int(row["mappings"])
    assert fastest_cycles(m, n, k, A100) > m * n * k / A100.cores / A100.lanes / 256


@settings(deadline=None)
@given(seed=st.integers(0, 1 << 30), cores=st.integers(2, 40))
def test_waves_take_what_their_obvious_form_takes(seed: int, cores: int) -> None:
    """Of L2 tiles in full: closed forms take every wave for an average one, the obvious form counts the tiles of each."""
    machine, generator = SMALL._replace(cores=cores), np.random.default_rng(seed)
    space = search_space(512, machine)
    index = int(generator.integers(len(space.side)))
    one = Tilings(*(column[index : index + 1] for column in space))
    obvious = l2_tile_cycles_of_sets(int(one.l2_m[0]), int(one.l2_n[0]), int(one.l2_k[0]), one, machine)
    assert l2_tile_cycles(one.l2_m, one.l2_n, one.l2_k, one, machine)[0] == pytest.approx(obvious, rel=0.12)


@pytest.mark.parametrize(
    ("sizes", "tolerance"),
    [((512, 384, 640), 0.03), ((700, 500, 300), 0.03), ((100, 70, 130), 0.05), ((300, 200, 100), 0.15)],
)
def test_the_search_finds_about_what_counting_every_tile_finds(sizes: tuple[int, int, int], tolerance: float) -> None:
    some = Tilings(*(column[::41] for column in search_space(sizes[2], SMALL)))
    expected = fastest_of_steps(*sizes, some, SMALL)
    assert gemm_cycles(*sizes, some, SMALL).min() == pytest.approx(expected, rel=tolerance)


sides = st.integers(2, 700)


@settings(deadline=None)
@given(m=sides, n=sides, k=sides, factor=st.floats(1.0, 8.0))
def test_more_bandwidth_never_slows_a_gemm(m: int, n: int, k: int, factor: float) -> None:
    present = fastest_cycles(m, n, k, SMALL)
    for rate in ("dram_rate", "l2_rate", "l2_read_rate"):
        faster = SMALL._replace(**{rate: getattr(SMALL, rate) * factor})
        assert fastest_cycles(m, n, k, faster) <= present * (1 + 1e-9)


@settings(deadline=None)
@given(m=sides, n=sides, k=sides)
def test_a_gemm_takes_at_least_its_array_work_and_its_traffic(m: int, n: int, k: int) -> None:
    cycles = fastest_cycles(m, n, k, SMALL)
    assert cycles >= m * n * k / (SMALL.cores * SMALL.lanes * SMALL.rows * SMALL.cols)
    assert cycles >= (m * k + k * n + m * n) / SMALL.dram_rate * (1 - 1e-9)


def test_cores_that_share_a_network_need_to_be_many() -> None:
    """A skinny GEMM reads weights only: with 20 B a cycle for each core, 44 of 132 cores read less than DRAM delivers."""
    skinny = (64, 7168, 14336)
    taken = [
        fastest_cycles(*skinny, A100._replace(cores=cores, l2_read_rate=min(2560.0, cores * 10.0)))
        for cores in (132, 44)
    ]
    weights = 7168 * 14336
    assert taken[0] == pytest.approx(weights / A100.dram_rate, rel=0.05)
    assert taken[1] > weights / 440.0 > 1.5 * taken[0]
