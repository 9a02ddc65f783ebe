"""What plots share: files, colours, quantities, and the fields that can be plotted."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.analysis.fields import number
from results.plots.of_traces import stalls
from results.plots.quantities import quantity, scale_of
from results.plots.style import (
    CAUSE_COLOURS,
    ENERGY_COLOURS,
    KIND_COLOURS,
    PlotError,
    figure,
    kind_colours,
    on_colour,
    save,
)
from results.trace.schema import ENERGY_COMPONENTS, STALL_CAUSES
from results.trace.trace import TraceError
from tests.support.synthetic_trace import CHIPS, make_trace


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG\r\n"), ("PNG", b"\x89PNG\r\n"), ("svg", b"<?xml"), ("pdf", b"%PDF-")]
)
def test_file_follows_its_ending_and_is_reproducible(tmp_path: Path, ending: str, start: bytes) -> None:
    trace = make_trace()
    save(stalls.plot(trace), tmp_path / f"first.{ending}")
    save(stalls.plot(trace), tmp_path / f"second.{ending}")
    content = (tmp_path / f"first.{ending}").read_bytes()
    assert content.startswith(start)
    assert content == (tmp_path / f"second.{ending}").read_bytes()


@pytest.mark.parametrize("name", ["plot.jpg", "plot", "png"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PlotError, match=r"allowed: \.png, \.svg, \.pdf"):
        save(figure(2, 2), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        save(figure(2, 2), tmp_path / "absent" / "plot.png")
    assert caught.value.filename == str(tmp_path / "absent")


def test_colours_cover_the_schema_and_differ() -> None:
    assert set(CAUSE_COLOURS) == set(STALL_CAUSES)
    assert set(ENERGY_COLOURS) == set(ENERGY_COMPONENTS)
    for table in (CAUSE_COLOURS, ENERGY_COLOURS, KIND_COLOURS):
        assert len(set(table.values())) == len(table)


def test_unknown_kinds_get_colours_of_their_own_whatever_their_order() -> None:
    colours = kind_colours(["zeta", "gemm", "alpha", "gemm"])
    assert list(colours) == ["zeta", "gemm", "alpha"]
    assert len(set(colours.values())) == 3
    assert colours == kind_colours(["alpha", "gemm", "zeta"])


def test_text_on_colours_is_legible() -> None:
    assert on_colour("#000000") == "white"
    assert on_colour("#332288") == "white"
    assert on_colour("#F0E442") == "black"


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.0, "s", "0 s"),
        (0.00123456, "s", "1.23 ms"),
        (0.99996, "s", "1.00 s"),
        (12.34, "J", "12.3 J"),
        (999.6, "J", "1.00 kJ"),
        (3.35e12, "B/s", "3.35 TB/s"),
        (4.5e-10, "s", "450 ps"),
        (5e-13, "J", "0.50 pJ"),
        (99.96e9, "B", "100 GB"),
        (-2e3, "B", "-2.00 kB"),
        (5e16, "B", "50.0 PB"),
        (404.3e-6, "s", "404 µs"),
        (9.996e-9, "s", "10.0 ns"),
    ],
)
def test_quantities(value: float, unit: str, expected: str) -> None:
    assert quantity(value, unit) == expected


def test_scale_is_at_most_the_value() -> None:
    for value in (1e-12, 3e-7, 0.5, 1.0, 999.0, 1e3, 7e15):
        factor, _ = scale_of(value, "s")
        assert 1 <= value / factor < 1000
    assert scale_of(0.0, "s") == (1.0, "s")


@pytest.mark.parametrize(
    ("field", "words"),
    [("second", "near it: seconds"), ("chip.memory.x", "of chip.memory"), ("bound_by", "must be a number")],
)
def test_fields_that_are_no_numbers(field: str, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        number(make_trace(), field)


def test_fields_of_chip_and_workload() -> None:
    assert number(make_trace(), "chip.memory.bandwidth_bytes_per_second") == CHIPS["chip-a"][1]
    assert number(make_trace(), "workload.batch") == 2
