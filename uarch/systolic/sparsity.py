"""Sparse weights: what N:M structure saves in bytes and cycles.

N:M keeps at most N of every M consecutive weights along k (the last group may be shorter). The kept values are stored
with their index within the group, and the array works on kept weights only: a PE takes the group's M activations and
the index selects one, so ``k`` shrinks to :func:`kept_k` for rows (WS, IS) or time (OS). A regular array cannot skip
zeros at arbitrary places.
"""

from __future__ import annotations

from typing import NamedTuple

from uarch.errors import InputError
from uarch.jit import inline, kernel
from uarch.systolic.cycles import IS, OS, SystolicArray, Traffic, ceil_div, tile_traffic


class Structure(NamedTuple):
    """N:M structure of weights: ``kept`` of every ``group`` weights along k are not zero; 1:1 is dense."""

    kept: int
    group: int


DENSE = Structure(1, 1)


def parse_structure(text: str, where: str) -> Structure:
    """Parse ``N:M``; errors begin with ``where``, the name of the option or the place and name of a file's field.

    Raises:
        InputError: not two integers with 1 <= N <= M.
    """
    kept, _, group = (part.strip() for part in text.partition(":"))
    if not (kept.isdecimal() and group.isdecimal() and 1 <= int(kept) <= int(group)):
        raise InputError(f"{where} = {text!r}: must be N:M with 1 <= N <= M, such as 2:4")
    return Structure(int(kept), int(group))


@inline
def kept_k(k: int, kept: int, group: int) -> int:
    """Weights that are kept of ``k`` in one column of B."""
    return k // group * kept + min(kept, k % group)


def index_bits(group: int) -> int:
    """Bits that tell which of ``group`` weights a kept one is."""
    return (group - 1).bit_length()


def structured_bytes(k: int, n: int, structure: Structure, weight_bits: int) -> int:
    """Bytes of a ``k x n`` weight matrix as kept values and indices, each packed without gaps."""
    kept = kept_k(k, structure.kept, structure.group) * n
    return ceil_div(kept * weight_bits, 8) + ceil_div(kept * index_bits(structure.group), 8)


@inline
def _regrouped_k(array: SystolicArray, k: int, kept: int, group: int) -> int:
    """Activations per row of A that all k folds together read: a group on two folds is read for both."""
    activations = k
    if kept < group and array.dataflow != OS:
        fold_size = array.rows * array.k_per_step
        for boundary in range(fold_size, kept_k(k, kept, group), fold_size):
            if boundary % kept > 0:
                activations += min(group, k - boundary // kept * group)
    return activations


@kernel
def sparse_traffic(array: SystolicArray, m: int, n: int, k: int, kept: int, group: int) -> Traffic:
    """L1 traffic of a tile with N:M weights, in elements; ``b_reads`` counts kept values, each with one index."""
    compressed = tile_traffic(array, m, n, kept_k(k, kept, group))
    a_folds = 1 if array.dataflow == IS else ceil_div(n, array.cols)
    return Traffic(
        m * _regrouped_k(array, k, kept, group) * a_folds,
        compressed.b_reads,
        compressed.partial_reads,
        compressed.partial_writes,
        compressed.output_writes,
    )
