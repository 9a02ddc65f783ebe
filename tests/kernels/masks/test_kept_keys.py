"""Masks: what each kind keeps by its description, and blocks against the elements that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.masks.block_mask import block_mask
from kernels.masks.block_sparse import BlockSparseMask, RandomBlocksMask
from kernels.masks.draft_tree import TreeMask
from kernels.masks.kept_keys import from_blocks, from_elements
from kernels.masks.score_masks import (
    CausalMask,
    FullMask,
    PagesMask,
    ScoreMask,
    SinkMask,
    VerticalSlashMask,
    WindowMask,
)
from tests.oracles.naive_masked_attention import naive_kept
from tests.support.attention_cases import all_elements, masks
from uarch.program.records import NONE

lengths = st.tuples(st.integers(1, 40), st.integers(0, 90)).map(lambda sizes: (sizes[0], sum(sizes)))


@given(lengths, st.integers(1, 50), st.integers(1, 50))
def test_masks_keep_what_their_description_says(sizes: tuple[int, int], sinks: int, window: int) -> None:
    cases: list[tuple[ScoreMask, str, tuple[int, ...]]] = [
        (CausalMask(), "causal", ()),
        (FullMask(), "full", ()),
        (WindowMask(window), "window", (window,)),
        (SinkMask(sinks, window), "sink", (sinks, window)),
    ]
    for mask, name, numbers in cases:
        kept = mask.kept(*sizes)
        np.testing.assert_array_equal(all_elements(kept), naive_kept(name, *sizes, numbers), err_msg=name)


@given(
    lengths.flatmap(lambda sizes: st.tuples(st.just(sizes), masks(sizes[0]))), st.integers(1, 33), st.integers(1, 33)
)
def test_blocks_stand_for_their_elements(case: tuple[tuple[int, int], ScoreMask], tile_q: int, tile_k: int) -> None:
    """Kept scores of skipped, full, partial and gathered blocks together are all kept scores, each once."""
    (q_len, kv_len), mask = case
    kept = mask.kept(q_len, kv_len, (1, 2))
    elements = all_elements(kept)
    counts = np.zeros((-(-q_len // tile_q), -(-kv_len // tile_k)), np.int64)
    np.add.at(counts, (np.arange(q_len)[:, None] // tile_q, np.arange(kv_len)[None, :] // tile_k), elements)
    np.testing.assert_array_equal(kept.tile_counts(tile_q, tile_k), counts)
    assert kept.scores() == elements.sum()

    blocks = block_mask(kept, tile_q, tile_k)
    rebuilt = np.zeros((q_len, kv_len), np.int64)
    for t in range(len(counts)):
        rows = slice(t * tile_q, min((t + 1) * tile_q, q_len))
        for entry in range(blocks.starts[t], blocks.starts[t + 1]):
            first = blocks.key_tile[entry] * tile_k
            width = min(tile_k, kv_len - first)
            full = blocks.pattern[entry] == NONE
            rebuilt[rows, first : first + width] += 1 if full else blocks.patterns[blocks.pattern[entry]]
        for tile in range(blocks.gathered_starts[t], blocks.gathered_starts[t + 1]):
            full = blocks.gathered_pattern[tile] == NONE
            pattern = (
                np.ones((rows.stop - rows.start, tile_k)) if full else blocks.patterns[blocks.gathered_pattern[tile]]
            )
            for column, key in enumerate(blocks.gathered_keys[tile]):
                rebuilt[rows, key] += pattern[:, column].astype(np.int64)
    np.testing.assert_array_equal(rebuilt, elements)
    assert blocks.kept_scores == elements.sum() <= blocks.computed_scores
    assert (blocks.tiles > 0).all()


def test_a_tree_sees_ancestors_only() -> None:
    """0 - 1 - 3, 0 - 2 after two certain tokens."""
    kept = all_elements(TreeMask((-1, 0, 0, 1)).kept(4, 6))
    assert kept[:, :2].all()
    assert kept[:, 2:].astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]]
    with pytest.raises(ValueError, match="3 queries, but a tree of 4 nodes"):
        TreeMask((-1, 0, 0, 1)).kept(3, 6)


def test_pages_of_a_budget() -> None:
    kept = all_elements(PagesMask(16, 64).kept(1, 1000, (3, 4)))[0]
    assert kept.sum() == 3 * 16 + 1000 % 16
    assert kept[992:].all()
    assert all(len(set(page)) == 1 for page in np.split(kept[:992], 62))
    assert not np.array_equal(kept, all_elements(PagesMask(16, 64).kept(1, 1000, (3, 5)))[0])


def test_random_blocks_and_slashes_have_their_share() -> None:
    kept = RandomBlocksMask(8, 0.25).kept(512, 512, (0, 0))
    blocks = kept.tile_counts(8, 8) > 0
    assert np.diagonal(blocks).all()
    assert 0.2 < np.tril(blocks, -1).sum() / (64 * 63 / 2) < 0.3
    kept = VerticalSlashMask(10, 64).kept(1024, 1024, (0, 0))
    elements = all_elements(kept)
    assert elements[:, 0].all()
    assert np.diagonal(elements).all()
    assert np.count_nonzero(elements[-1, :64]) < 64


def test_patterns_without_a_row_are_refused() -> None:
    mask = BlockSparseMask(4, (np.array([0]), np.array([1])))
    assert all_elements(mask.kept(8, 8)).sum() == 2 * 10
    with pytest.raises(ValueError, match="2 rows of blocks of 4: fewer than 9 positions need"):
        mask.kept(1, 9)


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_any_mask_can_be_given_by_its_elements(q_len: int, kv_len: int, seed: int) -> None:
    elements = np.random.default_rng(seed).random((q_len, kv_len)) < 0.5
    kept = from_elements(elements)
    np.testing.assert_array_equal(all_elements(kept), elements)
    np.testing.assert_array_equal(kept.tile(0, q_len, kv_len // 2, kv_len - kv_len // 2), elements[:, kv_len // 2 :])
    np.testing.assert_array_equal(kept.key_union(0, q_len), elements.any(axis=0))
    blocks = from_blocks(kv_len, np.arange(q_len), np.full(q_len, kv_len), 1, map(np.flatnonzero, elements))
    assert blocks.scores() == elements.sum()
