"""What native sparse attention does besides its three attentions: compression, selection, and the gated sum.

Compression is one product with weights of ``block * head_dim`` rows for keys and one for values: the paper's network, whose
size it does not say, taken as a single layer. Selection computes the weights of the compressed keys a second time, adds up
those that overlap with each block over a group of heads, and takes the largest (arXiv 2502.11089, equations 8 to 12).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kernels.attention.attention import Attention
from kernels.attention.page_selection import SELECT_OPS
from kernels.masks.block_mask import Patterns
from kernels.masks.native_sparse import INITIAL_BLOCKS, LOCAL_BLOCKS, CompressedMask, NativeSparse
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import Box, ElementMasks, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import RowFootprint, cut_rows, row_register_bytes, rows_per_block
from uarch.arrays import IntArray
from uarch.chip.schema import Chip
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.program.records import NONE, Function

COMPRESSED_ROWS = 64
COMPRESSED_COLS = 64
"""Compressed keys of a block's product, and of their elements."""
STAGES = 4
"""Tokens of the compressed blocks that are loaded ahead."""
SCORED_BLOCKS = 32
"""Blocks of keys that are scored together."""
SCORED_ROWS = 64
"""Rows (queries times heads of a group) of such a product."""
CHOICE_L1_BYTES = 1 << 15
"""Scores that a block chooses from, all its queries together."""
PROBABILITY_OPS = 2
"""Scale, subtract the maximum; and divide, by a row's reciprocal."""

_Q, _STATS, _SCORES, _WEIGHTS, _SUMS = (Slot(i) for i in range(5))


@dataclass(frozen=True, eq=False)
class CompressedCache:
    """``keys`` and ``values``: an entry for each sequence, ``compressed_rows`` rows of ``kv_heads * head_dim``, compressed key
    i in row ``lead + i``; weights ``block * head_dim x head_dim``."""

    keys: Tensor
    values: Tensor
    w_keys: Tensor
    w_values: Tensor


def compressed_cache(
    attention: Attention, pattern: NativeSparse, space: AddressSpace, suffix: str = ""
) -> CompressedCache:
    """Allocate the compressed cache of a layer and the weights that fill it; names end in ``suffix``."""
    bits = attention.element_bits
    rows, width = pattern.compressed_rows(attention.kv_len), attention.kv_heads * attention.head_dim
    keys, values = (
        space.allocate(f"{name}{suffix}", rows, width, bits, batch=attention.batch)
        for name in ("k_summaries", "v_summaries")
    )
    weights = (
        space.allocate(f"{name}{suffix}", pattern.block * attention.head_dim, attention.head_dim, bits)
        for name in ("w_k_summaries", "w_v_summaries")
    )
    return CompressedCache(keys, values, *weights)


def compress(
    attention: Attention, pattern: NativeSparse, k: Tensor, v: Tensor, cache: CompressedCache
) -> TileProgram | None:
    """Compressed keys and values of the blocks that the ``q_len`` new tokens complete; None if they complete none."""
    old, new = (pattern.summaries(kv_len) for kv_len in (attention.kv_len - attention.q_len, attention.kv_len))
    if old == new:
        return None
    head_dim, heads = attention.head_dim, attention.kv_heads
    first, first_col = np.arange(old, new, COMPRESSED_ROWS), np.arange(0, head_dim, COMPRESSED_COLS)
    sizes = attention.batch, heads, len(first), len(first_col)
    sequence, head, tile, part = (index.ravel() for index in np.indices(sizes, dtype=np.int64))
    m, n = np.minimum(COMPRESSED_ROWS, new - first)[tile], np.minimum(COMPRESSED_COLS, head_dim - first_col)[part]
    writer = ProgramWriter(
        "compression", "attention", f"{attention.batch} x {new - old} x {heads} x {head_dim}", attention.dtype
    )
    table = writer.table(np.arange(old, new) * pattern.stride) + tile * COMPRESSED_ROWS
    for tokens, weights, out in ((k, cache.w_keys, cache.keys), (v, cache.w_values, cache.values)):
        grid = writer.grid(len(tile), 2)
        first_row, column = sequence * tokens.rows, head * head_dim
        rows = Box(tokens.as_rows(), 1, head_dim, row=first_row, col=column, n_batch=m, step_row=1, table=table)
        of_token = Box(weights, head_dim, n, col=first_col[part], step_row=head_dim)
        grid.matmul(0, rows, of_token, _SUMS, m=m, n=n, k=head_dim)
        grid.loop(0, 1, pattern.block)
        store = Box(out, m, n, row=pattern.lead + first[tile], col=column + first_col[part], batch=sequence)
        grid.vector(1, Function.IDENTITY, _SUMS, _SUMS, m=m, n=n, store=store)
        most_rows, most_cols = int(m.max()), int(n.max())
        grid.resources(
            stages=STAGES,
            l1_bytes=STAGES * (most_rows + most_cols) * head_dim * k.element_bits // 8,
            register_bytes=most_rows * most_cols * ACCUMULATOR_BYTES,
        )
    return writer.finish(4 * attention.batch * (new - old) * heads * pattern.block * head_dim**2)


