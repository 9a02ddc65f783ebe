"""The chip schema: immutable values, and peaks that follow from the fields."""

from __future__ import annotations

import pickle
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from uarch.chip.schema import Chip
from uarch.chip_file import load_chip, preset_names
from uarch.datatypes import MATRIX_DATATYPES
from uarch.errors import InputError

chips = st.builds(
    lambda name, count, rows, hz, gib: load_chip(
        name,
        [
            f"core.count={count}",
            f"core.systolic.rows={rows}",
            f"clock.tensor_hz={hz!r}",
            f"memory.capacity_gib={gib!r}",
        ],
    ),
    st.sampled_from(preset_names()),
    st.integers(1, 65536),
    st.integers(1, 4096),
    st.floats(1e6, 1e11),
    st.floats(0.01, 65536),
)


@settings(deadline=None)
@given(chips)
def test_copies_through_json_and_pickle_are_equal_and_hash_alike(chip: Chip) -> None:
    for copy in (Chip.model_validate_json(chip.model_dump_json()), pickle.loads(pickle.dumps(chip))):
        assert copy == chip
        assert hash(copy) == hash(chip)


def test_chips_differ_when_one_field_differs() -> None:
    chip = load_chip("h100")
    other = load_chip("h100", ["core.systolic.macs_per_pe_per_cycle.fp8=4.0"])
    assert other != chip
    assert len({chip, other, load_chip("h100")}) == 2


def test_fields_cannot_be_assigned() -> None:
    chip = load_chip("h100")
    with pytest.raises(ValidationError, match="frozen"):
        chip.core.count = 1  # type: ignore[misc]
    with pytest.raises(TypeError, match="item assignment"):
        chip.core.systolic.macs_per_pe_per_cycle["fp16"] = 9.0  # type: ignore[index]


@settings(deadline=None)
@given(chips)
def test_peaks_follow_from_the_fields(chip: Chip) -> None:
    """The definitions, in exact arithmetic."""
    core, clock = chip.core, chip.clock
    arrays = core.count * core.lanes
    for dtype in chip.dtypes:
        macs = arrays * core.systolic.rows * core.systolic.cols * Fraction(chip.macs_per_pe_per_cycle(dtype))
        assert chip.peak_flops(dtype) == pytest.approx(float(2 * macs * Fraction(clock.tensor_hz)), rel=1e-12)
    assert chip.peak_vector_flops == pytest.approx(2 * arrays * core.vector.width * clock.vector_hz)
    assert chip.peak_special_ops_per_second == pytest.approx(arrays * core.vector.special_width * clock.vector_hz)
    assert chip.l1_bytes_per_second == pytest.approx(core.count * core.l1.banks * core.l1.bank_bytes * clock.tensor_hz)
    assert chip.l2_bytes_per_second == pytest.approx(chip.l2.slices * chip.l2.bytes_per_cycle_per_slice * clock.l2_hz)
    assert chip.on_chip_bytes == core.count * core.l1.bytes + chip.l2.bytes
    assert 0 <= chip.memory.capacity_gib * 2**30 - chip.capacity_bytes < 1
    assert 0 < chip.usable_bytes <= chip.capacity_bytes
    assert chip.bits_per_second_per_pin * chip.memory.bus_bits == pytest.approx(
        8 * chip.memory.bandwidth_bytes_per_second
    )


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(preset_names()))
def test_twice_the_clocks_are_twice_the_peaks(name: str) -> None:
    chip = load_chip(name)
    fast = load_chip(name, [f"clock.{field}={2 * value!r}" for field, value in chip.clock if value is not None])
    for peak in ("peak_vector_flops", "peak_special_ops_per_second", "l1_bytes_per_second", "l2_bytes_per_second"):
        assert getattr(fast, peak) == 2 * getattr(chip, peak)
    assert fast.peak_flops("fp16") == 2 * chip.peak_flops("fp16")


def test_a_datatype_that_the_arrays_lack_is_refused_with_those_they_have() -> None:
    chip = load_chip("a100")
    assert set(MATRIX_DATATYPES) - set(chip.dtypes) == {"fp32", "fp8"}
    with pytest.raises(InputError, match=r"dtype = 'fp8': not supported by chip a100; allowed: tf32, fp16, bf16, int8"):
        chip.peak_flops("fp8")
