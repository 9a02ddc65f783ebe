"""Mappings that have been searched for: remembered in memory and on disk, by chip, kernel and simulator sources."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from uarch.chip import Chip
from uarch.jit import cache_directory

_REMEMBERED: dict[str, dict[str, Any]] = {}


def store_key(chip: Chip, kernel: str) -> str:
    """Key of a search: everything that its outcome depends on."""
    digest = hashlib.sha256(_builders_key().encode())
    digest.update(chip.model_dump_json().encode())
    digest.update(kernel.encode())
    return digest.hexdigest()


def recall(key: str) -> dict[str, Any] | None:
    """The fields of the mapping found earlier, or None."""
    if key not in _REMEMBERED:
        try:
            _REMEMBERED[key] = json.loads(_path(key).read_text())
        except (OSError, json.JSONDecodeError):
            return None
    return _REMEMBERED[key]


def remember(key: str, fields: dict[str, Any]) -> None:
    """Keep a mapping. The file appears whole or not at all, whoever else writes it; a full disk only costs the memory."""
    _REMEMBERED[key] = fields
    path = _path(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w") as file:
            json.dump(fields, file)
        Path(temporary).replace(path)
    except OSError:
        return


def _path(key: str) -> Path:
    return cache_directory() / "mappings" / f"{key}.json"


@cache
def _builders_key() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