def select_blocks(
    attention: Attention,
    pattern: NativeSparse,
    q: Tensor,
    stats: Tensor,
    cache: CompressedCache,
    space: AddressSpace,
) -> tuple[TileProgram, ...]:
    """The kernel that scores all blocks for every query and group of heads, and the one that finds the best.

    ``stats``: (maximum, sum) of every query and head over the compressed keys, as their attention has left them. The best
    blocks (``block_choice``) are weights, then numbers, counted from the first one after ``INITIAL_BLOCKS``. No programs
    if there is nothing to choose.
    """
    first = pattern.first_query(attention.q_len, attention.kv_len)
    if (
        pattern.chosen == 0
        or first == attention.q_len
        or pattern.blocks(attention.kv_len) <= INITIAL_BLOCKS + LOCAL_BLOCKS
    ):
        return ()
    rows = attention.batch * attention.kv_heads * attention.q_len
    scores = space.scratch("block_scores", rows, pattern.blocks(attention.kv_len), 8 * ACCUMULATOR_BYTES)
    choice = space.scratch("block_choice", rows, 2 * pattern.chosen, 8 * ACCUMULATOR_BYTES, after=scores)
    return (
        _block_scores(attention, pattern, q, stats, cache.keys, scores),
        _block_choice(attention, pattern, scores, choice),
    )


