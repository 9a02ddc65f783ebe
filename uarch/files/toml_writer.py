"""A chip as the text of a chip file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def to_toml(table: Mapping[str, Any], comments: Mapping[str, str] | None = None) -> str:
    """TOML of nested tables; what is None is left out.

    Args:
        table: strings, numbers, booleans, lists of these, and tables.
        comments: dotted path of a field -> what stands behind its value.
    """
    return "\n".join(_lines(table, "", comments or {})).strip() + "\n"


def _lines(table: Mapping[str, Any], path: str, comments: Mapping[str, str]) -> Iterator[str]:
    for name, value in table.items():
        if not isinstance(value, Mapping) and value is not None:
            comment = comments.get(path + name)
            yield f"{name} = {_value(value)}" + (f"  # {comment}" if comment else "")
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield ""
            yield f"[{path}{name}]"
            yield from _lines(value, f"{path}{name}.", comments)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"not TOML: {value!r}")
