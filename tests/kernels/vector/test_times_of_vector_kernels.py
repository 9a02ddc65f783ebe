"""The engine on kernels without matrix products: what they move, count and at most reach.

Exercised with it: collective.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from kernels.collectives.chunks import chunk_columns
from kernels.collectives.collectives import all_gather, all_reduce, all_reduce_one_shot, reduce_scatter
from kernels.collectives.libraries import payload_bytes_per_second, two_phase_seconds
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from kernels.vector import elementwise, softmax
from kernels.vector import norm as norms
from kernels.vector.embedding import embedding
from kernels.vector.new_tokens import NewTokens
from kernels.vector.rope import ROPE_OPS, rope
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.engine.execute import execute
from uarch.engine.l2 import L2State
from uarch.events import Event

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
CHIPS = ("a100",) if WITHOUT_JIT else ("a100", "h100", "spad-h100", "spad-prefill", "spad-decode")
ROWS, COLS = (8, 70) if WITHOUT_JIT else (200, 1090)
HEAD_DIM = 16
ELEMENT_BYTES = 2

needs_jit = pytest.mark.compiled("too large for the interpreter")


class Case(NamedTuple):
    """A kernel with the bytes it must read, and the lane-operations it must execute, plain and special."""

    program: TileProgram
    read_bytes: int
    vector_ops: int
    special_ops: int


def norm_case(chip: Chip) -> Case:
    space = AddressSpace()
    hidden, delta, out = (space.allocate(name, ROWS, COLS, 16) for name in ("hidden", "delta", "out"))
    weights = space.allocate("weights", 1, COLS, 16)
    program = norms.norm("norm", chip, hidden, weights, out, norm="rmsnorm", eps=1e-5, delta=delta)
    load_weights = len(program.blocks) * COLS
    read = hidden.size_bytes + delta.size_bytes + weights.size_bytes
    return Case(program, read, ROWS * COLS * (1 + norms.RMS_NORM_OPS) + load_weights, ROWS)


def layer_norm_case(chip: Chip) -> Case:
    space = AddressSpace()
    hidden, out = (space.allocate(name, ROWS, COLS, 16) for name in ("hidden", "out"))
    weights = space.allocate("weights", 2, COLS, 16)
    program = norms.norm("norm", chip, hidden, weights, out, norm="layernorm", eps=1e-5)
    load_weights = len(program.blocks) * 2 * COLS
    read = hidden.size_bytes + weights.size_bytes
    return Case(program, read, ROWS * COLS * norms.LAYER_NORM_OPS + load_weights, ROWS)


def gelu_case(chip: Chip) -> Case:
    space = AddressSpace()
    x, out = (space.allocate(name, ROWS, COLS, 16) for name in ("x", "out"))
    program = elementwise.activation("gelu", chip, x, out, activation="gelu", gated=False)
    elements = ROWS * COLS
    return Case(program, x.size_bytes, elements * elementwise.GELU_OPS, elements * elementwise.GELU_SPECIAL_OPS)


def silu_case(chip: Chip) -> Case:
    space = AddressSpace()
    x, out = space.allocate("x", ROWS, 2 * COLS, 16), space.allocate("out", ROWS, COLS, 16)
    program = elementwise.activation("silu", chip, x, out, activation="silu", gated=True)
    elements = ROWS * COLS
    return Case(program, x.size_bytes, elements * elementwise.SILU_OPS, elements * elementwise.SILU_SPECIAL_OPS)


def residual_case(chip: Chip) -> Case:
    space = AddressSpace()
    hidden, delta = (space.allocate(name, ROWS, COLS, 16) for name in ("hidden", "delta"))
    program = elementwise.residual("add", chip, hidden, delta)
    return Case(program, hidden.size_bytes + delta.size_bytes, ROWS * COLS, 0)


def softmax_case(chip: Chip) -> Case:
    space = AddressSpace()
    scores, out = (space.allocate(name, ROWS // 2, COLS, 16, batch=2) for name in ("scores", "out"))
    program = softmax.softmax("softmax", chip, scores, out, scale=0.1, causal_diagonal=COLS - ROWS // 2)
    special = ROWS * COLS * softmax.SOFTMAX_SPECIAL_OPS + ROWS
    return Case(program, scores.size_bytes, ROWS * COLS * softmax.SOFTMAX_OPS, special)


def rope_case(chip: Chip) -> Case:
    space = AddressSpace()
    length = ROWS // 2
    q, k = space.allocate("q", ROWS, 4 * HEAD_DIM, 16), space.allocate("k", length, HEAD_DIM, 16, batch=2)
    table = space.allocate("table", length, HEAD_DIM, 32)
    program = rope("rope", chip, q, k, table, tokens=NewTokens.uniform(2, length, length))
    read = q.size_bytes + k.size_bytes + table.size_bytes
    return Case(program, read, ROWS * 5 * HEAD_DIM * ROPE_OPS, 0)


def embedding_case(chip: Chip) -> Case:
    space = AddressSpace()
    table, out = space.allocate("table", 64, COLS, 16, granule_rows=1), space.allocate("out", ROWS, COLS, 16)
    ids = np.arange(ROWS) * 7 % 128
    local = np.unique(ids[ids < 64])
    program = embedding("embedding", chip, ids, table, out, first_id=0)
    return Case(program, len(local) * COLS * ELEMENT_BYTES, ROWS * COLS, 0)


CASES = (
    norm_case,
    layer_norm_case,
    gelu_case,
    silu_case,
    residual_case,
    softmax_case,
    rope_case,
    embedding_case,
)


@pytest.mark.parametrize("build", CASES)
@pytest.mark.parametrize("chip_name", CHIPS)
def test_a_cold_cache_is_filled_once_and_never_faster_than_dram(chip_name: str, build: Callable[[Chip], Case]) -> None:
    """All outputs fit into L2 and stay there, so that DRAM sees exactly the compulsory reads."""
    chip = load_chip(chip_name, ["l2.eager_write_back=false"])
    case = build(chip)
    result, _ = execute(chip, case.program)
    assert result.count(Event.DRAM_READ_BYTES) == case.read_bytes
    assert result.count(Event.DRAM_WRITE_BYTES) == 0
    assert result.seconds >= case.read_bytes / chip.memory.bandwidth_bytes_per_second
    assert result.seconds >= case.vector_ops / (chip.peak_vector_flops / 2)
    assert result.seconds >= case.special_ops / chip.peak_special_ops_per_second
    assert result.count(Event.VECTOR_OPS) == case.vector_ops
    assert result.count(Event.SPECIAL_OPS) == case.special_ops
    assert result.count(Event.MACS) == 0
    assert result.count(Event.LINK_BYTES) == 0


@pytest.mark.parametrize("eager", [True, False])
def test_complete_granules_go_to_memory_at_once_or_when_they_must(eager: bool) -> None:
    """128 x 1024 in fp16: 32 granules, all complete; 130 rows have a row of granules with two rows each."""
    chip = load_chip("a100", [f"l2.eager_write_back={str(eager).lower()}"])
    for rows, complete_bytes in ((128, 128 * 1024 * 2), (130, 128 * 1024 * 2)):
        x, out = (AddressSpace().allocate(name, rows, 1024, 16) for name in ("x", "out"))
        result, state = execute(chip, elementwise.fill("fill", chip, out))
        assert result.count(Event.DRAM_WRITE_BYTES) == (complete_bytes if eager else 0)
        assert state.resident_bytes == out.size_bytes == x.size_bytes


def test_what_one_kernel_leaves_in_l2_the_next_does_not_read_again() -> None:
    chip = load_chip("a100")
    space = AddressSpace()
    hidden, delta, out = (space.allocate(name, ROWS, COLS, 16) for name in ("hidden", "delta", "out"))
    weights = space.allocate("weights", 1, COLS, 16)
    _, warm = execute(chip, elementwise.residual("add", chip, hidden, delta))
    program = norms.norm("norm", chip, hidden, weights, out, norm="rmsnorm", eps=1e-5)
    result, _ = execute(chip, program, warm)
    assert result.count(Event.DRAM_READ_BYTES) == weights.size_bytes


@needs_jit
@pytest.mark.parametrize("chip_name", CHIPS)
def test_large_streaming_kernels_reach_most_of_dram_bandwidth(chip_name: str) -> None:
    """Working sets of 200 to 540 MB, several times L2; the rest is refresh, turnarounds of the bus, and rows
    that reads and writes of different tensors close for each other.
    """
    chip = load_chip(chip_name)
    rows, cols = 8192, 8192
    space = AddressSpace()
    x, y = space.allocate("x", rows, cols, 16), space.allocate("y", rows, cols, 16)
    gated = space.allocate("gated", rows, 2 * cols, 16)
    weights = space.allocate("weights", 1, cols, 16)
    programs = (
        elementwise.residual("add", chip, x, y),
        elementwise.activation("gelu", chip, x, y, activation="gelu", gated=False),
        elementwise.activation("silu", chip, gated, y, activation="silu", gated=True),
        norms.norm("norm", chip, x, weights, y, norm="rmsnorm", eps=1e-5),
        softmax.softmax("softmax", chip, x, y, scale=1.0, causal_diagonal=None),
    )
    for program in programs:
        result, _ = execute(chip, program)
        achieved = result.dram_bytes / result.seconds / chip.memory.bandwidth_bytes_per_second
        assert 0.8 <= achieved <= 1, program.name


@pytest.mark.parametrize("chip_name", CHIPS)
@pytest.mark.parametrize(("rank", "ranks"), [(0, 2), (1, 3), (3, 4)])
def test_the_link_carries_what_the_closed_form_says(chip_name: str, rank: int, ranks: int) -> None:
    chip = load_chip(chip_name)
    space = AddressSpace()
    cols = 64 * ranks + 40
    x, out = space.allocate("x", ROWS, cols, 16), space.allocate("out", ROWS, cols, 16)
    first, end = chunk_columns(x, rank, ranks)
    column_bytes = ROWS * ELEMENT_BYTES
    for programs, columns in (
        (all_reduce_one_shot("sum", chip, x, out, rank=rank, ranks=ranks), (ranks - 1) * cols),
        (reduce_scatter("scatter", chip, x, out, rank=rank, ranks=ranks), (ranks - 1) * (end - first)),
        (all_gather("gather", chip, x, rank=rank, ranks=ranks), cols - (end - first)),
    ):
        (program,) = programs
        result, _ = execute(chip, program)
        link_bytes = columns * column_bytes
        assert result.count(Event.LINK_BYTES) == link_bytes
        assert result.seconds >= chip.link.latency_seconds + link_bytes / payload_bytes_per_second(chip)


@needs_jit
@pytest.mark.parametrize("chip_name", CHIPS)
def test_a_large_all_reduce_takes_the_time_of_the_latency_bandwidth_model(chip_name: str) -> None:
    """BLOOM-176B's all-reduce of 2048 tokens over 8 ranks: 58.7 MB, bound by the link to within 5 %."""
    chip = load_chip(chip_name)
    space = AddressSpace()
    x, out = space.allocate("x", 2048, 14336, 16), space.allocate("out", 2048, 14336, 16)
    state, seconds = L2State.empty(), 0.0
    for program in all_reduce("sum", chip, x, out, rank=7, ranks=8):
        result, state = execute(chip, program, state)
        seconds += result.seconds
    expected = two_phase_seconds(chip, x.size_bytes, 8)
    assert expected <= seconds <= 1.05 * expected
