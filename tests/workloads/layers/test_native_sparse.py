"""Native sparse attention: every program replayed against its definition, and its work by closed forms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.attention.attention import Attention
from kernels.attention.native_sparse_steps import CompressedCache, compressed_cache
from kernels.attention.tensors import AttentionTensors, allocate_attention
from kernels.mapping.mapper import Mapper
from kernels.masks.native_sparse import INITIAL_BLOCKS, LOCAL_BLOCKS, NativeSparse, SelectedMask
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from kernels.replay.interpreter import replay
from tests.oracles.native_sparse import Chosen, Matrix, native_sparse_attention
from tests.support.attention_cases import all_elements
from tests.support.replayed import matrix
from tests.support.small_programs import small_chip
from uarch.program.records import A, B
from workloads.layers.native_sparse import BranchBuffers, NativeSparseAttention

patterns = st.builds(
    NativeSparse,
    block=st.sampled_from([4, 8]),
    stride=st.sampled_from([2, 4]),
    selection=st.sampled_from([8, 16]),
    selected=st.integers(3, 6),
    window=st.integers(1, 20),
)
groups = st.sampled_from([(1, 1), (4, 2), (3, 1)])


class Case(NamedTuple):
    """Tensors and programs of a native sparse attention."""

    operands: AttentionTensors
    cache: CompressedCache
    buffers: BranchBuffers
    programs: list[TileProgram]


def case_of(sparse: NativeSparseAttention) -> Case:
    space, chip = AddressSpace(), small_chip()
    operands = allocate_attention(sparse.attention, space)
    cache = compressed_cache(sparse.attention, sparse.pattern, space)
    buffers = sparse.allocate(space)
    steps = sparse.steps(chip, Mapper(chip, on_engine=False), operands, cache, buffers, space)
    return Case(operands, cache, buffers, [build()[0] for _, build in steps])


def inputs(case: Case, seed: int) -> dict[str, Matrix]:
    """All operands but the compressed keys and values."""
    operands, cache = case.operands, case.cache
    given = (operands.q, operands.cache.k, operands.cache.v, cache.w_keys, cache.w_values, case.buffers.gates)
    return {
        tensor.name: matrix(seed + number, tensor.batch * tensor.rows, tensor.cols)
        for number, tensor in enumerate(given)
    }


def drawn_blocks(sparse: NativeSparseAttention) -> list[Chosen]:
    """What the selected branch reads."""
    shape, pattern = sparse.attention, sparse.pattern
    blocks: list[Chosen] = []
    for s in range(shape.batch):
        of_sequence: Chosen = {}
        for head in range(shape.kv_heads):
            kept = all_elements(SelectedMask(pattern).kept(shape.q_len, shape.kv_len, (s, head)))
            for i, row in enumerate(kept):
                of_sequence[i, head] = set((np.flatnonzero(row) // pattern.selection).tolist())
        blocks.append(of_sequence)
    return blocks


@given(patterns, groups, st.integers(1, 2), st.integers(1, 30), st.integers(0, 60), st.integers(0, 2**16))
def test_all_programs_together(
    pattern: NativeSparse, heads: tuple[int, int], batch: int, q_len: int, past: int, seed: int
) -> None:
    """Compression, three branches, selection and sum: as the definition says, each element written once."""
    sparse = NativeSparseAttention(Attention(batch, *heads, 8, q_len, q_len + past), pattern)
    case = case_of(sparse)
    memory = inputs(case, seed)
    _compress_the_past(sparse, case.cache, memory)
    for program in case.programs:
        counts = replay(program, memory)
        assert all(count.max() == 1 for count in counts.values())
    expected, scores = native_sparse_attention(sparse.attention, pattern, memory, drawn_blocks(sparse))
    np.testing.assert_allclose(memory["out"], expected, rtol=1e-10, atol=1e-10)
    if "block_scores" in memory:
        _check_choice(sparse, memory, scores)


def _compress_the_past(sparse: NativeSparseAttention, cache: CompressedCache, memory: dict[str, Matrix]) -> None:
    """Fill the compressed cache with what earlier tokens have left."""
    shape, pattern = sparse.attention, sparse.pattern
    old = pattern.summaries(shape.kv_len - shape.q_len)
    for tokens, weights, summary in (("k", cache.w_keys, cache.keys), ("v", cache.w_values, cache.values)):
        rows = memory[tokens].reshape(shape.batch, shape.kv_len, shape.kv_heads, shape.head_dim)
        filled = np.full((shape.batch, summary.rows, shape.kv_heads, shape.head_dim), np.nan)
        for i in range(old):
            block = rows[:, i * pattern.stride : i * pattern.stride + pattern.block].swapaxes(1, 2)
            flat = block.reshape(shape.batch, shape.kv_heads, -1)
            filled[:, pattern.lead + i] = flat @ memory[weights.name]
        memory[summary.name] = filled.reshape(shape.batch * summary.rows, -1)


def _check_choice(sparse: NativeSparseAttention, memory: dict[str, Matrix], expected: Matrix) -> None:
    """Blocks before the local ones have their scores, and the best of them are chosen."""
    shape, pattern = sparse.attention, sparse.pattern
    for row, scores in enumerate(expected):
        position = row % shape.q_len + shape.kv_len - shape.q_len
        first, end = INITIAL_BLOCKS, position // pattern.selection - LOCAL_BLOCKS + 1
        if position + 1 < pattern.block:
            continue
        np.testing.assert_allclose(memory["block_scores"][row, :end], scores[:end], rtol=1e-10, atol=1e-12)
        count = min(pattern.chosen, end - first)
        if count > 0:
            chosen = memory["block_choice"][row, count : 2 * count].astype(np.int64) + first
            best = np.sort(scores[first:end])[::-1][:count]
            np.testing.assert_allclose(np.sort(scores[chosen])[::-1], best, rtol=1e-10, atol=1e-12)


@given(patterns, st.integers(1, 40), st.integers(0, 100))
def test_selected_blocks(pattern: NativeSparse, q_len: int, past: int) -> None:
    """The first, the query's own and the one before it, and as many others as there are, up to the number."""
    for i, blocks in drawn_blocks(NativeSparseAttention(Attention(1, 1, 1, 8, q_len, q_len + past), pattern))[
        0
    ].items():
        own = (i[0] + past) // pattern.selection
        assert {0, own, max(0, own - 1)} <= blocks
        assert len(blocks) == min(pattern.selected, own + 1)


