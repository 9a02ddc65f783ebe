"""Keys of derived data. The rule: *a key has every byte that the answer is a function of.*

An answer depends on sources (:func:`source_key`) and on what was asked (:func:`content_key`), the contents of files that
are named in the question included.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

_ROOT = Path(__file__).parents[2]
_SUFFIXES = (".py", ".toml", ".json")
_LIBRARIES = ("numpy", "numba")
CANNOT_MATTER = (
    "uarch/__main__.py",
    "uarch/cli.py",
    "uarch/chip_summary.py",
    "uarch/commands/*",
    "uarch/importers/*",
    "workloads/bench/*",
    "workloads/experiments/*.toml",
    "workloads/measuring/*",
    "workloads/sweep/*.toml",
    "results/exports/*",
    "results/gallery/*",
    "results/plots/*",
    "results/reference/*",
    "results/report/*",
)
"""Sources that no remembered answer comes from: they ask the questions, or show the answers."""


@cache
def source_key(*packages: str, suffixes: tuple[str, ...] = _SUFFIXES) -> str:
    """Hash the sources of packages: code and data files in all their folders, without those of ``CANNOT_MATTER``.

    Packages import in one direction (uarch, kernels, workloads, results): an answer that is made in one of them depends on
    it and on those before it.
    """
    digest = hashlib.blake2b(digest_size=16)
    for library in _LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    digest.update(f"python {sys.version_info[:2]}\n".encode())
    for path in source_files(*packages, suffixes=suffixes):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_ROOT).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def source_files(*packages: str, suffixes: tuple[str, ...] = _SUFFIXES) -> list[Path]:
    """List the files that :func:`source_key` hashes, sorted."""
    return sorted(
        path
        for package in packages
        for path in (_ROOT / package).rglob("*")
        if path.suffix in suffixes and can_matter(path.relative_to(_ROOT).as_posix())
    )


def can_matter(path: str) -> bool:
    """Whether a remembered answer can depend on a source, given by its path from the folder of all packages."""
    return not any(fnmatchcase(path, pattern) for pattern in CANNOT_MATTER)


def content_key(*parts: object) -> str:
    """Hash what a question consists of: equal for equal parts, and only for these.

    Every text anywhere in the parts that names a file stands for the file's contents as well, and so do the texts in a
    TOML or JSON file: a chip's energy table and menu, a stack's communication library, a model's configuration.

    Parameters
    ----------
    parts
        Pydantic models, dataclasses, enums, mappings, tuples, lists, texts, bytes, numbers, None and arrays, nested at will.

    Raises
    ------
    TypeError
        A part is of another type.

    Examples
    --------
    >>> content_key("ab", "c") == content_key("a", "bc")
    False
    """
    contents = _Contents()
    contents.add(parts)
    return contents.digest.hexdigest()


def file_key(name_or_path: str) -> str:
    """Hash the contents of the file that a text names; empty if it names none, as the name of a preset does."""
    path = _named_file(name_or_path)
    return "" if path is None else content_key(str(path))


class _Contents:
    """A hash that grows part by part, each with its type and length so that none can pass for another."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=20)
        self._files: set[Path] = set()

    def add(self, part: object) -> None:
        """Add one part and all that it holds."""
        if isinstance(part, BaseModel):
            text = part.model_dump_json()
            self._bytes(type(part).__qualname__, text.encode())
            self._add_files(json.loads(text))
        elif is_dataclass(part) and not isinstance(part, type):
            values = [(field.name, getattr(part, field.name)) for field in fields(part)]
            self._group(type(part).__qualname__, values)
        elif isinstance(part, Enum):
            self._group(type(part).__qualname__, [part.name])
        elif isinstance(part, str):
            self._bytes("text", part.encode("utf-8", "surrogatepass"))
            self._add_file(part)
        elif isinstance(part, bytes | bytearray | memoryview):
            self._bytes("bytes", bytes(part))
        elif isinstance(part, np.ndarray):
            self._bytes(f"array {part.dtype.descr} {part.shape}", np.ascontiguousarray(part).tobytes())
        elif isinstance(part, Mapping):
            self._group("table", sorted(part.items(), key=repr))
        elif isinstance(part, tuple | list):
            self._group("list", part)
        elif part is None or isinstance(part, bool | int | float):
            self._bytes(type(part).__name__, repr(part).encode())
        elif isinstance(part, np.generic):
            self.add(part.item())
        else:
            raise TypeError(f"not part of a question: {part!r}")

    def _group(self, name: str, parts: tuple[Any, ...] | list[Any]) -> None:
        self.digest.update(f"{name} of {len(parts)}\n".encode())
        for part in parts:
            self.add(part)

    def _bytes(self, name: str, content: bytes) -> None:
        self.digest.update(f"{name} {len(content)}\n".encode() + content)

    def _add_file(self, text: str) -> None:
        path = _named_file(text)
        if path is None or path in self._files:
            return
        self._files.add(path)
        try:
            content = path.read_bytes()
        except OSError:  # whoever needs it says so
            return
        self._bytes("file", content)
        self._add_files(_parsed(path.suffix, content))

    def _add_files(self, value: Any) -> None:
        for text in _texts(value):
            self._add_file(text)


def _named_file(text: str) -> Path | None:
    return Path(text).resolve() if os.path.isfile(text) else None  # noqa: PTH113 (half the time, and no text is an error)


def _parsed(suffix: str, content: bytes) -> Any:
    """Contents of a TOML or JSON file; None of any other, or if there is a mistake in it."""
    try:
        if suffix == ".toml":
            return tomllib.loads(content.decode())
        return json.loads(content) if suffix == ".json" else None
    except (ValueError, RecursionError):
        return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
