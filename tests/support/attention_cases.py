"""Attentions with values in memory and the result that they must have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from kernels.attention.attention import Attention
from kernels.attention.tensors import AttentionTensors, allocate_attention
from kernels.masks.block_sparse import RandomBlocksMask
from kernels.masks.draft_tree import TreeMask
from kernels.masks.kept_keys import KeptKeys
from kernels.masks.score_masks import (
    CausalMask,
    FullMask,
    PagesMask,
    ScoreMask,
    SinkMask,
    VerticalSlashMask,
    WindowMask,
)
from kernels.program.address_space import AddressSpace, Tensor
from tests.oracles.naive_masked_attention import Kept, Matrix, naive_masked_attention
from tests.support.replayed import matrix


class AttentionCase(NamedTuple):
    """Tensors of an attention, the values of its inputs, and its result (NaN: padding)."""

    space: AddressSpace
    tensors: AttentionTensors
    memory: dict[str, Matrix]
    expected: Matrix


def all_elements(kept: KeptKeys) -> Kept:
    """A mask score by score."""
    return kept.elements(0, kept.q_len, np.arange(kept.kv_len))


def attention_case(attention: Attention, seed: int) -> AttentionCase:
    """Random operands, and the attention of every sequence by itself on the keys that the layout gives it."""
    space = AddressSpace()
    tensors = allocate_attention(attention, space)
    cache = tensors.cache
    storage = cache.storage
    given = (tensors.q, cache.k, cache.v, storage.k_scales, storage.v_scales, storage.page_table)
    memory: dict[str, Matrix] = {}
    for number, tensor in enumerate(given):
        if tensor is not None and tensor.name not in memory:
            memory[tensor.name] = matrix(seed + number, tensor.batch * tensor.rows, tensor.cols)
    k = _scaled(memory, cache.k, storage.k_scales, attention.head_dim)
    v = k if attention.latent else _scaled(memory, cache.v, storage.v_scales, attention.value_width)
    q = memory["q"].reshape(-1, attention.q_heads, attention.head_dim)
    expected = np.full((len(q), attention.q_heads, attention.value_width), np.nan)
    mask = attention.real_mask
    real, laid_out = attention.real_sequences, cache.sequences
    for s in range(real.count):
        q_len, kv_len, q_row = int(real.q_len[s]), int(real.kv_len[s]), int(laid_out.first_q[s])
        rows = laid_out.base_row(s) + laid_out.rows(s, np.arange(kv_len))
        kept = [all_elements(mask.kept(q_len, kv_len, (s, head))) for head in range(attention.kv_heads)]
        one = naive_masked_attention(attention, q[q_row : q_row + q_len], k[rows], v[rows], kept)
        expected[q_row : q_row + q_len] = one
    return AttentionCase(space, tensors, memory, expected.reshape(len(q), -1))


def _scaled(memory: dict[str, Matrix], tensor: Tensor, scales: Tensor | None, width: int) -> Matrix:
    values = memory[tensor.name].reshape(tensor.batch * tensor.rows, -1, width)
    return values if scales is None else values * memory[scales.name][:, :, None]


def trees(nodes: int) -> st.SearchStrategy[TreeMask]:
    """Trees of a given number of nodes."""
    parents = [st.just(-1), *(st.integers(0, node - 1) for node in range(1, nodes))]
    return st.tuples(*parents).map(TreeMask)


def masks(q_len: int) -> st.SearchStrategy[ScoreMask]:
    """Masks of every kind that suit ``q_len`` new tokens."""
    size = st.integers(1, 40)
    return st.one_of(
        st.just(CausalMask()),
        st.just(FullMask()),
        st.builds(WindowMask, size),
        st.builds(SinkMask, size, size),
        st.builds(RandomBlocksMask, st.sampled_from([1, 3, 8, 16]), st.floats(0, 1)),
        st.builds(VerticalSlashMask, size, size),
        st.builds(PagesMask, st.sampled_from([2, 4, 16]), st.integers(1, 64)),
        trees(q_len),
    )
