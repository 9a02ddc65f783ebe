"""Bank conflicts of an L1 scratchpad: cycles that its banks need for the vectors which an array reads at its edges.

The scratchpad is interleaved: consecutive words lie in consecutive banks, and a bank serves ``ports`` words per cycle.
Elements of a vector in the same word are one access. Which addresses a vector touches depends on the layout of the
tile; a vector *along* the contiguous dimension is free of conflicts, one *across* it meets every bank only if the pitch
is right (padding by a word) or the bank index is scrambled by the row (XOR swizzle).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from uarch.errors import must_be
from uarch.jit import inline, kernel
from uarch.systolic.cycles import Dataflow, ceil_div


class Layout(IntEnum):
    """Place of element (row, col) of a tile, which is row-major, one row after the other."""

    PLAIN = 0
    """Rows without gaps."""
    PADDED = 1
    """Rows one word apart from each other."""
    SWIZZLED = 2
    """Rows start on the first bank, and the bank index is XORed with the row's number."""


PADDED = int(Layout.PADDED)
SWIZZLED = int(Layout.SWIZZLED)
NOWHERE = -1
LARGEST_PAD = 1 << 16
"""Most banks, and most bytes of one."""


class Scratchpad(NamedTuple):
    """Banks of an L1; plain integers, so that jitted code takes it as an argument."""

    banks: int
    bank_bytes: int
    """Bytes of a word, which a port delivers per cycle."""
    ports: int = 1


class Vectors(NamedTuple):
    """Reads of one operand: vectors of at most ``length`` elements that cover a ``rows x cols`` tile once."""

    rows: int
    cols: int
    along_rows: bool
    """Whether a vector is a piece of a row, whose elements lie together, or of a column."""
    length: int


def check_scratchpad(pad: Scratchpad, layout: Layout, element_bytes: int) -> None:
    """Raise ``InputError`` if the banks cannot work like that."""
    for name, value in zip(pad._fields, pad, strict=True):
        if not 1 <= value <= LARGEST_PAD:
            raise must_be(name, value, f"at least 1 and at most {LARGEST_PAD}")
    if pad.bank_bytes % element_bytes:
        raise must_be("bank_bytes", pad.bank_bytes, f"a multiple of the element's {element_bytes} bytes")
    if layout == Layout.SWIZZLED and pad.banks & (pad.banks - 1):
        raise must_be("banks", pad.banks, "a power of two with a swizzled layout")


def operand_vectors(dataflow: Dataflow, rows: int, cols: int, m: int, n: int, k: int) -> tuple[Vectors, Vectors]:
    """Vectors of A (m, k) and B (k, n), both row-major, that enter an edge of the array in one cycle, but for skew."""
    if dataflow == Dataflow.OS:
        return Vectors(m, k, False, rows), Vectors(k, n, True, cols)
    if dataflow == Dataflow.WS:
        return Vectors(m, k, True, rows), Vectors(k, n, True, cols)
    return Vectors(m, k, False, cols), Vectors(k, n, False, rows)


@inline
def bank_and_word(pad: Scratchpad, layout: int, cols: int, element_bytes: int, row: int, col: int) -> tuple[int, int]:
    """Bank of an element, and the word in that bank."""
    words_per_row = ceil_div(cols * element_bytes, pad.bank_bytes)
    if layout == SWIZZLED:
        lines = ceil_div(words_per_row, pad.banks)
        word = col * element_bytes // pad.bank_bytes
        return (word % pad.banks) ^ (row % pad.banks), row * lines + word // pad.banks
    if layout == PADDED:
        word = row * (words_per_row + 1) + col * element_bytes // pad.bank_bytes
    else:
        word = (row * cols + col) * element_bytes // pad.bank_bytes
    return word % pad.banks, word // pad.banks


@kernel
def read_cycles(pad: Scratchpad, layout: int, vectors: Vectors, element_bytes: int) -> tuple[int, int]:
    """Cycles in which the banks deliver all of a tile once, vector by vector, and the number of vectors.

    The difference is what bank conflicts cost. Elements of a vector that share a word are neighbours in it.
    """
    across = vectors.rows if vectors.along_rows else vectors.cols
    along = vectors.cols if vectors.along_rows else vectors.rows
    accesses = np.zeros(pad.banks, np.int64)
    cycles, count = 0, 0
    for start in range(0, along, vectors.length):
        for line in range(across):
            accesses[:] = 0
            last_bank, last_word = NOWHERE, NOWHERE
            for i in range(start, min(start + vectors.length, along)):
                row, col = (line, i) if vectors.along_rows else (i, line)
                bank, word = bank_and_word(pad, layout, vectors.cols, element_bytes, row, col)
                if bank != last_bank or word != last_word:
                    accesses[bank] += 1
                last_bank, last_word = bank, word
            cycles += ceil_div(accesses.max(), pad.ports)
            count += 1
    return cycles, count
