"""The closed form that ranks mappings of products: what it lists fits the cores, and none beats the chip's peaks."""

from __future__ import annotations

from itertools import pairwise
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.gemm.tiles import GemmShape
from kernels.mapping.gemm_ranking import rank_gemm
from kernels.mapping.ranking import Estimate, best_first, refreshed, up_to
from uarch.chip_file import load_chip
from uarch.errors import InputError

CHIP = load_chip("spad-h100")
shapes = st.builds(GemmShape, m=st.integers(1, 5000), n=st.integers(1, 5000), k=st.integers(1, 5000))


@given(shapes)
def test_every_mapping_fits_a_core(shape: GemmShape) -> None:
    for estimate in rank_gemm(CHIP, shape):
        tile = estimate.mapping
        stage_bytes = (tile.tile_m + tile.tile_n) * tile.tile_k * 2
        assert tile.stages >= 2
        assert tile.stages * stage_bytes <= CHIP.core.l1.bytes
        assert tile.tile_m * tile.tile_n * 4 <= CHIP.core.register_bytes


@given(shapes)
def test_no_estimate_is_below_the_work_at_peak_or_the_traffic_at_full_bandwidth(shape: GemmShape) -> None:
    traffic_bytes = 2 * (shape.m * shape.k + shape.k * shape.n + shape.m * shape.n)
    least_seconds = max(shape.flops / CHIP.peak_flops("fp16"), traffic_bytes / CHIP.memory.bandwidth_bytes_per_second)
    ranked = rank_gemm(CHIP, shape)
    assert all(estimate.seconds >= least_seconds for estimate in ranked)
    assert ranked[0].seconds <= 1.05 * min(estimate.seconds for estimate in ranked)


@given(st.lists(st.tuples(st.floats(1e-6, 1e-3), st.integers(1, 100))))
def test_among_equals_the_fewest_steps_come_first(drawn: list[tuple[float, int]]) -> None:
    ordered = best_first([Estimate(number, seconds, steps) for number, (seconds, steps) in enumerate(drawn)])
    assert len(ordered) == len(drawn)
    for one, other in pairwise(ordered):
        assert one.seconds <= other.seconds * 1.0204
        if abs(log(one.seconds / other.seconds)) < 1e-9:
            assert one.steps <= other.steps


def test_a_menu_ends_with_the_first_size_that_covers() -> None:
    assert up_to((16, 32, 64), 17) == [16, 32]
    assert up_to((16, 32, 64), 1) == [16]
    assert up_to((16, 32, 64), 1000) == [16, 32, 64]


def test_refresh_takes_its_share_of_the_time() -> None:
    """HBM3 of 16 Gb: 350 ns of every 3.9 us."""
    assert refreshed(load_chip("h100")) == pytest.approx(1 - 350 / 3900, abs=0.01)
    assert refreshed(load_chip("h100", ["memory.refresh=none"])) == 1.0


def test_a_core_without_room_for_a_tile_is_refused() -> None:
    tiny = load_chip("spad-h100", ["core.l1.bytes=1024"])
    with pytest.raises(InputError, match="no tile fits into 1024 bytes of L1 of spad-h100"):
        rank_gemm(tiny, GemmShape(m=64, n=64, k=64))
