"""The part of YAML that tools write by default: block mappings and sequences, plain and quoted scalars on one line, comments.

Anchors, tags, multi-line scalars and several documents are refused: what they would say is not read as something else.
Flow collections are read if they fit on a line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from uarch.errors import InputError
from uarch.files.reading import one_line, read_text

_KEY = re.compile(r"""("[^"]*"|'[^']*'|[^\s#:{}\[\],&*!|>'"%@`-][^#:{}\[\],]*?|-[^\s:#][^#:]*?)\s*:(?:\s+(.*)|$)""")
_COMMENT = re.compile(r"(^|\s)#.*$")
_QUOTED = re.compile(r"""(?:"[^"\\]*"|'[^']*')""")
_UNSUPPORTED = "&*!|>%@`"
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class _Line(NamedTuple):
    number: int
    indent: int
    text: str


class _Reader:
    """Lines that are still to be read, and where they come from."""

    def __init__(self, path: Path) -> None:
        self.name = one_line(str(path))
        self.lines = [line for line in map(self._line, enumerate(read_text(path).splitlines(), 1)) if line.text]
        if self.lines and self.lines[0].text == "---":
            del self.lines[0]

    def _line(self, numbered: tuple[int, str]) -> _Line:
        number, raw = numbered
        text = raw if _QUOTED.search(raw) else _COMMENT.sub("", raw)
        stripped = text.strip()
        if stripped.startswith("#"):
            stripped = ""
        indent = len(text) - len(text.lstrip(" "))
        if stripped and text[indent] == "\t":
            raise self.error(number, "tabs for indentation")
        return _Line(number, indent, stripped)

    def error(self, number: int, what: str) -> InputError:
        """For a line that cannot be read."""
        return InputError(f"{self.name}: line {number}: {what}; allowed: block YAML as Accelergy writes it, or JSON")


def read_plain_yaml(path: Path) -> Any:
    """Contents of a file in this part of YAML; ``InputError`` with the line if it uses more than that."""
    reader = _Reader(path)
    if not reader.lines:
        return None
    value = _block(reader, reader.lines[0].indent)
    if reader.lines:
        raise reader.error(reader.lines[0].number, "unexpected indentation")
    return value


def _block(reader: _Reader, indent: int) -> Any:
    """The mapping, sequence or scalar that begins at the first line left, whose indentation is ``indent``."""
    first = reader.lines[0]
    if first.text == "-" or first.text.startswith("- "):
        return _sequence(reader, indent)
    if _KEY.fullmatch(first.text):
        return _mapping(reader, indent)
    del reader.lines[0]
    return _scalar(reader, first.number, first.text)


def _sequence(reader: _Reader, indent: int) -> list[Any]:
    items = []
    while reader.lines and reader.lines[0].indent == indent and reader.lines[0].text[:2] in ("-", "- "):
        line = reader.lines[0]
        content = line.text[1:].lstrip(" ")
        if content:
            inner = indent + len(line.text) - len(content)
            reader.lines[0] = _Line(line.number, inner, content)
            items.append(_block(reader, inner))
        else:
            del reader.lines[0]
            items.append(_nested(reader, indent + 1))
    return items


def _mapping(reader: _Reader, indent: int) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    while reader.lines and reader.lines[0].indent == indent:
        line = reader.lines[0]
        match = _KEY.fullmatch(line.text)
        if not match:
            raise reader.error(line.number, f"not a key and its value: {line.text[:40]!r}")
        del reader.lines[0]
        key = match[1].strip("\"'")
        if key in mapping:
            raise reader.error(line.number, f"{key!r} appears twice")
        # a sequence may stand at the indentation of the key that it belongs to
        same = bool(reader.lines) and reader.lines[0].indent == indent and reader.lines[0].text[:2] in ("-", "- ")
        mapping[key] = (
            _scalar(reader, line.number, match[2]) if match[2] else _nested(reader, indent if same else indent + 1)
        )
    return mapping


def _nested(reader: _Reader, least: int) -> Any:
    """The block of deeper indentation that follows, None if there is none."""
    if not reader.lines or reader.lines[0].indent < least:
        return None
    return _block(reader, reader.lines[0].indent)


def _scalar(reader: _Reader, number: int, text: str) -> Any:
    if text[0] in _UNSUPPORTED:
        raise reader.error(number, f"not supported: {text[:40]!r}")
    if text[0] in "{[":
        return _flow(reader, number, text)
    if text[0] in "\"'":
        if not _QUOTED.fullmatch(text):
            raise reader.error(number, f"not a quoted text: {text[:40]!r}")
        return text[1:-1]
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _flow(reader: _Reader, number: int, text: str) -> Any:
    """A flow collection of scalars on one line."""
    if text[-1] != {"{": "}", "[": "]"}[text[0]] or set(text[1:-1]) & set("{}[]"):
        raise reader.error(number, f"not supported: {text[:40]!r}")
    parts = [part.strip() for part in text[1:-1].split(",") if part.strip()]
    if text[0] == "[":
        return [_scalar(reader, number, part) for part in parts]
    pairs = [_KEY.fullmatch(part) for part in parts]
    if not all(pairs):
        raise reader.error(number, f"not supported: {text[:40]!r}")
    return {pair[1].strip("\"'"): _scalar(reader, number, pair[2]) if pair[2] else None for pair in pairs if pair}
