"""Functional replay of GEMM programs against NumPy: any shape, mapping, packing and output layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.program.address_space import AddressSpace
from tests.support.replayed import Matrix, assert_replayed, matrix

sizes = st.one_of(st.integers(1, 90), st.sampled_from([16, 32, 64]))
tiles = st.sampled_from([1, 5, 16, 24, 32, 64])
mappings = st.builds(
    GemmMapping,
    tile_m=tiles.map(lambda size: max(size, 5)),
    tile_n=tiles.map(lambda size: max(size, 5)),
    tile_k=tiles,
    stages=st.integers(1, 4),
    split_k=st.just(1),
    raster_rows=st.integers(1, 5),
)
seeds = st.integers(0, 2**32 - 1)


def plain_output(space: AddressSpace, shape: GemmShape) -> list[Output]:
    return [Output(Operand(space.allocate("c", shape.m, shape.n, 16)), 0, shape.n)]


@given(sizes, sizes, sizes, mappings, st.integers(1, 6), st.booleans(), seeds)
def test_plain_and_split_along_k(
    m: int, n: int, k: int, mapping: GemmMapping, split_k: int, transpose_b: bool, seed: int
) -> None:
    space, shape = AddressSpace(), GemmShape(m, n, k)
    a = space.allocate("a", m, k, 16)
    b = space.allocate("b", *((n, k) if transpose_b else (k, n)), 16)
    mapping = replace(mapping, split_k=min(split_k, -(-k // mapping.tile_k)))
    program = gemm(
        "g", shape, Operand(a), Operand(b), plain_output(space, shape), mapping, space, transpose_b=transpose_b
    )

    x, y = matrix(seed, m, k), matrix(seed + 1, k, n)
    assert_replayed(program, {"a": x, "b": y.T if transpose_b else y}, {"c": x @ y})
    assert program.macs == m * n * k
    assert program.padding_macs == 0
    assert program.useful_flops == 2 * m * n * k


@given(st.integers(1, 4), sizes, sizes, sizes, mappings, st.booleans(), seeds)
def test_batch(batch: int, m: int, n: int, k: int, mapping: GemmMapping, transpose_b: bool, seed: int) -> None:
    """Entry i of A, B and C lies in batch entry i, or (C) in columns of its own."""
    space, shape = AddressSpace(), GemmShape(m, n, k, batch)
    entries = np.arange(batch)
    a = space.allocate("a", m, k, 16, batch=batch)
    b = space.allocate("b", *((n, k) if transpose_b else (k, n)), 16, batch=batch)
    c = space.allocate("c", m, n * batch, 16)
    program = gemm(
        "g",
        shape,
        Operand(a, batch=entries),
        Operand(b, batch=entries),
        [Output(Operand(c, col=entries * n), 0, n)],
        mapping,
        space,
        transpose_b=transpose_b,
    )

    x, y = matrix(seed, batch, m, k), matrix(seed + 1, batch, k, n)
    stored = np.swapaxes(y, 1, 2) if transpose_b else y
    memory = {"a": x.reshape(-1, k), "b": stored.reshape(-1, stored.shape[2])}
    assert_replayed(program, memory, {"c": np.concatenate(list(x @ y), axis=1)})
    assert program.macs == batch * m * n * k


@given(st.integers(1, 4), sizes, sizes, mappings, st.lists(st.integers(1, 40), min_size=1, max_size=4), seeds)
def test_tiles_that_straddle_several_outputs(
    first_row: int, m: int, k: int, mapping: GemmMapping, widths: list[int], seed: int
) -> None:
    """Columns of C go to several tensors, each from a row and column of its own on."""
    space, shape = AddressSpace(), GemmShape(m, sum(widths), k)
    a, b = space.allocate("a", m, k, 16), space.allocate("b", k, shape.n, 16)
    x, y = matrix(seed, m, k), matrix(seed + 1, k, shape.n)
    outputs: list[Output] = []
    expected: dict[str, Matrix] = {}
    for number, width in enumerate(widths):
        name, first_col = f"c{number}", sum(widths[:number])
        tensor = space.allocate(name, m + first_row, width + number, 16)
        outputs.append(Output(Operand(tensor, row=first_row, col=number), first_col, width))
        expected[name] = np.full((m + first_row, width + number), np.nan)
        expected[name][first_row:, number:] = (x @ y)[:, first_col : first_col + width]
    program = gemm("g", shape, Operand(a), Operand(b), outputs, mapping, space)
    assert_replayed(program, {"a": x, "b": y}, expected)


@given(st.integers(1, 30), st.integers(1, 5), sizes, sizes, mappings, st.integers(1, 3), seeds)
def test_one_row_of_every_batch_entry(
    m: int, rows: int, n: int, k: int, mapping: GemmMapping, split_k: int, seed: int
) -> None:
    """The last position of each sequence as A, and a new row of each sequence's cache as C."""
    space, shape = AddressSpace(), GemmShape(m, n, k)
    a = space.allocate("a", rows, k, 16, batch=m)
    b = space.allocate("b", k, n, 16)
    c = space.allocate("c", rows, n, 16, batch=m)
    mapping = replace(mapping, split_k=min(split_k, -(-k // mapping.tile_k)))
    output = Output(Operand(c, row=rows - 1, per_batch=True), 0, n)
    program = gemm("g", shape, Operand(a, row=rows - 1, per_batch=True), Operand(b), [output], mapping, space)

    x, y = matrix(seed, m, rows, k), matrix(seed + 1, k, n)
    expected = np.full((m, rows, n), np.nan)
    expected[:, -1] = x[:, -1] @ y
    assert_replayed(program, {"a": x.reshape(-1, k), "b": y}, {"c": expected.reshape(-1, n)})
    assert program.macs == m * n * k


@given(st.integers(1, 3), st.integers(2, 5), st.integers(1, 9), sizes, st.integers(1, 24), mappings, seeds)
def test_packed_rows_of_a(batch: int, pack: int, rows: int, n: int, k: int, mapping: GemmMapping, seed: int) -> None:
    """Query heads of a group side by side in a row of A are rows of the matrix."""
    space, shape = AddressSpace(), GemmShape(rows * pack, n, k, batch)
    entries = np.arange(batch)
    a = space.allocate("a", rows, pack * k, 16, batch=batch)
    b = space.allocate("b", k, n, 16, batch=batch)
    c = space.allocate("c", shape.m, n, 16, batch=batch)
    mapping = GemmMapping(pack * max(1, mapping.tile_m // pack), mapping.tile_n, k, 2)
    operand = Operand(a, batch=entries, pack=pack)
    output = Output(Operand(c, batch=entries), 0, n)
    program = gemm("g", shape, operand, Operand(b, batch=entries), [output], mapping, space)

    x, y = matrix(seed, batch, rows * pack, k), matrix(seed + 1, batch, k, n)
    memory = {"a": x.reshape(batch * rows, pack * k), "b": y.reshape(-1, n)}
    assert_replayed(program, memory, {"c": (x @ y).reshape(-1, n)})


@given(st.integers(1, 3), st.integers(2, 5), st.integers(1, 9), st.integers(1, 24), sizes, mappings, seeds)
def test_packed_rows_of_c(batch: int, pack: int, rows: int, n: int, k: int, mapping: GemmMapping, seed: int) -> None:
    """Rows of the matrix go side by side into one row of C."""
    space, shape = AddressSpace(), GemmShape(rows * pack, n, k, batch)
    entries = np.arange(batch)
    a = space.allocate("a", shape.m, k, 16, batch=batch)
    b = space.allocate("b", k, n, 16, batch=batch)
    c = space.allocate("c", rows, pack * n, 16, batch=batch)
    mapping = GemmMapping(pack * max(1, mapping.tile_m // pack), n, mapping.tile_k, 2)
    output = Output(Operand(c, batch=entries, pack=pack), 0, n)
    program = gemm("g", shape, Operand(a, batch=entries), Operand(b, batch=entries), [output], mapping, space)

    x, y = matrix(seed, batch, shape.m, k), matrix(seed + 1, batch, k, n)
    memory = {"a": x.reshape(-1, k), "b": y.reshape(-1, n)}
    assert_replayed(program, memory, {"c": (x @ y).reshape(batch * rows, pack * n)})


@pytest.mark.parametrize(
    ("mapping", "pack_a", "pack_c", "batch", "message"),
    [
        (GemmMapping(6, 8, 8, 2), 4, 1, 1, "are not whole groups"),
        (GemmMapping(8, 8, 4, 2), 4, 1, 1, "must cover k 8"),
        (GemmMapping(8, 4, 8, 2), 1, 4, 1, "must cover n 8"),
        (GemmMapping(8, 8, 4, 2, split_k=2), 1, 1, 2, "not split along K"),
        (GemmMapping(8, 8, 4, 2, split_k=3), 1, 1, 1, "leave some empty"),
    ],
)
def test_mappings_that_cannot_be_built(
    mapping: GemmMapping, pack_a: int, pack_c: int, batch: int, message: str
) -> None:
    space, shape = AddressSpace(), GemmShape(8, 8, 8, batch)
    a, b, c = (space.allocate(name, 8, 32, 16, batch=batch) for name in "abc")
    output = Output(Operand(c, pack=pack_c), 0, 8)
    with pytest.raises(ValueError, match=message):
        gemm("g", shape, Operand(a, pack=pack_a), Operand(b), [output], mapping, space)
