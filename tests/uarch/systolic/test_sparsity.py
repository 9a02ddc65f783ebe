"""N:M weights against the PE grid that selects activations by index; stored bytes against a real encoding."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles.pe_grid import run_grid, sparse_operands
from uarch.errors import InputError
from uarch.systolic.cycles import Dataflow, Overlap, SystolicArray, tile_cycles
from uarch.systolic.report import report
from uarch.systolic.sparsity import Structure, index_bits, kept_k, parse_structure, sparse_traffic, structured_bytes

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
DRAWN_CASES = 30 if WITHOUT_JIT else 500

edges = st.integers(1, 6)
sizes = st.integers(1, 11)
structures = st.integers(2, 5).flatmap(lambda group: st.tuples(st.integers(1, group - 1), st.just(group)))


def _pruned(rng: np.random.Generator, k: int, n: int, structure: Structure) -> npt.NDArray[np.int64]:
    """Weights with at most N non-zeros in each group of M, at random places."""
    weights = rng.integers(1, 10, (k, n))
    for first in range(0, k, structure.group):
        for column in range(n):
            group = weights[first : first + structure.group, column]
            group[rng.permutation(group.size)[structure.kept :]] = 0
    return weights


@settings(max_examples=DRAWN_CASES, deadline=None)
@given(
    dataflow=st.sampled_from(list(Dataflow)),
    overlap=st.sampled_from(list(Overlap)),
    edge=st.tuples(edges, edges),
    shape=st.tuples(sizes, sizes, sizes),
    structure=structures,
    k_per_step=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_model_equals_grid(
    dataflow: Dataflow,
    overlap: Overlap,
    edge: tuple[int, int],
    shape: tuple[int, int, int],
    structure: tuple[int, int],
    k_per_step: int,
    seed: int,
) -> None:
    array = SystolicArray(int(dataflow), *edge, overlap=int(overlap), k_per_step=k_per_step)
    m, n, k = shape
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-9, 10, (m, k)), _pruned(rng, k, n, Structure(*structure))
    grid = run_grid(array, *sparse_operands(a, b, *structure, k_per_step))
    assert (grid.product == a @ b).all()
    assert grid.cycles == tile_cycles(array, m, n, kept_k(k, *structure))
    assert grid[2:] == tuple(sparse_traffic(array, m, n, k, *structure))


def test_two_of_four_halves_rows_and_bytes() -> None:
    """K = 64 on 32 rows: two folds dense, one with 2:4; 2-bit indices beside 16-bit values."""
    array = SystolicArray(int(Dataflow.WS), 32, 32, overlap=int(Overlap.NONE))
    dense, sparse = report(array, 100, 32, 64), report(array, 100, 32, 64, Structure(2, 4))
    assert (dense.folds, sparse.folds) == (2, 1)
    assert 2 * sparse.cycles == dense.cycles
    assert 2 * sparse.macs == dense.macs
    assert sparse.pe_utilization == pytest.approx(dense.pe_utilization)
    assert structured_bytes(64, 32, Structure(2, 4), 16) == 32 * 32 * 2 + 32 * 32 // 4


@settings(deadline=None)
@given(k=st.integers(1, 40), n=st.integers(1, 5), structure=structures, bits=st.sampled_from([8, 16]))
def test_structured_bytes_are_those_of_an_encoding(k: int, n: int, structure: tuple[int, int], bits: int) -> None:
    """Write values and indices as strings of bits and count; the indices must be enough to decode."""
    pattern = Structure(*structure)
    weights = _pruned(np.random.default_rng(k * n), k, n, pattern)
    values, indices = "", ""
    decoded = np.zeros_like(weights)
    for column in range(n):
        for first in range(0, k, pattern.group):
            group = weights[first : first + pattern.group, column]
            places = np.flatnonzero(group)
            assert places.size == min(pattern.kept, group.size)
            for place in places:
                values += f"{group[place]:0{bits}b}"
                indices += f"{place:0{index_bits(pattern.group)}b}"
                decoded[first + int(indices[-index_bits(pattern.group) :], 2), column] = int(values[-bits:], 2)
    assert (decoded == weights).all()
    assert structured_bytes(k, n, pattern, bits) == -(-len(values) // 8) + -(-len(indices) // 8)


@pytest.mark.parametrize("text", ["4:2", "0:4", "2", "a:b", "2:4:8", ""])
def test_bad_structure_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="must be N:M"):
        parse_structure(text, "sparsity")


def test_structure_is_parsed() -> None:
    assert parse_structure(" 2:4 ", "sparsity") == Structure(2, 4)
