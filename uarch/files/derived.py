"""Stores of derived data: answers that took time, kept in the cache directory and checked when they are read.

Nothing is lost without them. A file is named after its key (:mod:`uarch.files.keys`) and carries a checksum of key and
content; one that does not match, or whose content is not what the store keeps, is made anew.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from uarch.files.cache_directory import cache_directory
from uarch.files.keys import content_key, source_key
from uarch.files.writing import write_output

T = TypeVar("T")
Arrays = Mapping[str, npt.NDArray[Any]]

_MARK = b"\nsha256 "
_SEAL_BYTES = len(_MARK) + 64 + 1


def sealed(content: bytes, key: str = "") -> bytes:
    """Return ``content`` with a checksum of itself and ``key`` at its end."""
    return content + _MARK + hashlib.sha256(key.encode() + content).hexdigest().encode() + b"\n"


def unsealed(content: bytes, key: str = "") -> bytes:
    """Return what :func:`sealed` was given; ``ValueError`` if a bit of it or of its checksum has changed."""
    inner = content[:-_SEAL_BYTES]
    if sealed(inner, key) != content:
        raise ValueError("its checksum does not match")
    return inner


def say_damaged(path: Path) -> None:
    """Say on standard error that a file of the cache is made anew."""
    print(f"note: {path}: damaged, made anew", file=sys.stderr)  # noqa: T201


@dataclass(frozen=True)
class Store(Generic[T]):
    """Answers of one kind, by key; see :func:`json_store` and :func:`array_store`."""

    name: str
    """Folder below the cache directory."""
    packages: tuple[str, ...]
    """Packages whose sources the answers depend on."""
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    """Inverse of ``encode``; raises ``ValueError`` for anything that is not its outcome."""
    remembers: bool = True
    """Whether this process also keeps the answers in memory: what makes do without a disk."""
    known: dict[str, T] = field(default_factory=dict, repr=False, compare=False)

    def key(self, *parts: object) -> str:
        """Return the key of an answer to ``parts``, as :func:`uarch.files.keys.content_key` takes them, by these sources."""
        return content_key(source_key(*self.packages), *parts)

    def recall(self, key: str) -> T | None:
        """Return what :meth:`remember` was given for ``key``, by whichever process; None if that is not known."""
        if key in self.known:
            return self.known[key]
        path = self.path(key)
        try:
            content = path.read_bytes() if path is not None else None
        except OSError:
            content = None
        if path is None or content is None:
            return None
        try:
            answer = self.decode(unsealed(content, key))
        except ValueError:
            say_damaged(path)
            return None
        if self.remembers:
            self.known[key] = answer
        return answer

    def remember(self, key: str, answer: T) -> None:
        """Keep an answer; where there is no space for a file, only as long as this process lives."""
        if self.remembers:
            self.known[key] = answer
        path = self.path(key)
        if path is not None:
            with suppress(OSError):
                path.parent.mkdir(mode=0o700, exist_ok=True)
                write_output(path, sealed(self.encode(answer), key), durable=False)

    def path(self, key: str) -> Path | None:
        """Return the file of an answer; None if there is no cache directory."""
        directory = cache_directory()
        return None if directory is None else directory / self.name / key


def json_store(name: str, answer: type[T], *packages: str) -> Store[T]:
    """Make a store of plain values (dataclasses, named tuples, numbers, texts) as JSON that pydantic checks.

    A file counts only if it is to the byte what the store would write for the value in it: that leaves out infinite
    numbers, values of another type, and whatever is missing or too much.
    """
    adapter: TypeAdapter[T] = TypeAdapter(answer)

    def decode(content: bytes) -> T:
        value = adapter.validate_json(content, strict=True)
        if adapter.dump_json(value) != content:
            raise ValueError("not as it was written")
        return value

    return Store(name, packages, adapter.dump_json, decode)


def array_store(
    name: str, to_arrays: Callable[[T], Arrays], from_arrays: Callable[[Arrays], T], *packages: str, remembers: bool
) -> Store[T]:
    """Make a store of NumPy arrays in NPZ files.

    ``from_arrays`` must check names, types and shapes, and raise ``ValueError`` or ``KeyError``.
    """

    def encode(answer: T) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **to_arrays(answer))
        return buffer.getvalue()

    def decode(content: bytes) -> T:
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                return from_arrays(dict(file.items()))
        except (KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(str(error)) from error

    return Store(name, packages, encode, decode, remembers)


def checked(array: npt.NDArray[Any], dtype: npt.DTypeLike, shape: tuple[int | None, ...]) -> npt.NDArray[Any]:
    """Return ``array`` if its type and shape (None: any length) are these and its numbers finite; else ``ValueError``."""
    fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if array.dtype != np.dtype(dtype) or not fits:
        raise ValueError(f"{array.dtype} {array.shape} instead of {np.dtype(dtype)} {shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("numbers that are not finite")
    return array
