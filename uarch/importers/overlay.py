"""Chips from another tool's file, laid over a chip that says the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.files.reading import validate
from uarch.files.toml_writer import to_toml

_OF_ONE_DIE = ("area_mm2", "cores", "l2_bytes", "memory_interfaces")
"""Fields of a die that are not taken over from another chip: the area is modelled."""


def chip_text(name: str, like: str, fields: Mapping[str, tuple[Any, str]], source: str, description: str) -> str:
    """TOML of a chip that takes ``fields`` from another tool's file and everything else from the chip ``like``.

    Args:
        name: of the new chip; characters that a name cannot have become dashes.
        like: a preset, or the path of a chip file.
        fields: dotted path -> (value, where it comes from, as a comment).
        source: the file, for the chip's sources.
        description: of the chip.

    Raises :class:`uarch.InputError` if ``like`` does not exist or the result is no valid chip.
    """
    data = load_chip(like).model_dump(mode="json")
    data |= {
        "name": re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.")[:80] or "imported",
        "description": description,
        "kind": "model",
        "sources": [source, f"the chip {like} for every value without a comment"],
    }
    data["die"] |= dict.fromkeys(_OF_ONE_DIE)
    for path, (value, _) in fields.items():
        *tables, field = path.split(".")
        table = data
        for part in tables:
            table = table[part]
        table[field] = value
    checked = validate(Chip, data, source)
    return to_toml(checked.model_dump(mode="json"), {path: comment for path, (_, comment) in fields.items()})
