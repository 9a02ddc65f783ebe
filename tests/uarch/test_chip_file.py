"""Chip files and overrides: every field can be changed, and every mistake is one line that names the field.

Exercised with it: frozen_table and section.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import uarch.chip_file
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip, preset_names
from uarch.errors import InputError
from uarch.silicon.area import modelled_die_area_mm2

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")

H100_TOML = (Path(uarch.chip_file.__file__).parent / "chips" / "h100.toml").read_bytes()


def leaves(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        elif value is not None:  # an optional field that is absent
            yield prefix + name, value


H100_LEAVES = dict(leaves(load_chip("h100").model_dump(mode="json")))
NUMBERS = [
    field for field, value in H100_LEAVES.items() if isinstance(value, int | float) and not isinstance(value, bool)
]


def message_of(name_or_path: str | Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load_chip(str(name_or_path), overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def chip_or_message(name_or_path: str, *overrides: str) -> Chip | str:
    try:
        return load_chip(name_or_path, overrides)
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("name", preset_names())
def test_every_field_can_be_set(name: str) -> None:
    """A chip whose every field is set to the values of the H100 is the H100, but for fields that the H100's file leaves out."""
    own = dict(leaves(load_chip(name).model_dump(mode="json")))
    others = {field: value for field, value in own.items() if field not in H100_LEAVES and "macs_per_pe" not in field}
    overrides = [f"{field}={json.dumps(value)}" for field, value in H100_LEAVES.items()]
    rates = json.dumps(load_chip("h100").model_dump()["core"]["systolic"]["macs_per_pe_per_cycle"]).replace(":", "=")
    chip = load_chip(name, [*overrides, f"core.systolic.macs_per_pe_per_cycle={rates}"])
    assert dict(leaves(chip.model_dump(mode="json"))) == {**H100_LEAVES, **others}


@settings(deadline=None)
@given(st.sampled_from(NUMBERS), st.sampled_from([0.5, 2, 4]))
def test_an_override_changes_its_field_and_no_other(field: str, factor: float) -> None:
    value = H100_LEAVES[field] * factor
    chip = chip_or_message("h100", f"{field}={value}")
    if isinstance(chip, str):  # out of range, or half of an odd number
        assert f"{field} = " in chip
        return
    expected = {**H100_LEAVES, field: pytest.approx(value)}
    if field != "die.area_mm2":  # published for the chip as it is: follows the modelled area
        expected["die.area_mm2"] = pytest.approx(
            814 * modelled_die_area_mm2(chip) / modelled_die_area_mm2(load_chip("h100"))
        )
    assert dict(leaves(chip.model_dump(mode="json"))) == expected


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e30", "true", "many", "[1]"])
def test_an_impossible_number_is_refused(field: str, value: str) -> None:
    assert f"chip h100: {field} = " in message_of("h100", f"{field}={value}")


