"""Rows of new tokens: every row is in one chunk, beside the position that its token has."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.program.address_space import AddressSpace
from kernels.vector.new_tokens import NewTokens

lengths = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), min_size=1, max_size=6)


def tokens_of(sizes: list[tuple[int, int]]) -> NewTokens:
    return NewTokens(np.array([new for new, _ in sizes]), np.array([new + past for new, past in sizes]))


def rows_and_positions(tokens: NewTokens, chunk: int) -> list[tuple[int, int]]:
    """Row of the whole tensor and position of every token of every chunk, in order."""
    chunks, position = tokens.cut(chunk)
    entry_rows = tokens.equal_q_len or 0
    found = []
    for entry, row, n_rows, first in zip(chunks.batch, chunks.row, chunks.n_rows, position, strict=True):
        assert 1 <= n_rows <= chunk
        found += [(int(entry * entry_rows + row + i), int(first + i)) for i in range(n_rows)]
    return found


@given(lengths, st.sampled_from([1, 2, 8, 64]))
def test_every_row_once_with_its_position(sizes: list[tuple[int, int]], chunk: int) -> None:
    tokens = tokens_of(sizes)
    positions = [past + i for new, past in sizes for i in range(new)]
    assert rows_and_positions(tokens, chunk) == list(enumerate(positions))
    assert tokens.positions.tolist() == positions
    assert tokens.total == len(positions)


@given(lengths, st.data())
def test_a_part_keeps_its_rows(sizes: list[tuple[int, int]], data: st.DataObject) -> None:
    tokens = tokens_of(sizes)
    first = data.draw(st.integers(0, len(sizes) - 1))
    end = data.draw(st.integers(first + 1, len(sizes)))
    part, every = tokens.part(first, end), rows_and_positions(tokens, 8)
    before = sum(new for new, _ in sizes[:first])
    assert rows_and_positions(part, 8) == every[before : before + part.total]
    assert part.last_rows.tolist() == tokens.last_rows[first:end].tolist()
    assert part.positions.tolist() == tokens.positions[before : before + part.total].tolist()


def test_equal_lengths_have_a_batch_entry_each() -> None:
    """Also if contexts differ; a part of a batch has not."""
    space = AddressSpace()
    rows, cache = space.allocate("rows", 12, 4, 16), space.allocate("cache", 9, 4, 16, batch=3)
    tokens = tokens_of([(4, 5), (4, 0), (4, 2)])
    assert (tokens.entries(rows).batch, tokens.entries(rows).rows) == (3, 4)
    assert tokens.caches(cache) is cache
    assert tokens.rows_in_caches(cache, 5).tolist() == [5, 6, 7, 8, 14, 15, 16, 17, 23, 24, 25, 26]
    assert tokens.part(0, 2).equal_q_len is None
    assert str(tokens) == "3 x 4"
    assert str(tokens_of([(4, 5), (3, 0)])) == "7"
