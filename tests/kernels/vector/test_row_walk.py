"""Vector kernels that walk along rows: replayed against NumPy, and what their libraries' data mean in time.

Exercised with it: by_library and cutting.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from kernels.replay.interpreter import replay
from kernels.vector.libraries import IDEAL, RowKernel, row_kernel, vector_library_names
from kernels.vector.new_tokens import NewTokens
from kernels.vector.row_walk import WARP_GROUPS, row_norm, row_rope, row_silu_mul
from uarch.chip_file import load_chip
from uarch.engine.execute import execute
from uarch.errors import InputError
from workloads.single.vector import VECTOR_KERNELS, simulate_vector_kernel

Matrix = npt.NDArray[np.float64]

CHIP = load_chip("h100", ["core.count=2"])
kernels = st.builds(
    RowKernel, threads=st.sampled_from([1, 16, 64]), elements=st.sampled_from([1, 2, 4]), instructions=st.just(10.0)
)
rows_and_cols = st.tuples(st.integers(1, 5), st.integers(1, 300))
seeds = st.integers(0, 2**32 - 1)


def written_once(program: TileProgram, memory: dict[str, Matrix], out: str) -> Matrix:
    counts = replay(program, memory)
    assert set(counts) == {out}
    assert (counts[out] == 1).all()
    return memory[out]


@given(kernels, rows_and_cols, seeds)
def test_silu_mul(kernel: RowKernel, size: tuple[int, int], seed: int) -> None:
    rows, cols = size
    space = AddressSpace()
    x, out = space.allocate("x", rows, 2 * cols, 16), space.allocate("out", rows, cols, 16)
    values = np.random.default_rng(seed).normal(size=(rows, 2 * cols))
    gate, other = values[:, :cols], values[:, cols:]
    program = row_silu_mul("silu_mul", CHIP, x, out, kernel, dtype="fp16")
    np.testing.assert_allclose(written_once(program, {"x": values}, "out"), gate / (1 + np.exp(-gate)) * other)


@given(kernels, rows_and_cols, st.sampled_from(["rmsnorm", "layernorm"]), seeds)
def test_norms(kernel: RowKernel, size: tuple[int, int], kind: str, seed: int) -> None:
    rows, cols = size
    space = AddressSpace()
    weight_rows = 1 if kind == "rmsnorm" else 2
    x, out = space.allocate("x", rows, cols, 16), space.allocate("out", rows, cols, 16)
    weights = space.allocate("weights", weight_rows, cols, 16)
    random = np.random.default_rng(seed)
    values, scale = random.normal(size=(rows, cols)), random.normal(size=(weight_rows, cols))
    program = row_norm("norm", CHIP, x, weights, out, kernel, norm=kind, eps=1e-5, dtype="fp16")
    result = written_once(program, {"x": values, "weights": scale}, "out")
    np.testing.assert_allclose(result, normed(values, scale, kind), rtol=1e-6, atol=1e-9)


def normed(values: Matrix, scale: Matrix, kind: str) -> Matrix:
    if kind == "rmsnorm":
        return values / np.sqrt((values**2).mean(axis=1, keepdims=True) + 1e-5) * scale[0]
    centred = values - values.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) * scale[0] + scale[1]


@given(kernels, rows_and_cols, st.sampled_from(["rmsnorm", "layernorm"]), st.booleans(), seeds)
def test_norms_after_a_residual_addition(
    kernel: RowKernel, size: tuple[int, int], kind: str, in_place: bool, seed: int
) -> None:
    rows, cols = size
    space = AddressSpace()
    weight_rows = 1 if kind == "rmsnorm" else 2
    x, delta, out = (space.allocate(name, rows, cols, 16) for name in ("x", "delta", "out"))
    weights = space.allocate("weights", weight_rows, cols, 16)
    random = np.random.default_rng(seed)
    values, added = random.normal(size=(2, rows, cols))
    scale = random.normal(size=(weight_rows, cols))
    memory = {"x": values.copy(), "delta": added, "weights": scale}
    options = {"norm": kind, "eps": 1e-5, "dtype": "fp16"}
    counts = replay(row_norm("norm", CHIP, x, weights, x if in_place else out, kernel, **options, delta=delta), memory)
    expected = normed(values + added, scale, kind)
    np.testing.assert_allclose(memory["x" if in_place else "out"], expected, rtol=1e-6, atol=1e-9)
    if not in_place:
        np.testing.assert_allclose(memory["x"], values + added)
    assert {name: set(count.ravel().tolist()) for name, count in counts.items()} == (
        {"x": {2}} if in_place else {"x": {1}, "out": {1}}
    )


@given(
    kernels,
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 5)),
    st.tuples(st.integers(1, 5), st.integers(1, 3)),
    st.sampled_from([2, 8, 64]),
    seeds,
)
def test_rope(
    kernel: RowKernel, lengths: tuple[int, int, int], heads: tuple[int, int], head_dim: int, seed: int
) -> None:
    """The newest ``q_len`` keys of each sequence's cache are turned by their positions, older ones stay."""
    batch, q_len, older = lengths
    space = AddressSpace()
    q = space.allocate("q", batch * q_len, heads[0] * head_dim, 16)
    k = space.allocate("k", q_len + older, heads[1] * head_dim, 16, batch=batch)
    table = space.allocate("table", q_len + older, head_dim, 16)
    random = np.random.default_rng(seed)
    angles = random.normal(size=(q_len + older, head_dim // 2))
    memory = {tensor.name: random.normal(size=(tensor.batch * tensor.rows, tensor.cols)) for tensor in (q, k)}
    memory["table"] = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    before = {name: matrix.copy() for name, matrix in memory.items()}
    tokens = NewTokens.uniform(batch, q_len, q_len + older)
    counts = replay(row_rope("rope", CHIP, q, k, table, kernel, tokens, first_key=older, dtype="fp16"), memory)
    for name, n_heads in (("q", heads[0]), ("k", heads[1])):
        new = before[name].reshape(batch, -1, n_heads, 2, head_dim // 2)[:, -q_len:]
        turned = (new[:, :, :, 0] + 1j * new[:, :, :, 1]) * np.exp(1j * angles)[None, older:, None]
        found = memory[name].reshape(batch, -1, n_heads, 2, head_dim // 2)
        np.testing.assert_allclose(
            found[:, -q_len:], np.stack([turned.real, turned.imag], axis=3), rtol=1e-9, atol=1e-12
        )
        written = counts[name].reshape(batch, -1, n_heads * head_dim)
        assert (written[:, -q_len:] == 1).all()
        assert not written[:, :-q_len].any()


def seconds_of(threads: int, instructions: float, rows: int = 1, cols: int = 4096, **chip: object) -> float:
    kernel = RowKernel(threads=threads, elements=1, instructions=instructions)
    space = AddressSpace()
    x, out = space.allocate("x", rows, 2 * cols, 16), space.allocate("out", rows, cols, 16)
    overrides = [f"{name.replace('__', '.')}={value}" for name, value in chip.items()]
    target = load_chip("h100", ["core.count=2", *overrides])
    return execute(target, row_silu_mul("silu_mul", target, x, out, kernel, dtype="fp16"))[0].seconds


def test_every_iteration_waits_for_its_own_loads() -> None:
    """4096 columns by 1024 threads are 4 iterations, by 256 threads 16: each costs the latency to memory and back."""
    short, long = seconds_of(1024, 1.0), seconds_of(256, 1.0)
    latency = CHIP.l2.latency_seconds + CHIP.memory.latency_seconds
    assert long - short > 12 * latency


def test_instructions_take_issue_slots_of_the_core() -> None:
    """A row of 4096: 1000 more instructions for each element on 4 lanes of 32 each."""
    added = seconds_of(1024, 1000.0) - seconds_of(1024, 1.0)
    assert added == pytest.approx(999 * 4096 / (4 * 32) / CHIP.clock.vector_hz, rel=0.01)


def test_a_scheduler_issues_for_more_lanes_than_compute_fp32() -> None:
    narrow = seconds_of(1024, 1000.0, core__vector__width=16, core__vector__issue_width=16)
    assert narrow == pytest.approx(2 * seconds_of(1024, 1000.0), rel=0.1)
    assert seconds_of(1024, 1000.0, core__vector__width=16, core__vector__issue_width=32) < 0.6 * narrow


def test_threads_bound_the_blocks_of_a_core() -> None:
    """Blocks of 1024 threads on two cores of 2048 threads: 8 rows take two rounds, and four with 1024 threads a core."""
    many, few = (seconds_of(1024, 1.0, rows=8, core__max_threads=threads) for threads in (2048, 1024))
    assert 1.4 < few / many < 2.1


@pytest.mark.parametrize("library", vector_library_names())
@pytest.mark.parametrize("op", VECTOR_KERNELS)
def test_no_library_beats_the_ideal_kernel(library: str, op: str) -> None:
    ideal = simulate_vector_kernel(CHIP, op, 64, 512).seconds
    assert simulate_vector_kernel(CHIP, op, 64, 512, library=library).seconds >= 0.97 * ideal


def test_libraries() -> None:
    assert row_kernel(IDEAL, "gelu", CHIP) is None
    assert row_kernel("rows", "copy", CHIP) is None
    assert row_kernel("rows", "gelu", CHIP) is not None
    assert row_kernel("rows", "gelu", load_chip("h100", ["mapping=search"])) is None
    with pytest.raises(InputError, match="did you mean 'rows'"):
        row_kernel("row", "gelu", CHIP)


@given(st.floats(1, 100), st.floats(0, 100))
def test_issue_slots_or_fp32_lanes_whichever_take_longer(instructions: float, float_instructions: float) -> None:
    """An A100's core issues for 32 lanes and computes fp32 on 16."""
    kernel = RowKernel(
        threads=32,
        elements=1,
        instructions=instructions,
        float_instructions=float_instructions,
        thread_instructions=6.0,
    )
    a100, h100 = load_chip("a100"), load_chip("h100")
    assert kernel.lane_ops(a100, passes=2) == pytest.approx(max(instructions / 2, float_instructions) / 2)
    assert kernel.lane_ops(h100, passes=2) == pytest.approx(max(instructions, float_instructions) / 2)
    assert (kernel.thread_ops(a100), kernel.thread_ops(h100)) == (3.0, 6.0)


def test_warps_that_never_meet_go_their_own_ways() -> None:
    """As many rows as cores: a block for each group of warps. Fewer rows: one for each row, which has its core to itself."""
    kernel = RowKernel(threads=64, elements=1, instructions=10.0)
    for rows, groups in ((CHIP.core.count, WARP_GROUPS), (CHIP.core.count - 1, 1)):
        space = AddressSpace()
        x, out = space.allocate("x", rows, 2 * 200, 16), space.allocate("out", rows, 200, 16)
        program = row_silu_mul("silu_mul", CHIP, x, out, kernel, dtype="fp16")
        assert len(program.blocks) == groups * rows
        assert (program.executions() * program.steps["n"]).sum() == rows * 200
