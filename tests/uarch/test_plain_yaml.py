"""The reader of plain YAML: what it reads, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uarch.errors import InputError
from uarch.importers.plain_yaml import read_plain_yaml

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
    assert read_plain_yaml(path) == document


def test_comments_quotes_and_flow_collections(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(
        "---\n# comment\nname: 'a # b: c'  \nempty: {}\nlist: [1, 2.5, x]  # after\nmap: {a: 1, b: }\n\nnothing:\nlast: \"y\"\n"
    )
    assert read_plain_yaml(path) == {
        "name": "a # b: c",
        "empty": {},
        "list": [1, 2.5, "x"],
        "map": {"a": 1, "b": None},
        "nothing": None,
        "last": "y",
    }
    path.write_text("# nothing\n")
    assert read_plain_yaml(path) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &anchor 1", "line 1: not supported: '&anchor 1'"),
        ("a: *anchor", "line 1: not supported"),
        ("a: !tag 1", "line 1: not supported"),
        ("a: |\n  text", "line 1: not supported"),
        ("a: {b: {c: 1}}", "line 1: not supported"),
        ("a: {b: 1", "line 1: not supported"),
        ("a: 'open", "line 1: not a quoted text"),
        ("a: 1\n\tb: 2", "line 2: tabs for indentation"),
        ("a: 1\na: 2", "line 2: 'a' appears twice"),
        ("a: 1\nfree text", "line 2: not a key and its value: 'free text'"),
        ("a: 1\n    b: 2", "line 2: unexpected indentation"),
        ("- 1\nb: 2", "line 2: unexpected indentation"),
    ],
)
def test_more_than_plain_yaml_is_refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_plain_yaml(path)
    assert f"file.yaml: {expected}" in str(caught.value)
    assert "\n" not in str(caught.value)
