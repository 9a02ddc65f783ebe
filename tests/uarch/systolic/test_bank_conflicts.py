"""Bank conflicts of the L1 against a count over a byte-by-byte map of the scratchpad."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from uarch.errors import InputError
from uarch.systolic.bank_conflicts import Layout, Scratchpad, Vectors, check_scratchpad, operand_vectors, read_cycles
from uarch.systolic.cycles import Dataflow


def _word_of(layout: Layout, pad: Scratchpad, cols: int, element_bytes: int, row: int, col: int) -> tuple[int, int]:
    """Bank and word from a plain byte address (and the XOR for the swizzle)."""
    row_bytes = cols * element_bytes
    if layout != Layout.PLAIN:
        unit = pad.bank_bytes if layout == Layout.PADDED else pad.bank_bytes * pad.banks
        row_bytes = -(-row_bytes // unit) * unit + (pad.bank_bytes if layout == Layout.PADDED else 0)
    word = (row * row_bytes + col * element_bytes) // pad.bank_bytes
    bank = word % pad.banks
    return (bank ^ (row % pad.banks) if layout == Layout.SWIZZLED else bank), word


def _slow_cycles(pad: Scratchpad, layout: Layout, vectors: Vectors, element_bytes: int) -> int:
    cycles = 0
    lines, along = (vectors.rows, vectors.cols) if vectors.along_rows else (vectors.cols, vectors.rows)
    for start in range(0, along, vectors.length):
        for line in range(lines):
            words = defaultdict(set)
            for i in range(start, min(along, start + vectors.length)):
                row, col = (line, i) if vectors.along_rows else (i, line)
                bank, word = _word_of(layout, pad, vectors.cols, element_bytes, row, col)
                words[bank].add(word)
            cycles += max(-(-len(in_bank) // pad.ports) for in_bank in words.values())
    return cycles


@settings(deadline=None)
@given(
    banks=st.sampled_from([1, 2, 8, 12, 32]),
    bank_bytes=st.sampled_from([4, 8]),
    ports=st.integers(1, 2),
    layout=st.sampled_from(list(Layout)),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    along_rows=st.booleans(),
    length=st.integers(1, 16),
    element_bytes=st.sampled_from([1, 2, 4]),
)
def test_read_cycles_equal_a_count_of_words_per_bank(
    banks: int,
    bank_bytes: int,
    ports: int,
    layout: Layout,
    size: tuple[int, int],
    along_rows: bool,
    length: int,
    element_bytes: int,
) -> None:
    assume(layout != Layout.SWIZZLED or banks != 12)
    pad, vectors = Scratchpad(banks, bank_bytes, ports), Vectors(*size, along_rows, length)
    assert read_cycles(pad, int(layout), vectors, element_bytes)[0] == _slow_cycles(pad, layout, vectors, element_bytes)


def test_column_reads_conflict_unless_padded_or_swizzled() -> None:
    """32 rows of 128 bytes on 32 banks of 4 bytes: a column lies in one bank; a pad or an XOR spreads it over all."""
    pad, column = Scratchpad(32, 4), Vectors(32, 32, False, 32)
    assert read_cycles(pad, int(Layout.PLAIN), column, 4) == (32 * 32, 32)
    assert read_cycles(pad, int(Layout.PADDED), column, 4) == (32, 32)
    assert read_cycles(pad, int(Layout.SWIZZLED), column, 4) == (32, 32)
    assert read_cycles(pad, int(Layout.PLAIN), Vectors(32, 32, True, 32), 4) == (32, 32)


@pytest.mark.parametrize(
    ("dataflow", "a", "b"),
    [
        (Dataflow.OS, Vectors(5, 7, False, 4), Vectors(7, 6, True, 3)),
        (Dataflow.WS, Vectors(5, 7, True, 4), Vectors(7, 6, True, 3)),
        (Dataflow.IS, Vectors(5, 7, False, 3), Vectors(7, 6, False, 4)),
    ],
)
def test_vectors_are_what_enters_an_edge(dataflow: Dataflow, a: Vectors, b: Vectors) -> None:
    """OS: column of A on rows, row of B on columns; WS: row of A, row of B; IS: column of B, column of A."""
    assert operand_vectors(dataflow, 4, 3, 5, 6, 7) == (a, b)


@pytest.mark.parametrize(
    ("pad", "layout", "message"),
    [
        (Scratchpad(0, 4), Layout.PLAIN, "banks = 0: must be at least 1"),
        (Scratchpad(12, 4), Layout.SWIZZLED, "power of two"),
        (Scratchpad(32, 3), Layout.PLAIN, "multiple of the element's 2 bytes"),
    ],
)
def test_impossible_scratchpads_are_refused(pad: Scratchpad, layout: Layout, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_scratchpad(pad, layout, 2)
