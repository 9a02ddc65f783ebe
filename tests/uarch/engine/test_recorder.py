"""The engine's timeline: recording changes nothing, and the intervals account for the core time, the blocks and the bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from uarch.chip_file import load_chip
from uarch.engine import recorder
from uarch.engine.execute import KernelResult, execute
from uarch.engine.recorder import Track
from uarch.events import Cause

CHIP = load_chip(
    "h100", ["core.count=3", "l2.slices=8", "memory.packages=1", "memory.channels=8", "noc.multicast_cores=1"]
)
SHAPE = (512, 768, 512)
EVERYTHING = 1 << 40


def make_gemm() -> TileProgram:
    shape, space = GemmShape(*SHAPE), AddressSpace()
    a, b, c = (
        space.allocate(name, *sizes, 16)
        for name, sizes in (("a", (shape.m, shape.k)), ("b", (shape.k, shape.n)), ("c", (shape.m, shape.n)))
    )
    mapping = GemmMapping(tile_m=64, tile_n=128, tile_k=64, split_k=1, stages=3)
    return gemm("gemm", shape, Operand(a), Operand(b), [Output(Operand(c), 0, shape.n)], mapping, space, dtype="fp16")


def recorded(most_intervals: int = EVERYTHING) -> tuple[KernelResult, Any, list[int]]:
    """The result, all intervals, and the sizes of the parts in which they came."""
    parts: list[Any] = []
    result, _ = execute(CHIP, make_gemm(), launch_seconds=1e-6, most_intervals=most_intervals, record=parts.append)
    return result, np.concatenate(parts), [len(part) for part in parts]


def on(rows: Any, track: Track) -> Any:
    return rows[rows["track"] == track]


def test_recording_changes_nothing() -> None:
    plain, _ = execute(CHIP, make_gemm(), launch_seconds=1e-6)
    result, _, _ = recorded()
    assert result.total_ps == plain.total_ps
    assert result.causes_ps.tolist() == plain.causes_ps.tolist()
    assert result.events.tolist() == plain.events.tolist()


def test_core_time_is_accounted_for() -> None:
    result, rows, _ = recorded()
    core = on(rows, Track.CORE)
    sums = np.zeros_like(result.causes_ps)
    np.add.at(sums, (core["core"], core["cause"]), core["end_ps"] - core["start_ps"])
    work = [Cause.MATRIX, Cause.VECTOR, Cause.L1]
    assert sums[:, work].sum(axis=1).tolist() == result.causes_ps[:, work].sum(axis=1).tolist()
    for cause in set(Cause) - set(work):
        assert sums[:, cause].tolist() == result.causes_ps[:, cause].tolist()
    for number in range(3):
        own = core[core["core"] == number]
        assert own["start_ps"][0] == 0
        assert own["end_ps"][-1] == result.total_ps
        assert own["start_ps"][1:].tolist() == own["end_ps"][:-1].tolist()


def test_blocks_steps_and_bytes() -> None:
    result, rows, _ = recorded()
    program = make_gemm()
    assert sorted(on(rows, Track.BLOCK)["block"].tolist()) == list(range(len(program.blocks)))
    assert on(rows, Track.STORE)["bytes"].sum() == SHAPE[0] * SHAPE[1] * 2
    n_tiles_m, n_tiles_n = -(-SHAPE[0] // 64), SHAPE[1] // 128
    loaded = 2 * (SHAPE[0] * SHAPE[2] * n_tiles_n + SHAPE[2] * SHAPE[1] * n_tiles_m)
    assert on(rows, Track.LOAD)["bytes"].sum() == loaded
    for track in (Track.MATRIX, Track.VECTOR):
        for number in range(3):
            own = on(rows, track)[on(rows, track)["core"] == number]
            assert (own["start_ps"][1:] >= own["end_ps"][:-1]).all()
    assert (rows["start_ps"] >= 0).all()
    assert (rows["end_ps"] >= rows["start_ps"]).all()
    assert rows["end_ps"].max() <= result.total_ps


def test_a_small_buffer_gives_the_same_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    result, whole, parts = recorded()
    assert len(parts) == 1
    monkeypatch.setattr(recorder, "BUFFER_INTERVALS", 100)
    again, pieces, sizes = recorded()
    assert again.total_ps == result.total_ps
    assert pieces.tobytes() == whole.tobytes()
    assert len(sizes) > 3
    assert max(sizes) <= 100 + 2 * 3


def test_the_limit_stops_recording_but_not_the_run() -> None:
    result, whole, _ = recorded()
    limited, rows, _ = recorded(150)
    assert limited.total_ps == result.total_ps
    assert rows.tobytes() == whole[:150].tobytes()
