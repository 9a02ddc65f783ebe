"""Reading declarative files: a mistake in one becomes one :class:`InputError` line with the path of the field."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from uarch.errors import InputError, unknown_name
from uarch.files.frozen_table import FrozenTable

Model = TypeVar("Model", bound=BaseModel)
MOST_BYTES = 1 << 28
"""Largest text file that is read: it stays in memory as a whole."""


def read_toml(path: Path) -> dict[str, Any]:
    """Contents of a TOML file; ``InputError`` (file and position) if it cannot be read or is not TOML."""
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a syntax error, or an integer of thousands of digits
        raise InputError(f"{one_line(str(path))}: not valid TOML: {one_line(str(error))}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ``InputError`` if the file cannot be read, is not JSON or holds anything else."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a syntax error, or an integer of thousands of digits
        raise InputError(f"{one_line(str(path))}: not valid JSON: {one_line(str(error))}") from error
    if not isinstance(content, dict):
        raise InputError(f"{one_line(str(path))}: must hold a JSON object, not {_shorten(content)}")
    return content


def validate(model: type[Model], data: Mapping[str, Any], source: str) -> Model:
    """``data`` as a ``model``; ``InputError`` names the first wrong field of ``source`` and counts the others."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # a default that is computed from another field does not exist where that field is wrong: one mistake, one message
        details = [each for each in error.errors(include_url=False) if each["type"] != "default_factory_not_called"]
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        raise InputError(f"{one_line(source)}: {_describe(model, details[0])}{more}") from error


def field_names(model: type[BaseModel], path: tuple[str, ...]) -> list[str] | None:
    """Names allowed below the dotted ``path`` of ``model``; ``None`` if ``path`` is a plain value or does not exist.

    A field may be a model itself, a tuple of models, or a :class:`uarch.files.frozen_table.FrozenTable`.
    """
    node: Any = model
    for name in path:
        if get_origin(node) is tuple and name.isdecimal():
            node = get_args(node)[0]
        elif _is_frozen_table(node):
            node = node.VALUE
        elif _is_model(node) and name in node.model_fields:
            node = _required(node.model_fields[name].annotation)
        else:
            return None
    if _is_model(node):
        return list(node.model_fields)
    return list(node.FIELD_NAMES) if _is_frozen_table(node) else None


@contextmanager
def refusing(source: str) -> Iterator[None]:
    """Whatever the body raises over what it reads from ``source`` is a mistake in that: :class:`InputError`, in one line.

    The bodies of readers of foreign formats stand in it, so that no damage of a file can look like a defect of the simulator.
    """
    try:
        yield
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"{one_line(source)}: cannot be read: {one_line(str(error)) or type(error).__name__}"
        ) from error


def one_line(text: str) -> str:
    """``text`` with its line breaks and runs of blanks turned into single blanks."""
    return " ".join(text.split())


def _reworded(message: str) -> str:
    """A message of pydantic in the words of all others: ``Input should be ...``, ``List should ...`` is ``must ...``."""
    message = message.replace("Value error, ", "").replace(" after validation", "")
    return re.sub(r"\b[A-Z]\w* should\b", "must", message)


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Contents of a text file; ``InputError`` if it cannot be read, is not UTF-8 or has more than ``MOST_BYTES``."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError(f"{one_line(str(path))}: more than {MOST_BYTES >> 20} MiB; at most that many are read")
        return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise InputError(f"{one_line(str(path))}: not a text file in UTF-8 (byte {error.start})") from error
    except (OSError, ValueError) as error:  # ValueError: a path that no system allows
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{one_line(str(path))}: cannot be read: {reason}") from error


def _required(annotation: Any) -> Any:
    """``X`` for an annotation ``X | None``."""
    parts = [part for part in get_args(annotation) if part is not NoneType]
    return parts[0] if len(parts) == 1 and NoneType in get_args(annotation) else annotation


def _is_model(node: Any) -> bool:
    return isinstance(node, type) and issubclass(node, BaseModel)


def _is_frozen_table(node: Any) -> bool:
    return isinstance(node, type) and issubclass(node, FrozenTable)


def _describe(model: type[BaseModel], details: ErrorDetails) -> str:
    location = [str(part) for part in details["loc"] if part != "[key]"]
    field = ".".join(location) or "file"
    if details["type"] == "missing":
        return f"{field} is missing"
    names = field_names(model, tuple(location[:-1])) if location else None
    if details["type"] == "extra_forbidden" or "[key]" in details["loc"]:
        return f"{field} is not a field; {unknown_name(location[-1], names or [])}"
    if details["type"] in {"model_type", "mapping_type"}:
        return f"{field} must be a table, not {_shorten(details['input'])}"
    return f"{field} = {_shorten(details['input'])}: {_reworded(one_line(details['msg']))}"


def _shorten(value: Any) -> str:
    text = one_line(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."
