"""Streamed attention as a vendor's library launches it: grid order, empty blocks, and the vector work of a key tile.

Exercised with it: visited_tiles.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.attention.attention import Attention
from kernels.attention.steps import OPS_PER_RESCALED, OPS_PER_SCORE
from kernels.mapping.attention_ranking import rank_attention
from kernels.mapping.tile_menu import library_menu
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from uarch.chip_file import load_chip
from uarch.program.records import NONE, Function
from workloads.single.attention import streamed
from workloads.single.batch_attention import simulate_batch_attention
from workloads.single.gemm import mapper_for

HEADS, HEAD_DIM = (4, 2), 64
lengths = st.lists(st.tuples(st.integers(1, 200), st.integers(0, 300)), min_size=2, max_size=4)


def library_program(q_len: list[int], kv_len: list[int]) -> TileProgram:
    lengths = np.array(q_len), np.array(kv_len)
    attention = Attention(len(q_len), *HEADS, HEAD_DIM, max(q_len), max(kv_len), lengths=lengths)
    chip = load_chip("rtx-4090")
    ((program, _),), _ = streamed(chip, attention, mapper_for(chip, "fp16", "tile"), AddressSpace())
    return program


@given(lengths)
def test_the_grid_has_a_block_for_each_query_tile_of_the_longest_sequence(sizes: list[tuple[int, int]]) -> None:
    """Head by head, sequence by sequence, query tiles upwards; those that a sequence does not have are empty."""
    q_len, kv_len = [q + 1 for q, _ in sizes], [q + 1 + past for q, past in sizes]
    program = library_program(q_len, kv_len)
    rows = library_menu().attention.rows
    grid = [
        (head, first + tile * rows if tile * rows < q else NONE)
        for head in range(HEADS[0])
        for first, q in zip(np.cumsum([0, *q_len]), q_len, strict=False)
        for tile in range(-(-max(q_len) // rows))
    ]
    assert len(program.blocks) == len(grid)
    for block, (head, q_row) in zip(program.blocks, grid, strict=True):
        assert (block["n_steps"] > 0) == (q_row != NONE)
        if q_row != NONE:
            queries = program.operands[block["first_step"], 0]
            assert (queries["row"], queries["col"]) == (q_row, head * HEAD_DIM)


@given(st.integers(1, 600))
def test_vector_work_of_a_key_tile_is_that_of_a_whole_one(kv_len: int) -> None:
    """A library's threads work on whole tiles: scores, the accumulator's rescaling once, copies of keys and values."""
    program = library_program([1, 5], [kv_len, kv_len + 4])
    menu = library_menu().attention
    tile_k = next(keys for width, keys in menu.keys if width >= HEAD_DIM)
    scores = menu.rows * tile_k * OPS_PER_SCORE + menu.rows * HEAD_DIM * OPS_PER_RESCALED
    copies = tile_k * 2 * HEAD_DIM * 2 // 16 * menu.copy_instructions
    softmax = program.steps[(program.steps["function"] == Function.ONLINE_SOFTMAX) & (program.executions() > 0)]
    assert len(softmax)
    assert (abs(softmax["vector_ops"] - scores - copies) <= 1).all()


def test_queries_of_several_decodes_are_regrouped() -> None:
    """Two copies more, but not where a single sequence's queries lie right as they are."""
    programs = [
        simulate_batch_attention(
            "rtx-4090", (0, 0, 0), (batch, 64), q_heads=8, kv_heads=2, head_dim=64, regroups_queries=True
        ).programs
        for batch in (1, 3)
    ]
    names = [[program.name for program in run] for run in programs]
    assert names[1] == ["kv_cache_write", "query_regroup", *names[0][1:], "output_regroup"]


def test_empty_blocks_take_their_launch() -> None:
    """One long prefill among many decodes: most of the grid is empty."""
    shape = {"q_heads": 8, "kv_heads": 8, "head_dim": 64, "writes_kv_cache": False}
    chip = load_chip("rtx-4090", ["power.cap=false"])
    mixed = simulate_batch_attention(chip, (1, 512, 512), (64, 64), **shape)
    apart = sum(
        simulate_batch_attention(chip, *kinds, **shape).seconds
        for kinds in (((1, 512, 512), (0, 0)), ((0, 0, 0), (64, 64)))
    )
    empty = 64 * 8 * (512 // 64 - 1) / chip.core.count * chip.core.block_launch_seconds
    assert mixed.seconds > 0.5 * empty
    assert mixed.seconds < apart + empty + 1e-6


@pytest.mark.parametrize(("heads", "pack"), [(16, 16), (128, 64)])
def test_heads_of_a_group_are_packed_as_far_as_registers_reach(heads: int, pack: int) -> None:
    """Absorbed latents of DeepSeek: 128 rows of 512 + 32 sums of 4 B are 272 KiB, more than the 256 KiB of a core."""
    attention = Attention(16, heads, 1, 576, 1, 1000, value_dim=512, latent=True)
    assert {estimate.mapping.pack for estimate in rank_attention(load_chip("h100"), attention)} == {pack}