@pytest.mark.parametrize(("kv_len", "completes"), [(4096, 1), (4097, 0)])
def test_work_of_a_decode_step_by_closed_forms(kv_len: int, completes: int) -> None:
    """The paper's sizes at 4096 keys: 255 compressed keys, 16 blocks of 64, a window of 512; MACs and loaded rows."""
    batch, q_heads, kv_heads, dim = 2, 8, 2, 64
    sparse = NativeSparseAttention(Attention(batch, q_heads, kv_heads, dim, 1, kv_len), NativeSparse())
    by_name = {program.name: program for program in case_of(sparse).programs}
    blocks, last = -(-kv_len // 64), kv_len - (-(-kv_len // 64) - 1) * 64
    scores = {"compressed": 255, "selected": 15 * 64 + last, "window": 512}
    for branch, keys in scores.items():
        program = by_name[f"attention_{branch}"]
        assert program.useful_flops == 4 * batch * q_heads * dim * keys
        assert program.macs >= program.useful_flops / 2
    for branch in ("compressed", "selected"):
        assert _loaded(by_name[f"attention_{branch}"], 2) == 2 * batch * kv_heads * dim * scores[branch]
        assert by_name[f"attention_{branch}"].macs == 2 * batch * q_heads * dim * scores[branch]
    rows = 4 * blocks + 1
    assert by_name["block_scores"].macs == batch * q_heads * dim * (rows + (-(-blocks // 32) - 1))
    assert ("compression" in by_name) == bool(completes)
    if completes:
        assert by_name["compression"].macs == 2 * batch * kv_heads * 32 * dim * dim
        assert by_name["compression"].useful_flops == 2 * by_name["compression"].macs


def _loaded(program: TileProgram, tensors: int) -> int:
    """Elements of keys and values that a program loads."""
    operands = program.operands[:, [A, B]]
    names = [name for name in program.tensor_names if name in ("k", "v", "k_summaries", "v_summaries")]
    assert len(names) == tensors
    numbers = [program.tensor_names.index(name) for name in names]
    elements = operands["n_batch"] * operands["n_rows"] * operands["n_cols"] * np.isin(operands["tensor"], numbers)
    return int((elements.sum(axis=1) * program.executions()).sum())
