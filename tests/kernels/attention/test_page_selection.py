"""The selection pass against its definition, and attention on what it selects.

Exercised with it: key_ranges.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.attention.attention import Attention, FlashMapping
from kernels.attention.page_selection import page_bounds, select_pages
from kernels.attention.streamed import flash_attention
from kernels.attention.tensors import AttentionTensors, KvCache
from kernels.masks.kept_keys import KeptKeys
from kernels.masks.score_masks import pages_kept
from kernels.program.address_space import AddressSpace
from kernels.replay.interpreter import replay
from tests.oracles.naive_masked_attention import naive_masked_attention
from tests.support.replayed import matrix
from uarch.arrays import IntArray


class ChosenPages:
    """A mask made of what a selection pass has chosen; ``chosen[s][head]``: ascending pages."""

    drawn = True

    def __init__(self, page: int, chosen: IntArray) -> None:
        self.page, self.chosen = page, chosen

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        return pages_kept(q_len, kv_len, self.page, self.chosen[seed[0], seed[1]])


@given(
    st.integers(1, 2),
    st.sampled_from([(4, 2), (3, 1), (2, 2)]),
    st.sampled_from([2, 8]),
    st.integers(1, 600),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_selection_then_attention(
    batch: int, heads: tuple[int, int], page: int, kv_len: int, budget: int, seed: int
) -> None:
    """Quest from end to end: bounds, choice, attention on the chosen pages, all replayed."""
    shape = Attention(batch, *heads, 8, 1, kv_len, causal=False)
    space = AddressSpace()
    q, out = (space.allocate(name, 1, heads[0] * 8, 16, batch=batch) for name in ("q", "out"))
    k, v = (space.allocate(name, kv_len, heads[1] * 8, 16, batch=batch) for name in ("k", "v"))
    bounds = page_bounds(shape, page, space)
    n_pages = bounds.smallest.rows
    budget = min(budget, n_pages)
    x = matrix(seed, batch, 1, heads[0], 8)
    y, z = (matrix(seed + i, batch, kv_len, heads[1], 8) for i in (1, 2))
    padded = np.concatenate([y, np.repeat(y[:, -1:], n_pages * page - kv_len, axis=1)], axis=1)
    by_page = padded.reshape(batch, n_pages, page, heads[1] * 8)
    memory = {
        "q": x.reshape(batch, -1),
        "k": y.reshape(batch * kv_len, -1),
        "v": z.reshape(batch * kv_len, -1),
        "page_smallest": by_page.min(axis=2).reshape(batch * n_pages, -1),
        "page_largest": by_page.max(axis=2).reshape(batch * n_pages, -1),
    }
    for program in select_pages(shape, q, bounds, budget, space):
        counts = replay(program, memory)
        assert all((count == 1).all() for count in counts.values())

    largest = memory["page_largest"].reshape(batch, n_pages, heads[1], 8)
    smallest = memory["page_smallest"].reshape(batch, n_pages, heads[1], 8)
    grouped = x.reshape(batch, heads[1], shape.group, 8)
    highest = np.maximum(
        np.einsum("bhgd,bphd->bhgpd", grouped, largest), np.einsum("bhgd,bphd->bhgpd", grouped, smallest)
    )
    expected = highest.sum(axis=-1).max(axis=2).reshape(batch * heads[1], n_pages)
    np.testing.assert_allclose(memory["page_scores"], expected, rtol=1e-10, atol=1e-10)
    scores = np.einsum("bhgd,bkhd->bhgk", grouped, padded[:, :, :, :]).reshape(batch, heads[1], shape.group, -1)
    assert (
        scores.reshape(*scores.shape[:3], n_pages, page).max(axis=(2, 4)).reshape(expected.shape) <= expected + 1e-9
    ).all()

    chosen = np.sort(memory["page_choice"][:, budget:].astype(np.int64), axis=1).reshape(batch, heads[1], budget)
    best = np.sort(np.take_along_axis(expected, chosen.reshape(-1, budget), 1), axis=1)
    np.testing.assert_allclose(best, np.sort(expected, axis=1)[:, n_pages - budget :], rtol=1e-10)
    mask = ChosenPages(page, chosen)
    tensors = AttentionTensors(q, KvCache(k, v, shape.sequences), out)
    program = flash_attention("f", replace(shape, mask=mask), tensors, FlashMapping(1, 16, 2), space)
    replay(program, memory)
    for s in range(batch):
        kept = [mask.kept(1, kv_len, (s, h)).elements(0, 1, np.arange(kv_len)) for h in range(heads[1])]
        one = naive_masked_attention(shape, x[s], y[s], z[s], kept)
        np.testing.assert_allclose(memory["out"][s], one.ravel(), rtol=1e-10, atol=1e-10)


def test_metadata_is_read_once() -> None:
    """Two values of each channel for every page: 1/8 of the keys and values for pages of 16."""
    shape = Attention(2, 8, 2, 64, 1, 4096)
    space = AddressSpace()
    q = space.allocate("q", 1, 8 * 64, 16, batch=2)
    bounds = page_bounds(shape, 16, space)
    first, second = select_pages(shape, q, bounds, 64, space)
    boxes = first.operands
    metadata = [first.tensor_names.index(name) for name in ("page_smallest", "page_largest")]
    elements = (boxes["n_rows"] * boxes["n_cols"] * np.isin(boxes["tensor"], metadata)).sum()
    assert elements == 2 * 2 * 256 * 2 * 64
    assert first.macs == 2 * 8 * 256 * 2 * 64
    assert (second.macs, len(second.blocks)) == (0, 4)
