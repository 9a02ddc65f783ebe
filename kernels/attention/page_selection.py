"""Choosing the pages of a KV cache that attention reads: the selection pass of Quest (arXiv 2406.10774).

Of every page and K/V head the smallest and largest value of each channel are kept beside the cache. They bound the score
that any key of the page can have: a channel contributes at most its query times the largest value where the query is
positive, times the smallest where it is negative. So the bounds of all pages are two matrix products, with the positive
and the negative part of the queries. A second kernel takes the pages with the largest bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from kernels.attention.attention import Attention
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import Box, ProgramWriter, Slot, TileProgram
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.program.records import Function

PAGES_OF_BLOCK = 256
"""Pages whose bounds a block computes at most."""
SELECT_OPS = 8
"""Vector operations per page of a radix selection: four passes that count and compare."""

_Q, _POSITIVE, _NEGATIVE, _BOUNDS, _BEST = (Slot(i) for i in range(5))


@dataclass(frozen=True, eq=False)
class PageBounds:
    """Smallest and largest values: one batch entry for each sequence, a row for each page, ``kv_heads * head_dim`` columns."""

    smallest: Tensor
    largest: Tensor


def page_bounds(attention: Attention, page: int, space: AddressSpace, suffix: str = "") -> PageBounds:
    """Allocate the metadata of pages of ``page`` keys; names end in ``suffix``."""
    sizes = ceil(attention.kv_len / page), attention.kv_heads * attention.head_dim, attention.element_bits
    smallest, largest = (
        space.allocate(f"page_{what}{suffix}", *sizes, batch=attention.batch) for what in ("smallest", "largest")
    )
    return PageBounds(smallest, largest)


def select_pages(
    attention: Attention, q: Tensor, bounds: PageBounds, pages: int, space: AddressSpace
) -> tuple[TileProgram, TileProgram]:
    """The kernel that computes the bounds of all pages, and the one that finds the ``pages`` best of each K/V head.

    A page counts with its largest bound over all queries of a sequence and a group of heads. What the second kernel stores
    (``page_choice``) has a row for each sequence and K/V head: weights of the best pages, then their numbers.
    """
    entries, width = attention.batch * attention.kv_heads, bounds.smallest.rows
    scores = space.scratch("page_scores", entries, width, 8 * ACCUMULATOR_BYTES)
    pages = min(pages, width)
    choice = space.scratch("page_choice", entries, 2 * pages, 8 * ACCUMULATOR_BYTES, after=scores)
    return _bounds(attention, q, bounds, scores), _best(scores, choice, pages, attention.dtype)


def _bounds(attention: Attention, q: Tensor, bounds: PageBounds, scores: Tensor) -> TileProgram:
    writer = ProgramWriter("page_bounds", "attention", f"{scores.rows} x {scores.cols} pages", attention.dtype)
    chunks = -(-scores.cols // PAGES_OF_BLOCK)
    entry, chunk = np.divmod(np.arange(scores.rows * chunks), chunks)
    sequence, kv_head = np.divmod(entry, attention.kv_heads)
    first = chunk * PAGES_OF_BLOCK
    n_pages = np.minimum(PAGES_OF_BLOCK, scores.cols - first)
    head_dim, group = attention.head_dim, attention.group
    rows = attention.q_len * group
    grid = writer.grid(len(entry), 6)
    queries = Box(
        q.as_rows(),
        attention.q_len,
        group * head_dim,
        row=attention.sequences.first_q[sequence],
        col=kv_head * group * head_dim,
    )
    grid.vector(0, Function.IDENTITY, queries, _Q, m=rows, n=head_dim, ops_per_element=0)
    grid.vector(1, Function.POSITIVE, _Q, _POSITIVE, m=rows, n=head_dim)
    grid.vector(2, Function.NEGATIVE, _Q, _NEGATIVE, m=rows, n=head_dim)
    for j, part, tensor in ((3, _POSITIVE, bounds.largest), (4, _NEGATIVE, bounds.smallest)):
        box = Box(tensor, n_pages, head_dim, row=first, col=kv_head * head_dim, batch=sequence)
        grid.matmul(j, part, box, _BOUNDS, m=rows, n=n_pages, k=head_dim, transpose_b=True, accumulate=j == 4)
    store = Box(scores, 1, n_pages, row=entry, col=first)
    grid.vector(5, Function.COLUMN_MAXIMUM, _BOUNDS, _BEST, m=1, n=n_pages, store=store, ops_per_element=rows)
    element_bytes = q.element_bits // 8
    grid.resources(
        stages=2,
        l1_bytes=(2 * int(n_pages.max()) + rows) * head_dim * element_bytes,
        register_bytes=rows * (int(n_pages.max()) + 2 * head_dim) * ACCUMULATOR_BYTES,
    )
    return writer.finish(0)


def _best(scores: Tensor, choice: Tensor, pages: int, dtype: str) -> TileProgram:
    writer = ProgramWriter("page_choice", "attention", f"{scores.rows} x top {pages} of {scores.cols}", dtype)
    grid = writer.grid(scores.rows, 1)
    row = np.arange(scores.rows)
    grid.vector(
        0,
        Function.TOP_K,
        Box(scores, 1, scores.cols, row=row),
        Slot(0),
        m=1,
        n=scores.cols,
        store=Box(choice, 1, 2 * pages, row=row),
        parameter=float(pages),
        ops_per_element=SELECT_OPS,
    )
    grid.resources(stages=1, l1_bytes=scores.cols * ACCUMULATOR_BYTES, register_bytes=2 * pages * ACCUMULATOR_BYTES)
    return writer.finish(0)