def _block_scores(
    attention: Attention,
    pattern: NativeSparse,
    q: Tensor,
    stats: Tensor,
    summaries: Tensor,
    scores: Tensor,
) -> TileProgram:
    """Blocks of queries times blocks of keys that some of them sees."""
    writer = ProgramWriter("block_scores", "attention", f"{scores.rows} x {scores.cols} blocks", attention.dtype)
    group, head_dim, strides = attention.group, attention.head_dim, pattern.selection // pattern.stride
    q0, n_q, block, n_blocks = _score_tiles(attention, pattern)
    masks = _score_masks(writer, attention, pattern, q0, n_q, block, n_blocks)
    sequence, head, tile = (
        index.ravel() for index in np.indices((attention.batch, attention.kv_heads, len(q0)), dtype=np.int64)
    )
    q0, n_q, block, n_blocks = (array[tile] for array in (q0, n_q, block, n_blocks))
    rows, keys, row = n_q * group, n_blocks * strides + pattern.lead, sequence * attention.q_len + q0
    grid = writer.grid(len(tile), 5)
    for j, tensor, slot, width in ((0, q, _Q, head_dim), (1, stats, _STATS, 2)):
        box = Box(tensor.as_rows(), n_q, group * width, row=row, col=head * group * width)
        grid.vector(j, Function.IDENTITY, box, slot, m=rows, n=width, ops_per_element=0)
    box = Box(summaries, keys, head_dim, row=block * strides, col=head * head_dim, batch=sequence)
    grid.matmul(2, _Q, box, _SCORES, m=rows, n=keys, k=head_dim, accumulate=False, transpose_b=True)
    grid.vector(
        3,
        Function.PROBABILITIES,
        _SCORES,
        _WEIGHTS,
        b=_STATS,
        m=rows,
        n=keys,
        parameter=attention.softmax_scale,
        ops_per_element=PROBABILITY_OPS,
        special_per_element=1,
        special_per_row=1,
        mask=ElementMasks(masks[tile], row_repeat=group),
    )
    out_row = (sequence * attention.kv_heads + head) * attention.q_len + q0
    store = Box(scores, n_q, n_blocks, row=out_row, col=block)
    ops = group * strides * (pattern.block // pattern.stride)
    grid.vector(
        4,
        Function.OVERLAP_SUMS,
        _WEIGHTS,
        _SUMS,
        m=n_q,
        n=n_blocks,
        store=store,
        parameter=strides,
        ops_per_element=ops,
    )
    most_rows, most_keys = int(rows.max()), int(keys.max())
    row_bits = q.element_bits + 16 * ACCUMULATOR_BYTES // head_dim
    grid.resources(
        stages=1,
        l1_bytes=(most_keys * q.element_bits + most_rows * row_bits) * head_dim // 8,
        register_bytes=most_rows * (most_keys + head_dim) * ACCUMULATOR_BYTES,
    )
    return writer.finish(0)


def _score_tiles(attention: Attention, pattern: NativeSparse) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Tiles of one head: first query, queries, first block, blocks; none with blocks that no query of it reaches."""
    tile_q = max(1, SCORED_ROWS // attention.group)
    first = np.arange(pattern.first_query(attention.q_len, attention.kv_len), attention.q_len, tile_q)
    last = np.minimum(first + tile_q, attention.q_len) - 1
    reached = (last + attention.kv_len - attention.q_len) // pattern.selection + 1
    chunks = -(-reached // SCORED_BLOCKS)
    query = np.repeat(np.arange(len(first)), chunks)
    block = (np.arange(len(query)) - np.repeat(np.cumsum(chunks) - chunks, chunks)) * SCORED_BLOCKS
    return first[query], (last - first)[query] + 1, block, np.minimum(SCORED_BLOCKS, reached[query] - block)


def _score_masks(
    writer: ProgramWriter,
    attention: Attention,
    pattern: NativeSparse,
    q0: IntArray,
    n_q: IntArray,
    block: IntArray,
    n_blocks: IntArray,
) -> IntArray:
    """Where the mask of each tile stands in the tables."""
    strides = pattern.selection // pattern.stride
    kept = CompressedMask(pattern, attention.kv_len).kept(attention.q_len, pattern.summaries(attention.kv_len))
    patterns = Patterns()
    numbers = [
        patterns.number(kept.tile(i, n, b * strides - pattern.lead, count * strides + pattern.lead))
        for i, n, b, count in zip(q0.tolist(), n_q.tolist(), block.tolist(), n_blocks.tolist(), strict=True)
    ]
    entries = np.array([*map(writer.element_mask, patterns.masks), NONE])
    return writer.table(entries[numbers]) + np.arange(len(numbers))


def _block_choice(attention: Attention, pattern: NativeSparse, scores: Tensor, choice: Tensor) -> TileProgram:
    """Rows of queries with the same block of their own, among the blocks before their local ones."""
    writer = ProgramWriter(
        "block_choice", "attention", f"{scores.rows} x top {pattern.chosen} of {scores.cols}", attention.dtype
    )
    start = attention.kv_len - attention.q_len
    query = np.arange(pattern.first_query(attention.q_len, attention.kv_len), attention.q_len)
    own = (start + query) // pattern.selection
    rows_of_block = np.maximum(1, CHOICE_L1_BYTES // (np.maximum(own, 1) * ACCUMULATOR_BYTES))
    piece = (start + query) % pattern.selection // rows_of_block
    begins = np.flatnonzero(np.diff(own * pattern.selection + piece, prepend=-1))
    first, n_rows = query[begins], np.diff(np.append(begins, len(query)))
    between = own[begins] - LOCAL_BLOCKS + 1 - INITIAL_BLOCKS
    first, n_rows, between = (array[between > 0] for array in (first, n_rows, between))
    entry, tile = (
        index.ravel() for index in np.indices((attention.batch * attention.kv_heads, len(first)), dtype=np.int64)
    )
    row, m, n = entry * attention.q_len + first[tile], n_rows[tile], between[tile]
    grid = writer.grid(len(tile), 1)
    grid.vector(
        0,
        Function.TOP_K,
        Box(scores, m, n, row=row, col=INITIAL_BLOCKS),
        Slot(0),
        m=m,
        n=n,
        store=Box(choice, m, 2 * np.minimum(pattern.chosen, n), row=row),
        parameter=float(pattern.chosen),
        ops_per_element=SELECT_OPS,
    )
    grid.resources(
        stages=1,
        l1_bytes=m * n * ACCUMULATOR_BYTES,
        register_bytes=2 * int(m.max()) * pattern.chosen * ACCUMULATOR_BYTES,
    )
    return writer.finish(0)


def gated_sum(
    chip: Chip, branches: tuple[tuple[Tensor, int], ...], gates: Tensor, out: Tensor, attention: Attention
) -> TileProgram:
    """``out``: the branches' results, each times the sigmoid of its gate, added up.

    ``branches``: results, shaped like ``out``, and the first query of each sequence that they are there for. ``gates``: a row
    for each token, a column for each branch and head, branch by branch.

    Raises:
        InputError: a row does not fit into a core.
    """
    heads, width = attention.q_heads, attention.value_width
    writer = ProgramWriter(
        "gated_sum", "attention", f"{attention.batch * attention.q_len} x {heads} x {width}", attention.dtype
    )
    row = RowFootprint(-(-2 * (out.cols + heads) * out.element_bits // 8), 2 * row_register_bytes(out.cols))
    per_block = rows_per_block("gated_sum", chip, attention.batch * attention.q_len, row)
    bounds = sorted({0, attention.q_len, *(first for _, first in branches)})
    for begin, end in pairwise(bounds):
        there = [number for number, (_, first) in enumerate(branches) if first <= begin]
        chunks = cut_rows(attention.batch, end - begin, per_block)
        place, n_rows = chunks.batch * attention.q_len + begin + chunks.row, chunks.n_rows
        grid = writer.grid(len(n_rows), 2 * len(there))
        m, store = n_rows * heads, Box(out.as_rows(), n_rows, out.cols, row=place)
        for j, number in enumerate(there):
            result = Box(branches[number][0].as_rows(), n_rows, out.cols, row=place)
            gate = Box(gates.as_rows(), n_rows, heads, row=place, col=number * heads)
            grid.vector(2 * j, Function.GATE_ROWS, result, _WEIGHTS, b=gate, m=m, n=width, special_per_row=2)
            is_last = j == len(there) - 1
            grid.vector(
                2 * j + 1,
                Function.ADD,
                _WEIGHTS,
                _SUMS,
                b=_SUMS,
                m=m,
                n=width,
                store=store if is_last else None,
                ops_per_element=min(j, 1),
            )
        grid.resources(stages=2, l1_bytes=per_block * row.l1_bytes, register_bytes=per_block * row.register_bytes)
    return writer.finish(0)