def test_later_overrides_win_and_strings_may_be_bare() -> None:
    chip = load_chip("h100", ["core.count=1", "core.systolic.dataflow=os", 'name="mine"', " core.count = 2 "])
    assert (chip.core.count, chip.core.systolic.dataflow, chip.name) == (2, "os", "mine")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "core.cuont=2",
            "--set core.cuont=2: core.cuont is not a field; did you mean 'count'? allowed: count, lanes, ",
        ),
        ("cores.count=2", "cores is not a field; did you mean 'core'? allowed: name, "),
        ("core.systolic.macs_per_pe_per_cycle.fp9=1", "did you mean 'fp8'? allowed: fp32, tf32, fp16, bf16, fp8, int8"),
        (
            "core.systolic.macs_per_pe_per_cycle={fp9=1}",
            "macs_per_pe_per_cycle.fp9 is not a field; did you mean 'fp8'?",
        ),
        ("core.systolic.macs_per_pe_per_cycle={}", "core.systolic.macs_per_pe_per_cycle = {}: "),
        ("core.count.x=2", "core.count is a value, it has no fields"),
        ("core=2", "core must be a table, not 2"),
        ("core.l1={bytes=1}", "core.l1.bytes = 1: must be greater than or equal to 1024 (and 3 more)"),
        ("l2={}", "l2.bytes is missing (and 4 more)"),
        ("core.systolic.dataflow=xs", "core.systolic.dataflow = 'xs': must be 'os', 'ws' or 'is'"),
        (
            "memory.technology=hbm9",
            "memory.technology = 'hbm9': must be 'hbm3', that of memory.standard = 'hbm3-5200', or",
        ),
        (
            "memory.standard=gddr7-32000",
            "memory.technology = 'hbm3': must be 'gddr7', that of memory.standard = 'gddr7-",
        ),
        ("memory.standard=hbm9", "memory.standard = 'hbm9': no such preset or TOML file; "),
        ("memory.channels=81", "memory.channels = 81: must be a multiple of memory.packages = 5, or divide it"),
        ("memory.channels=0.5", "memory.channels = 0.5: must be a valid integer"),
        (
            "memory.bus_bits=4096",
            "memory.bus_bits = 4096: must be 5120, that of memory.channels = 160 of memory.standard",
        ),
        ("l2.interleave_bytes=768", "l2.interleave_bytes = 768: must be a power of two"),
        ("core.count=1.5", "core.count = 1.5: must be a valid integer"),
        ("name=", "name = '': must match pattern "),
        ("core.count=1\ncore.lanes=1", "core.count = '1 core.lanes=1'"),
        ("core.count", "--set core.count: must have the form dotted.field=value"),
        ("=3", "must have the form dotted.field=value"),
        ("core..count=3", "must have the form dotted.field=value"),
    ],
)
def test_a_wrong_override_is_explained(override: str, expected: str) -> None:
    assert expected in message_of("h100", override).replace("\\n", " ")


def test_an_unknown_chip_lists_the_presets() -> None:
    message = message_of("h10O")
    assert message == (
        f"chip 'h10O': no such preset or TOML file; did you mean 'h100'? allowed: {', '.join(preset_names())}"
    )


def test_a_file_of_the_same_contents_is_the_same_chip(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(H100_TOML)
    assert load_chip(str(path)) == load_chip("h100")
    assert load_chip(str(path), ["core.count=7"]) == load_chip("h100", ["core.count=7"])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert "No such file" in message_of(tmp_path / "absent.toml")
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    assert str(folder) in message_of(folder)
    broken = tmp_path / "broken.toml"
    broken.write_text("name = \n")
    assert message_of(broken) == f"{broken}: not valid TOML: Invalid value (at line 1, column 8)"
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"name = '\xff'")
    assert message_of(binary) == f"{binary}: not a text file in UTF-8 (byte 8)"


def test_a_missing_and_a_superfluous_field_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(H100_TOML.replace(b"packages = 5\n", b""))
    assert "memory.packages is missing" in message_of(path)
    path.write_bytes(H100_TOML.replace(b"packages = 5\n", b"bus_bit = 1\npackages = 5\n"))
    assert "memory.bus_bit is not a field; did you mean 'bus_bits'? allowed: standard, technology, " in message_of(path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(H100_TOML)), st.binary(max_size=4))
@example(0, b"")
@example(len(H100_TOML), b"")
def test_a_damaged_file_is_a_chip_or_one_line(tmp_path: Path, position: int, damage: bytes) -> None:
    path = tmp_path / "damaged.toml"
    path.write_bytes(H100_TOML[:position] + damage)
    chip = chip_or_message(str(path))
    if isinstance(chip, str):
        assert "\n" not in chip
        assert "damaged.toml" in chip


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_any_override_is_applied_or_one_line(field: str, value: str) -> None:
    chip = chip_or_message("h100", f"{field}={value}")
    assert isinstance(chip, Chip) or "\n" not in chip
