"""The reader of YAML: what it reads, and what hostile files it refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uarch.errors import InputError
from uarch.files.yaml_reader import read_yaml

keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_ .]{0,8}[A-Za-z0-9_]", fullmatch=True)
texts = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.()-]{0,12}", fullmatch=True).filter(
    lambda text: text.lower() not in {"true", "false", "null", "nan", "inf", "infinity"}
)
scalars = st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6), st.booleans(), st.none(), texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3), st.dictionaries(keys, inner, min_size=1, max_size=3)
    ),
    max_leaves=12,
)
documents = st.one_of(st.lists(values, min_size=1, max_size=4), st.dictionaries(keys, values, min_size=1, max_size=4))


def written(value: Any, indent: int, compact: bool) -> list[str]:
    """Block YAML of a value; ``compact``: a mapping begins on the line of its dash, as Accelergy writes."""
    blanks = " " * indent
    if isinstance(value, dict):
        lines = []
        for key, inner in value.items():
            nested = isinstance(inner, dict | list)
            lines.append(f"{blanks}{key}:" + ("" if nested else f" {scalar(inner)}"))
            if nested:
                lines += written(inner, indent + (0 if isinstance(inner, list) and compact else 2), compact)
        return lines
    if isinstance(value, list):
        lines = []
        for inner in value:
            if not isinstance(inner, dict | list):
                lines.append(f"{blanks}- {scalar(inner)}")
            elif compact:
                below = written(inner, indent + 2, compact)
                lines += [f"{blanks}- {below[0].lstrip()}", *below[1:]]
            else:
                lines += [f"{blanks}-", *written(inner, indent + 2, compact)]
        return lines
    raise TypeError(value)


def scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents, st.booleans())
def test_what_is_written_is_read(tmp_path: Path, document: Any, compact: bool) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("\n".join(written(document, 0, compact)) + "\n")
    assert read_yaml(path) == document


def test_comments_quotes_and_flow_collections(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(
        "---\n# comment\nname: 'a # b: c'  \nempty: {}\nlist: [1, 2.5, x]  # after\nmap: {a: 1, b: }\n\nnothing:\nlast: \"y\"\n"
    )
    assert read_yaml(path) == {
        "name": "a # b: c",
        "empty": {},
        "list": [1, 2.5, "x"],
        "map": {"a": 1, "b": None},
        "nothing": None,
        "last": "y",
    }
    path.write_text("# nothing\n")
    assert read_yaml(path) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("y", "y"), ("1e3", 1000.0), ("1.5E-2", 0.015), ("010", 10.0), ("0x10", "0x10"),
        ("1_000", "1_000"), ("1:30", "1:30"), ("2020-01-01", "2020-01-01"), ("-7", -7), ("+7", 7), (".5", 0.5), ("~", None),
        ("TRUE", True), ("<<", "<<"), ("=", "="), ("'7'", "7"),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: Any) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(f"key: {text}\n")
    read = read_yaml(path)["key"]
    assert (type(read), read) == (type(value), value)


def test_text_of_several_lines_and_nested_flow_collections_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: |\n  one\n  two\nb: {c: {d: [1, {e: 2}]}}\nnull: 1\n")
    assert read_yaml(path) == {"a": "one\ntwo\n", "b": {"c": {"d": [1, {"e": 2}]}}, "null": 1}


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: &anchor 1", "line 1: anchors and aliases are not read"),
        ("a: 1\nb: *anchor", "line 2: anchors and aliases are not read"),
        (BOMB, "line 1: anchors and aliases are not read"),
        ("a: !tag 1", "line 1: tags are not read"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: tags are not read"),
        ("a: {b: 1", "line 1: expected ',' or '}'"),
        ("a: 'open", "line 1: found unexpected end of stream"),
        ("a: 1\n\tb: 2", "line 2: found character '\\t' that cannot start any token"),
        ("a: 1\na: 2", "line 2: 'a' appears twice"),
        ("a: 1\nfree text", "line 2: could not find expected ':'"),
        ("a: 1\n    b: 2", "line 2: mapping values are not allowed here"),
        ("- 1\nb: 2", "line 2: expected <block end>, but found"),
        ("{[1]: 2}", "line 1: a key must be a text"),
        ("a: 1\n---\nb: 2", "line 2: but found another document"),
        ("a: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("a: \x00", "not valid YAML: unacceptable character #x0000"),
        ("[" * 5000, "not valid YAML: maximum recursion depth exceeded"),
        ("- " * 5000, "not valid YAML: maximum recursion depth exceeded"),
        (b"a: \xff", "not a text file in UTF-8 (byte 3)"),
    ],
)
def test_hostile_and_broken_files_are_refused_in_one_line(tmp_path: Path, content: str | bytes, expected: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    assert f"file.yaml: {expected}" in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    message = ""
    try:
        read_yaml(path)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
