"""Addresses, traces and patterns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uarch.dram.controller.addresses import AddressMapping
from uarch.dram.replay.requests import make_pattern, read_trace, splitmix64
from uarch.dram.standards.standard import load_standard
from uarch.errors import InputError

HBM3 = load_standard("hbm3-6400")
MAPPINGS = ("ro-sid-ba-bg-co", "ro-sid-ba-co-bg", "ro-sid-co-ba-bg", "ro-sid-ba^ro-bg^ro-co", "co-bg-ro-ba-sid")


@given(st.sampled_from(MAPPINGS), st.lists(st.integers(0, HBM3.capacity_bytes // 32 - 1), min_size=2, unique=True))
def test_different_bursts_have_different_places(mapping: str, bursts: list[int]) -> None:
    location = AddressMapping(HBM3, mapping).locate(np.array(bursts, dtype=np.int64) * 32)
    assert len(set(zip(*(part.tolist() for part in location), strict=True))) == len(bursts)
    assert location.bank.max() < HBM3.banks
    assert location.row.max() < HBM3.organisation.rows
    assert location.column.max() < HBM3.organisation.bursts_per_row


def test_least_significant_field_is_last() -> None:
    """With bg last, the next burst is in the next bank group: 4 banks further on, as a group has 4 banks."""
    location = AddressMapping(HBM3, "ro-sid-ba-co-bg").locate(np.array([0, 32], dtype=np.int64))
    assert location.bank.tolist() == [0, 4]


def test_fields_of_width_zero_may_be_named_or_left_out() -> None:
    standard = load_standard("dramsim3-gddr6")  # no stack ID, no bank groups
    addresses = np.arange(0, 2**20, 4096, dtype=np.int64)
    full = AddressMapping(standard, "ro-sid-ba-bg-co").locate(addresses)
    short = AddressMapping(standard, "ro-ba-co").locate(addresses)
    assert all(np.array_equal(one, other) for one, other in zip(full, short, strict=True))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("ro-ba-bg-co", "leaves out sid"),
        ("ro-sid-ba-bg-xx", "'xx'"),
        ("ro-ro-sid-ba-bg-co", "'ro'"),
        ("ro-sid-ba^zz-bg-co", "ba\\^zz"),
        ("ro-sid-ba^bg-bg^ro-co", "must not be hashed"),
    ],
)
def test_wrong_mappings(mapping: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AddressMapping(HBM3, mapping)


def test_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("0 R 0x40\n\n7 w 96\n")
    stream = read_trace(path, HBM3)
    assert [column.tolist() for column in stream] == [[0, 7], [0, 1], [64, 96]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 R 0\n1 X 0\n", "line 2: '1 X 0'"),
        ("0 R\n", "line 1"),
        ("0 R 0 0\n", "line 1"),
        ("a R 0\n", "line 1"),
        ("-1 R 0\n", "line 1"),
        ("0 R 0xg\n", "line 1"),
        ("0 R -32\n", "line 1"),
        ("0 R 0\n0 R 0x20000000\n", "line 2: address 0x20000000 is beyond"),
        ("5 R 0\n\n4 R 0\n", "line 3: arrival = 4: must be at least 5"),
        ("99999999999999999999999 R 0\n", "line 1"),
        ("0 R 0\n1099511627777 R 0\n", "line 2: arrival = 1099511627777: must be at most 1099511627776"),
        ("nan R 0\n", "line 1"),
        ("1e3 R 0\n", "line 1"),
        ("+1 R 0\n", "line 1"),
        ("0 R 1_000\n", "line 1"),
        ("0 R 0x\n", "line 1"),
        ("\u0663 R 0\n", "line 1"),
        ("\n", "no requests"),
    ],
)
def test_wrong_traces_are_refused_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trace"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=message) as error:
        read_trace(path, HBM3)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="not a text file in UTF-8"):
        read_trace(path, HBM3)


def test_missing_trace(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(tmp_path / "none", HBM3)


def test_patterns() -> None:
    assert make_pattern("sequential", HBM3, 3).address.tolist() == [0, 32, 64]
    assert make_pattern("strided", HBM3, 3).address.tolist() == [0, 1024, 2048]
    assert make_pattern("strided", HBM3, 3, 64).address.tolist() == [0, 64, 128]
    assert make_pattern("mix", HBM3, 6).is_write.tolist() == [0, 0, 1, 0, 0, 1]
    assert make_pattern("random", HBM3, 100).address.max() < HBM3.capacity_bytes
    with pytest.raises(InputError, match="requests"):
        make_pattern("mix", HBM3, 0)
    with pytest.raises(InputError, match="stride"):
        make_pattern("strided", HBM3, 1, 0)


def test_splitmix64_has_the_published_first_values() -> None:
    """First outputs of splitmix64 with seed 0, as listed with the reference implementation by Vigna."""
    values = splitmix64(np.arange(3, dtype=np.int64)).tolist()
    assert values == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
