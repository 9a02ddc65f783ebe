"""Addresses and granules: tensors do not overlap, granules cover them exactly, views are the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.program.address_space import AddressSpace, Tensor
from uarch.program.records import GRANULE_BYTES, GRANULE_ROW_BYTES, GRANULE_ROWS, TENSOR

shapes = st.tuples(
    st.integers(1, 5), st.integers(1, 200), st.integers(1, 300), st.sampled_from([8, 16, 32]), st.sampled_from([1, 64])
)


def allocate(space: AddressSpace, name: str, shape: tuple[int, int, int, int, int]) -> Tensor:
    batch, rows, cols, bits, granule_rows = shape
    return space.allocate(name, rows, cols, bits, batch=batch, granule_rows=granule_rows)


def granule_of(tensor: Tensor, batch: int, row: int, col: int) -> int:
    """Granule of an element, from the geometry that the engine is given."""
    record = np.array([tensor.record()], TENSOR)[0]
    down, across = (batch * tensor.rows + row) >> int(record["row_shift"]), col >> int(record["col_shift"])
    return int(record["first_granule"] + down * record["granules_across"] + across)


@given(st.lists(shapes, min_size=1, max_size=5))
def test_tensors_lie_behind_each_other(all_shapes: list[tuple[int, int, int, int, int]]) -> None:
    space = AddressSpace()
    address, granule = 0, 0
    for number, shape in enumerate(all_shapes):
        tensor = allocate(space, f"t{number}", shape)
        assert tensor.base_address == address
        assert tensor.base_address % GRANULE_BYTES == 0
        assert tensor.first_granule == granule
        assert tensor.end_address - tensor.base_address >= tensor.size_bytes
        address, granule = tensor.end_address, tensor.end_granule
    assert (space.size_bytes, space.n_granules) == (address, granule)


@given(shapes)
def test_granules_cover_a_tensor_exactly(shape: tuple[int, int, int, int, int]) -> None:
    """Every element lies in one of the tensor's granules, every granule holds one, none is larger than allowed."""
    space = AddressSpace()
    space.allocate("before", 3, 5, 16)
    tensor = allocate(space, "t", shape)
    rows, cols = np.meshgrid(np.arange(tensor.batch * tensor.rows), np.arange(tensor.cols), indexing="ij")
    record = np.array([tensor.record()], TENSOR)[0]
    granules = record["first_granule"] + (rows >> record["row_shift"]) * record["granules_across"]
    granules += cols >> record["col_shift"]
    found, elements = np.unique(granules, return_counts=True)
    assert list(found) == list(range(tensor.first_granule, tensor.end_granule))
    assert elements.max() * tensor.element_bits // 8 <= GRANULE_BYTES


@given(shapes)
def test_default_granules_are_64_rows_of_128_bytes(shape: tuple[int, int, int, int, int]) -> None:
    batch, rows, cols, bits, _ = shape
    tensor = AddressSpace().allocate("t", rows, cols, bits, batch=batch)
    assert tensor.granule_cols * bits == 8 * GRANULE_ROW_BYTES
    assert tensor.granule_rows == GRANULE_ROWS or batch * rows <= tensor.granule_rows < 2 * batch * rows


def test_single_rows_have_long_granules() -> None:
    tensor = AddressSpace().allocate("table", 100, 10_000, 16, granule_rows=1)
    assert (tensor.granule_rows, tensor.granule_cols * 2) == (1, GRANULE_BYTES)


@given(st.integers(1, 6), st.integers(1, 70), st.integers(1, 200), st.sampled_from([8, 16, 32]), st.data())
def test_views_are_the_same_bytes(batch: int, rows: int, cols: int, bits: int, data: st.DataObject) -> None:
    """Row r of batch entry b is row ``b * rows + r`` of the flat view, in the same granule at the same address."""
    space = AddressSpace()
    space.allocate("before", 7, 9, 8)
    tensor = space.allocate("t", rows, cols, bits, batch=batch)
    flat = tensor.as_rows()
    b, r, c = (data.draw(st.integers(0, size - 1)) for size in (batch, rows, cols))
    assert granule_of(flat, 0, b * rows + r, c) == granule_of(tensor, b, r, c)
    assert flat.in_batches_of(rows) == tensor
    for view in (flat, flat.in_batches_of(1)):
        assert (view.base_address, view.first_granule, view.size_bytes, view.end_granule, view.name) == (
            tensor.base_address,
            tensor.first_granule,
            tensor.size_bytes,
            tensor.end_granule,
            tensor.name,
        )


def test_rows_that_do_not_split_evenly() -> None:
    tensor = AddressSpace().allocate("t", 10, 4, 16)
    with pytest.raises(ValueError, match="t: 10 rows cannot be split into batch entries of 3"):
        tensor.in_batches_of(3)


@pytest.mark.parametrize("sizes", [(0, 4, 1), (4, 0, 1), (4, 4, 0)])
def test_empty_tensors(sizes: tuple[int, int, int]) -> None:
    rows, cols, batch = sizes
    with pytest.raises(ValueError, match=f"tensor t: {batch} x {rows} x {cols}; every size must be at least 1"):
        AddressSpace().allocate("t", rows, cols, 16, batch=batch)


def test_workspaces_lie_behind_all_tensors_and_are_used_again() -> None:
    space = AddressSpace()
    tensor = space.allocate("t", 100, 100, 16)
    first = space.scratch("first", 10, 10, 32)
    second = space.scratch("second", 50, 20, 32, after=first)
    third = space.scratch("third", 1, 1, 32)
    assert (first.base_address, first.first_granule) == (tensor.end_address, tensor.end_granule)
    assert (second.base_address, second.first_granule) == (first.end_address, first.end_granule)
    assert (third.base_address, third.first_granule) == (first.base_address, first.first_granule)
    assert (space.size_bytes, space.n_granules) == (tensor.end_address, tensor.end_granule)
