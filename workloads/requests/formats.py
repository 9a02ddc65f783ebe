"""Layouts of request files as data: the schema of ``formats.toml``."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path

from pydantic import Field

from uarch.errors import InputError
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section


class Format(Section):
    """Columns of one kind of request file."""

    description: str
    arrival: str
    seconds: float | None = Field(default=None, gt=0)
    """Seconds of one unit of the arrival column; None: dates such as ``2023-11-16 18:17:03.9799600``."""
    input: str
    output: str
    prefix: str | None = None
    """Column of the hashes of the prompt's blocks, separated by blanks; a file need not have it."""
    prefix_tokens: int = Field(default=0, ge=0)
    """Tokens of a hashed block."""

    @property
    def columns(self) -> tuple[str, str, str]:
        """Columns that a file must have."""
        return self.arrival, self.input, self.output


@cache
def formats() -> dict[str, Format]:
    """Return the known layouts by name."""
    path = Path(__file__).with_name("formats.toml")
    return {name: validate(Format, table, f"{path} {name}") for name, table in read_toml(path).items()}


def format_of(columns: Collection[str], where: str) -> Format:
    """Return the layout of a file with these columns.

    Raises
    ------
    InputError
        If no layout has its columns; the message names those that the nearest layout misses.
    """
    for candidate in formats().values():
        if set(candidate.columns) <= set(columns):
            return candidate
    nearest = max(formats().values(), key=lambda known: len(set(known.columns) & set(columns)))
    missing = [name for name in nearest.columns if name not in columns]
    raise InputError(f"{where}: column {missing[0]!r} is missing; needed: {', '.join(nearest.columns)}")
