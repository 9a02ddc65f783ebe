"""Functional replay of attention under every mask, on ragged, paged and quantised caches, against its definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.attention.attention import Attention, FlashMapping
from kernels.attention.streamed import flash_attention
from kernels.masks.block_sparse import BlockSparseMask
from kernels.masks.score_masks import CausalMask, ScoreMask, WindowMask
from kernels.replay.interpreter import replay
from tests.support.attention_cases import attention_case, masks
from tests.support.replayed import assert_replayed
from uarch.datatypes import datatype
from uarch.program.records import NONE, A, B, Op

groups = st.sampled_from([(1, 1), (4, 2), (6, 2), (3, 1)])
pages = st.sampled_from([0, 0, 2, 8, 16])
tiles = st.sampled_from([(4, 8), (8, 16), (16, 16), (3, 32)])
seeds = st.integers(0, 2**16)


@st.composite
def attentions(draw: st.DrawFn) -> Attention:
    """Any combination of lengths, mask, pages, stored datatype and packing that can be asked for."""
    heads, head_dim = draw(groups), draw(st.sampled_from([2, 8]))
    batch = draw(st.integers(1, 3))
    ragged = draw(st.booleans())
    q_len = np.array([draw(st.integers(1, 20)) for _ in range(batch if ragged else 1)])
    same_q = draw(st.booleans())
    q_len = np.full_like(q_len, q_len[0]) if same_q else q_len
    kv_len = q_len + [draw(st.integers(0, 60)) for _ in q_len]
    mask = draw(masks(int(q_len[0]))) if (q_len == q_len[0]).all() else CausalMask()
    latent = draw(st.booleans()) and heads[1] == 1
    value_dim = draw(st.sampled_from([0, head_dim // 2])) if not latent else head_dim // 2
    return Attention(
        batch,
        *heads,
        head_dim,
        int(q_len.max()),
        int(kv_len.max()),
        value_dim=value_dim,
        latent=latent,
        mask=mask,
        kv_dtype=draw(st.sampled_from([None, "fp8", "int8", "int4"])),
        page_size=draw(pages),
        lengths=(q_len, kv_len) if ragged else None,
        padded=ragged and draw(st.booleans()),
        seed=draw(seeds),
    )


@given(attentions(), tiles, st.booleans(), st.sampled_from([1, 1, 2, 5]), st.booleans(), seeds)
def test_every_combination(
    attention: Attention, tile: tuple[int, int], packed: bool, splits: int, as_grid: bool, seed: int
) -> None:
    """The result is the definition's, every score is computed once, and useful work is what the masks keep."""
    case = attention_case(attention, seed)
    mapping = FlashMapping(*tile, stages=2, pack=attention.group if packed else 1, splits=splits, as_grid=as_grid)
    program = flash_attention("attention", attention, case.tensors, mapping, case.space)
    expected = case.expected
    if attention.padded:
        state = dict(case.memory)
        replay(program, state)
        real = ~np.isnan(expected)
        np.testing.assert_allclose(state["out"][real], expected[real], rtol=1e-10, atol=1e-10)
    else:
        assert_replayed(program, case.memory, {"out": expected})
        computed = 2 * program.macs // attention.flops_of(1)
        assert program.useful_flops <= attention.flops_of(computed)


@given(st.integers(1, 4), st.integers(1, 300), st.sampled_from([None, "fp8", "int8", "int4", "fp4"]), pages)
def test_bytes_of_decode_are_those_of_the_cache(batch: int, kv_len: int, kv_dtype: str | None, page_size: int) -> None:
    """Each K/V head's keys and values are loaded once, in whole pages; MACs are those of the loaded rows."""
    attention = Attention(batch, 8, 2, 16, 1, kv_len, kv_dtype=kv_dtype, page_size=page_size)
    case = attention_case(attention, 0)
    program = flash_attention("attention", attention, case.tensors, FlashMapping(1, 32, 2, pack=4), case.space)
    rows = batch * (-(-kv_len // page_size) * page_size if page_size else kv_len)
    operands = program.operands[:, [A, B]]
    loaded = {}
    for number, name in enumerate(program.tensor_names):
        elements = operands["n_batch"] * operands["n_rows"] * operands["n_cols"] * (operands["tensor"] == number)
        loaded[name] = int((elements.sum(axis=1) * program.executions()).sum())
    assert loaded["k"] == loaded["v"] == rows * 2 * 16
    assert case.tensors.cache.k.element_bits == datatype(kv_dtype or "fp16").bits
    if kv_dtype in ("int8", "int4", "fp4"):
        assert loaded["kv.k_scales"] == loaded["kv.v_scales"] == rows * 2
    if page_size:
        assert loaded["kv.page_table"] == batch * 2 * -(-kv_len // page_size)
    assert program.macs == 2 * rows * 8 * 16
    staging = (program.steps["op"] == Op.VECTOR) & (program.operands["tensor"][:, A] != NONE)
    ops = (program.steps["vector_ops"] * program.executions())[staging].sum()
    assert ops == (loaded["k"] + loaded["v"]) * (datatype(kv_dtype).dequantise_ops if kv_dtype else 0)


def test_a_window_that_sees_all_is_causal() -> None:
    """Dense shapes through a mask give the very program that they give without one."""
    plain = Attention(2, 4, 2, 16, 70, 100)
    mapping = FlashMapping(16, 16, 2)

    def program(mask: ScoreMask | None) -> bytes:
        attention = replace(plain, mask=mask)
        case = attention_case(attention, 0)
        return flash_attention("attention", attention, case.tensors, mapping, case.space).key()

    all_blocks = BlockSparseMask(10, tuple(np.arange(r + 1) for r in range(10)))
    assert program(None) == program(CausalMask()) == program(WindowMask(100)) == program(all_blocks)


def test_a_query_without_keys_is_refused() -> None:
    attention = Attention(1, 1, 1, 8, 8, 8)
    empty = BlockSparseMask(4, (np.array([0]), np.array([], np.int64)))
    case = attention_case(attention, 0)
    with pytest.raises(ValueError, match="the mask leaves some query without a key"):
        flash_attention("attention", replace(attention, mask=empty), case.tensors, FlashMapping(8, 8, 2), case.space)
