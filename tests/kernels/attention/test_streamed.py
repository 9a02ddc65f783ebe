"""Functional replay of attention against its definition, and the MACs that causal schedules execute.

Exercised with it: kv_storage and kv_store.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kernels.attention.attention import Attention, FlashMapping
from kernels.attention.streamed import flash_attention
from kernels.attention.tensors import AttentionTensors, allocate_attention
from kernels.attention.unfused import UnfusedAttention, scores_tensor
from kernels.gemm.gemm import GemmMapping
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from kernels.replay.interpreter import replay
from kernels.vector.softmax import softmax
from tests.oracles.naive_attention import naive_attention
from tests.support.replayed import Matrix, assert_replayed, matrix
from uarch.chip_file import load_chip
from uarch.program.records import NONE, Op

groups = st.sampled_from([(1, 1), (4, 4), (4, 2), (8, 2), (3, 1)])
head_dims = st.sampled_from([2, 8, 16])
seeds = st.integers(0, 2**32 - 1)


class Case(NamedTuple):
    """Tensors of an attention operator with their values."""

    space: AddressSpace
    tensors: AttentionTensors
    memory: dict[str, Matrix]
    expected: Matrix


def case(shape: Attention, seed: int) -> Case:
    space = AddressSpace()
    tensors = allocate_attention(shape, space)
    q_width, kv_width = shape.q_heads * shape.head_dim, shape.kv_heads * shape.head_dim
    x = matrix(seed, shape.batch, shape.q_len, shape.q_heads, shape.head_dim) * 2
    y, z = (matrix(seed + i, shape.batch, shape.kv_len, shape.kv_heads, shape.head_dim) for i in (1, 2))
    memory = {"q": x.reshape(-1, q_width), "k": y.reshape(-1, kv_width), "v": z.reshape(-1, kv_width)}
    return Case(space, tensors, memory, naive_attention(shape, x, y, z).reshape(-1, q_width))


def flash(case: Case, shape: Attention, mapping: FlashMapping) -> TileProgram:
    return flash_attention("flash", shape, case.tensors, mapping, case.space)


def matrix_tiles(program: TileProgram) -> int:
    """Matrix steps that the program executes: two for each key block that it visits."""
    return int(program.executions()[program.is_matrix()].sum())


@given(
    st.integers(1, 2),
    groups,
    head_dims,
    st.integers(1, 40),
    st.integers(0, 40),
    st.booleans(),
    st.sampled_from([1, 7, 16, 32]),
    st.sampled_from([1, 5, 16, 32]),
    seeds,
)
def test_prefill(
    batch: int,
    heads: tuple[int, int],
    head_dim: int,
    q_len: int,
    past: int,
    causal: bool,
    tile_q: int,
    tile_k: int,
    seed: int,
) -> None:
    """Query tiles one by one, after ``past`` tokens of cache; only score tiles with a kept score are computed."""
    shape = Attention(batch, *heads, head_dim, q_len, q_len + past, causal)
    data = case(shape, seed)
    program = flash(data, shape, FlashMapping(tile_q, tile_k, stages=2))
    assert_replayed(program, data.memory, {"out": data.expected})

    kept = (
        np.tril(np.ones((q_len, shape.kv_len), np.bool_), past) if causal else np.ones((q_len, shape.kv_len), np.bool_)
    )
    visited, macs = 0, 0
    for i in range(0, q_len, tile_q):
        for j in range(0, shape.kv_len, tile_k):
            tile = kept[i : i + tile_q, j : j + tile_k]
            if tile.any():
                visited += 1
                macs += 2 * tile.size * head_dim
    assert matrix_tiles(program) == 2 * visited * batch * shape.q_heads
    assert program.macs == macs * batch * shape.q_heads
    assert program.padding_macs == program.macs - 2 * int(kept.sum()) * head_dim * batch * shape.q_heads
    assert program.padding_macs >= 0


@given(
    st.integers(1, 3),
    groups,
    head_dims,
    st.integers(1, 3),
    st.integers(0, 90),
    st.sampled_from([4, 16, 32]),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
    seeds,
)
def test_decode_packed_and_split(
    batch: int,
    heads: tuple[int, int],
    head_dim: int,
    q_len: int,
    past: int,
    tile_k: int,
    splits: int,
    packed: bool,
    causal: bool,
    seed: int,
) -> None:
    """One query, or a few as in speculative verification, against a cache that several blocks share."""
    shape = Attention(batch, *heads, head_dim, q_len, q_len + past, causal)
    assume(splits <= -(-shape.kv_len // tile_k))
    data = case(shape, seed)
    mapping = FlashMapping(q_len, tile_k, stages=2, pack=shape.group if packed else 1, splits=splits)
    program = flash(data, shape, mapping)
    assert_replayed(program, data.memory, {"out": data.expected})

    units = batch * heads[0] // mapping.pack
    assert len(program.blocks) == units * (splits + (splits > 1))
    assert matrix_tiles(program) == 2 * units * -(-shape.kv_len // tile_k)
    assert program.macs == 2 * batch * shape.q_heads * q_len * shape.kv_len * head_dim


@given(
    st.integers(1, 2),
    groups,
    head_dims,
    st.sampled_from([1, 1, 2, 9, 33]),
    st.integers(0, 40),
    st.booleans(),
    st.sampled_from([8, 16, 64]),
    seeds,
)
def test_unfused(
    batch: int, heads: tuple[int, int], head_dim: int, q_len: int, past: int, causal: bool, tile: int, seed: int
) -> None:
    """Scores, softmax and weighted sum, each through memory; masked scores are computed like all others."""
    shape = Attention(batch, *heads, head_dim, q_len, q_len + past, causal)
    data = case(shape, seed)
    scores, weights = (scores_tensor(data.space, name, shape) for name in ("scores", "weights"))
    attention = UnfusedAttention(shape, data.tensors, scores, weights, data.space)
    tile_m = attention.pack * max(1, tile // attention.pack)
    soft = softmax(
        "softmax",
        load_chip("a100", ["core.count=3"]),
        scores,
        weights,
        scale=head_dim**-0.5,
        causal_diagonal=past if causal else None,
        row_repeat=attention.pack,
    )
    qk = attention.qk(GemmMapping(tile_m, tile, head_dim, 2))
    pv = attention.pv(GemmMapping(tile_m, max(tile, head_dim), tile, 2))

    memory = dict(data.memory)
    for program in (qk, soft):
        counts = replay(program, memory)
        assert all((count == 1).all() for count in counts.values())
    assert_replayed(pv, memory, {"out": data.expected})
    assert qk.macs == pv.macs == batch * shape.q_heads * q_len * shape.kv_len * head_dim
    assert soft.macs == 0


def test_loads_of_packed_heads_are_shared() -> None:
    """Eight query heads of a group: without packing each loads K and V for itself, packed all of them once."""
    shape = Attention(2, 8, 1, 16, 1, 64)
    data = case(shape, 0)

    def loaded_elements(pack: int) -> int:
        program = flash(data, shape, FlashMapping(1, 32, 2, pack))
        boxes = program.operands[:, 1]
        in_memory = (boxes["tensor"] != NONE) & (program.steps["op"] == Op.MATMUL)
        return int((program.executions() * boxes["n_rows"] * boxes["n_cols"])[in_memory].sum())

    assert loaded_elements(8) == 2 * 2 * 64 * 16
    assert loaded_elements(1) == 8 * loaded_elements(8)


def test_mappings_that_cannot_be_built() -> None:
    shape = Attention(1, 8, 2, 8, 40, 40)
    data = case(shape, 0)
    with pytest.raises(ValueError, match="pack 8; 4 query heads share a K/V head"):
        flash(data, shape, FlashMapping(1, 16, 2, pack=8))


def test_short_lists_of_keys_are_split_less() -> None:
    """Of 40 causal queries the first 16 see one block of 16 keys, which is left whole; the others are cut in two."""
    shape = Attention(1, 2, 1, 8, 40, 40)
    data = case(shape, 0)
    program = flash(data, shape, FlashMapping(8, 16, 2, splits=2))
    assert_replayed(program, data.memory, {"out": data.expected})
    cut, whole = 2 * 3, 2 * 2
    assert len(program.blocks) == 2 * cut + whole + cut
