"""Functional replay of the kernels without matrix products against NumPy, on chips that force ragged cuts and loops.

Exercised with it: head_norm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from kernels.replay.interpreter import replay
from kernels.vector.elementwise import activation, residual, soft_cap
from kernels.vector.embedding import embedding
from kernels.vector.new_tokens import NewTokens
from kernels.vector.norm import norm
from kernels.vector.rope import rope
from kernels.vector.softmax import softmax
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.errors import InputError

Matrix = npt.NDArray[np.float64]
EPS = 1e-5


@cache
def small_chip(cores: int, l1_bytes: int) -> Chip:
    return load_chip("h100", [f"core.count={cores}", f"core.l1.bytes={l1_bytes}", "core.register_bytes=65536"])


chips = st.builds(small_chip, st.sampled_from([1, 2, 5]), st.sampled_from([8 << 10, 64 << 10]))
row_counts = st.sampled_from([1, 2, 3, 7, 63, 64, 65, 130])
col_counts = st.sampled_from([1, 2, 31, 64, 65, 200, 257])
seeds = st.integers(0, 2**32 - 1)
element_bits = st.sampled_from([16, 32])


def matrix(seed: int, *shape: int) -> Matrix:
    return np.random.default_rng(seed).normal(size=shape)


def run(program: TileProgram, memory: dict[str, Matrix], written_once: set[str]) -> None:
    """Replay; the named tensors, and no others, are written, each element once."""
    counts = replay(program, memory)
    assert set(counts) == written_once
    for name, count in counts.items():
        assert (count == 1).all(), name
    assert program.useful_flops == 0
    assert program.macs == 0


def assert_close(actual: Matrix, expected: Matrix) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@settings(deadline=None)
@given(chips, row_counts, col_counts, element_bits, st.sampled_from(["rmsnorm", "layernorm"]), st.booleans(), seeds)
def test_norm(chip: Chip, rows: int, cols: int, bits: int, kind: str, fused: bool, seed: int) -> None:
    space = AddressSpace()
    weight_rows = 1 if kind == "rmsnorm" else 2
    hidden, delta, out = (space.allocate(name, rows, cols, bits) for name in ("hidden", "delta", "out"))
    weights = space.allocate("weights", weight_rows, cols, bits)
    x, dx, w = matrix(seed, rows, cols), matrix(seed + 1, rows, cols), matrix(seed + 2, weight_rows, cols)
    memory = {"hidden": x.copy(), "delta": dx, "weights": w}

    program = norm("norm", chip, hidden, weights, out, norm=kind, eps=EPS, delta=delta if fused else None)
    run(program, memory, {"out", "hidden"} if fused else {"out"})

    total = x + dx if fused else x
    if kind == "rmsnorm":
        expected = total / np.sqrt((total * total).sum(axis=1, keepdims=True) / cols + EPS) * w
    else:
        centred = total - total.sum(axis=1, keepdims=True) / cols
        expected = centred / np.sqrt((centred * centred).sum(axis=1, keepdims=True) / cols + EPS) * w[0] + w[1]
    assert_close(memory["hidden"], total)
    assert_close(memory["out"], expected)


@settings(deadline=None)
@given(
    *(chips, row_counts, col_counts, element_bits),
    st.sampled_from([("gelu", False), ("gelu", True), ("silu", True)]),
    seeds,
)
def test_activation(chip: Chip, rows: int, cols: int, bits: int, kind: tuple[str, bool], seed: int) -> None:
    space = AddressSpace()
    function, gated = kind
    wide = cols * (1 + gated)
    x, out = space.allocate("x", rows, wide, bits), space.allocate("out", rows, cols, bits)
    value = matrix(seed, rows, wide)
    memory = {"x": value.copy()}

    run(activation("act", chip, x, out, activation=function, gated=gated), memory, {"out"})

    gate, up = value[:, :cols], value[:, cols:] if gated else 1.0
    # (1 + tanh z) / 2 is the logistic function of 2z
    slope = gate if function == "silu" else 2 * np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)
    assert_close(memory["out"], gate * up / (1 + np.exp(-slope)))


@settings(deadline=None)
@given(chips, row_counts, col_counts, element_bits, seeds)
def test_soft_cap(chip: Chip, rows: int, cols: int, bits: int, seed: int) -> None:
    x = AddressSpace().allocate("x", rows, cols, bits)
    value = 40 * matrix(seed, rows, cols)
    memory = {"x": value.copy()}
    run(soft_cap("cap", chip, x, cap=30.0), memory, {"x"})
    assert_close(memory["x"], 30 * np.tanh(value / 30))


@settings(deadline=None)
@given(chips, row_counts, col_counts, element_bits, seeds)
def test_residual(chip: Chip, rows: int, cols: int, bits: int, seed: int) -> None:
    space = AddressSpace()
    hidden, delta = space.allocate("hidden", rows, cols, bits), space.allocate("delta", rows, cols, 16)
    x, dx = matrix(seed, rows, cols), matrix(seed + 1, rows, cols)
    memory = {"hidden": x.copy(), "delta": dx}
    run(residual("add", chip, hidden, delta), memory, {"hidden"})
    assert_close(memory["hidden"], x + dx)


@settings(deadline=None)
@given(
    chips,
    st.integers(1, 3),
    st.sampled_from([1, 2, 7, 33]),
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from([0, 1, 40]),
    st.sampled_from([1, 64, 99]),
    st.booleans(),
    seeds,
)
def test_softmax(
    chip: Chip, batch: int, queries: int, repeat: int, past: int, extra_cols: int, causal: bool, seed: int
) -> None:
    space = AddressSpace()
    rows, kv = queries * repeat, queries + past + (0 if causal else extra_cols)
    scores = space.allocate("scores", rows, kv, 16, batch=batch)
    out = space.allocate("out", rows, kv, 16, batch=batch)
    value = 4 * matrix(seed, batch * rows, kv)
    memory = {"scores": value.copy()}

    program = softmax(
        "softmax", chip, scores, out, scale=0.3, causal_diagonal=past if causal else None, row_repeat=repeat
    )
    run(program, memory, {"out"})

    expected = np.exp(0.3 * value)
    if causal:
        query = np.arange(batch * rows) % rows // repeat
        expected[np.arange(kv)[None, :] > query[:, None] + past] = 0
    assert_close(memory["out"], expected / expected.sum(axis=1, keepdims=True))


def test_softmax_in_place_handles_rows_of_sixteen_thousand_scores() -> None:
    scores = AddressSpace().allocate("scores", 3, 16384, 16)
    value = matrix(0, 3, 16384)
    memory = {"scores": value.copy()}
    program = softmax("softmax", small_chip(2, 64 << 10), scores, scores, scale=1.0, causal_diagonal=None)
    run(program, memory, {"scores"})
    assert_close(memory["scores"], np.exp(value) / np.exp(value).sum(axis=1, keepdims=True))


@settings(deadline=None)
@given(
    chips,
    st.integers(1, 3),
    st.sampled_from([1, 5, 65]),
    st.sampled_from([0, 1, 70]),
    st.integers(0, 2),
    st.sampled_from([(1, 1), (3, 1), (4, 2)]),
    st.sampled_from([2, 16, 64]),
    seeds,
)
def test_rope_rotates_pairs_and_leaves_older_keys_alone(
    chip: Chip, batch: int, q_len: int, past: int, unused: int, heads: tuple[int, int], head_dim: int, seed: int
) -> None:
    space = AddressSpace()
    kv_len, half = q_len + past, head_dim // 2
    q = space.allocate("q", batch * q_len, heads[0] * head_dim, 16)
    k = space.allocate("k", kv_len + unused, heads[1] * head_dim, 16, batch=batch)
    table = space.allocate("table", kv_len, head_dim, 32)
    angle = np.arange(kv_len)[:, None] * 10000.0 ** (-np.arange(half) / half)
    queries, keys = matrix(seed, batch, q_len, heads[0], head_dim), matrix(seed, batch, k.rows, heads[1], head_dim)
    memory = {
        "q": queries.reshape(batch * q_len, -1).copy(),
        "k": keys.reshape(batch * k.rows, -1).copy(),
        "table": np.hstack([np.cos(angle), np.sin(angle)]),
    }

    counts = replay(
        rope("rope", chip, q, k, table, tokens=NewTokens.uniform(batch, q_len, kv_len), first_key=past), memory
    )

    def rotated(value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        turn = np.exp(1j * angle[past:])[None, :, None, :]
        pair = (value[..., :half] + 1j * value[..., half:]) * turn
        return np.concatenate([pair.real, pair.imag], axis=-1)

    newest = np.zeros((batch, k.rows, k.cols), np.int64)
    newest[:, past:kv_len] = 1
    keys[:, past:kv_len] = rotated(keys[:, past:kv_len])
    assert (counts["q"] == 1).all()
    assert (counts["k"] == newest.reshape(-1, k.cols)).all()
    assert_close(memory["q"], rotated(queries).reshape(batch * q_len, -1))
    assert_close(memory["k"], keys.reshape(batch * k.rows, -1))


@settings(deadline=None)
@given(chips, st.integers(1, 40), st.sampled_from([1, 64, 100]), st.integers(1, 9), st.integers(1, 4), seeds)
def test_embedding_adds_up_over_the_ranks(
    chip: Chip, tokens: int, cols: int, rows_per_rank: int, ranks: int, seed: int
) -> None:
    vocabulary = matrix(seed, rows_per_rank * ranks, cols)
    ids = np.random.default_rng(seed).integers(0, len(vocabulary), tokens)
    total = np.zeros((tokens, cols))
    for rank in range(ranks):
        space = AddressSpace()
        table = space.allocate("table", rows_per_rank, cols, 16, granule_rows=1)
        out = space.allocate("out", tokens, cols, 16)
        first_id = rank * rows_per_rank
        memory = {"table": vocabulary[first_id : first_id + rows_per_rank]}
        run(embedding("embedding", chip, ids, table, out, first_id=first_id), memory, {"out"})
        total += memory["out"]
    assert_close(total, vocabulary[ids])


def test_a_row_that_does_not_fit_names_the_limit() -> None:
    chip = small_chip(1, 8 << 10)
    space = AddressSpace()
    wide, weights = space.allocate("x", 2, 8192, 16), space.allocate("weights", 1, 8192, 16)
    builds: tuple[Callable[[], TileProgram], ...] = (
        lambda: softmax("s", chip, wide, wide, scale=1.0, causal_diagonal=None),
        lambda: norm("n", chip, wide, weights, wide, norm="rmsnorm", eps=EPS),
        lambda: embedding("e", chip, np.zeros(2, np.int64), wide, wide, first_id=0),
    )
    for build in builds:
        with pytest.raises(InputError, match=r"16384 bytes of a core; core\.l1\.bytes of h100 is 8192"):
            build()


def test_unknown_norms_and_activations_name_what_is_allowed() -> None:
    x = AddressSpace().allocate("x", 2, 8, 16)
    with pytest.raises(InputError, match="rmsnorm, layernorm"):
        norm("n", small_chip(1, 8 << 10), x, x, x, norm="batchnorm", eps=EPS)
    with pytest.raises(InputError, match=r"gelu \(not gated\), gelu \(gated\), silu \(gated\)"):
        activation("a", small_chip(1, 8 << 10), x, x, activation="silu", gated=False)


def test_tensors_of_other_shapes_are_refused() -> None:
    chip, space = small_chip(1, 8 << 10), AddressSpace()
    x, y = space.allocate("x", 2, 8, 16), space.allocate("y", 2, 9, 16)
    builds: tuple[Callable[[], TileProgram], ...] = (
        lambda: residual("r", chip, x, y),
        lambda: activation("a", chip, x, y, activation="gelu", gated=False),
        lambda: norm("n", chip, x, y, x, norm="rmsnorm", eps=EPS),
        lambda: rope("r", chip, x, x, y, tokens=NewTokens.uniform(1, 1, 1)),
        lambda: embedding("e", chip, np.zeros(3, np.int64), x, x, first_id=0),
        lambda: softmax("s", chip, x, y, scale=1.0, causal_diagonal=None),
    )
    for build in builds:
        with pytest.raises(ValueError, match=r"shape|must be|differ"):
            build()
