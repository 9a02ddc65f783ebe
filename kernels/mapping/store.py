"""Mappings that have been searched for: remembered in memory and on disk, by chip, kernel and simulator sources."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from uarch.chip.schema import Chip
from uarch.dram.standards.standard import load_standard
from uarch.files.derived import keep
from uarch.jit import cache_directory

_REMEMBERED: dict[str, dict[str, Any]] = {}


def store_key(chip: Chip, kernel: bytes, trials: int) -> str:
    """Key of a search: everything that its outcome depends on; ``kernel`` identifies the kernel whatever its mapping."""
    digest = hashlib.sha256(f"{_builders_key()} {trials}".encode())
    digest.update(chip.model_dump_json().encode())
    digest.update(load_standard(chip.memory.standard).model_dump_json().encode())
    digest.update(kernel)
    return digest.hexdigest()


def recall(key: str) -> dict[str, Any] | None:
    """What :func:`remember` was given earlier, or None; a file that holds something else than a table counts as none."""
    if key not in _REMEMBERED:
        try:
            outcome = json.loads(_path(key).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(outcome, dict):
            return None
        _REMEMBERED[key] = outcome
    return _REMEMBERED[key]


def remember(key: str, outcome: dict[str, Any]) -> None:
    """Keep the outcome of a search; without space for a file it is known to this process alone."""
    _REMEMBERED[key] = outcome
    keep(_path(key), json.dumps(outcome).encode())


def _path(key: str) -> Path:
    return cache_directory() / "mappings" / f"{key}.json"


@cache
def _builders_key() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
