"""What is wrong with a file is one line that names the file and the field, and says what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from uarch.errors import InputError
from uarch.files.reading import field_names, one_line, read_json, read_text, read_toml, validate

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")


class Bank(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rows: int = Field(ge=1)


class Memory(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    bank: Bank
    spare: Bank | None = None


SOUND: dict[str, Any] = {"name": "small", "bank": {"rows": 4}}


def test_a_sound_table_becomes_a_model() -> None:
    assert validate(Memory, SOUND, "m.toml") == Memory(name="small", bank=Bank(rows=4))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"bank": {"rows": 4}}, "m.toml: name is missing"),
        (SOUND | {"bank": {"rows": 0}}, "m.toml: bank.rows = 0: must be greater than or equal to 1"),
        (SOUND | {"bank": 7}, "m.toml: bank must be a table, not 7"),
        (
            SOUND | {"bank": {"rows": 4, "rwos": 5}},
            "m.toml: bank.rwos is not a field; did you mean 'rows'? allowed: rows",
        ),
        ({"bank": {"rows": 0}}, "m.toml: name is missing (and 1 more)"),
    ],
)
def test_the_first_mistake_is_named_and_the_others_are_counted(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        validate(Memory, data, "m.toml")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ((), ["name", "bank", "spare"]),
        (("bank",), ["rows"]),
        (("spare",), ["rows"]),
        (("name",), None),
        (("no",), None),
    ],
)
def test_names_below_a_path(path: tuple[str, ...], names: list[str] | None) -> None:
    assert field_names(Memory, path) == names


def test_a_file_that_cannot_be_read_is_named_with_the_place_of_the_mistake(tmp_path: Path) -> None:
    file = tmp_path / "input"
    for content, read, message in (
        (b"a = 1\nb = = 2\n", read_toml, "not valid TOML.* line 2, column 5"),
        (b"[1, 2]", read_json, r"must hold a JSON object, not \[1, 2\]"),
        (b'{"a": }', read_json, "not valid JSON.* line 1 column 7"),
        (b"[" * 100_000, read_json, "not valid JSON"),
        (b"caf\xe9", read_text, r"not a text file in UTF-8 \(byte 3\)"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"input: {message}"):
            read(file)
    with pytest.raises(InputError, match="absent: cannot be read: No such file or directory"):
        read_toml(tmp_path / "absent")
    with pytest.raises(InputError, match=r"cannot be read: .*null"):
        read_text(tmp_path / "a\0b")


def test_a_message_stays_on_one_line() -> None:
    assert one_line("two\n  lines\tand  blanks ") == "two lines and blanks"
