"""Stores without what earlier runs have left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from uarch.files import derived
from uarch.files.derived import Store


def keep_in(directory: Path | None, patch: pytest.MonkeyPatch, *stores: Store[Any]) -> None:
    """Have stores keep their files below ``directory`` (None: nowhere), and begin with nothing in memory."""
    patch.setattr(derived, "cache_directory", lambda: directory)
    for store in stores:
        store.known.clear()


def flip(path: Path, position: int, bit: int = 0) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)
