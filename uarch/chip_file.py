"""Chips from files: presets by name, custom chips by path, and ``dotted.field=value`` overrides of both."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from uarch.chip.schema import Chip
from uarch.errors import InputError, unknown_name
from uarch.files.presets import Presets
from uarch.files.reading import field_names, one_line, read_toml, validate
from uarch.silicon.area import modelled_die_area_mm2

CHIPS = Presets("chip", Path(__file__).parent / "chips")
"""Chips that come with the package."""

_DIE_AREA = ("die", "area_mm2")


def preset_names() -> list[str]:
    """Names of the chips that come with the package, sorted."""
    return list(CHIPS.names)


def load_chip(name_or_path: str, overrides: Sequence[str] = ()) -> Chip:
    """Load a chip.

    Parameters
    ----------
    name_or_path
        A preset (see :func:`preset_names`) or the path of a TOML file of the same layout.
    overrides
        ``dotted.field=value`` each, such as ``memory.channels=80``; values are written as in TOML, strings may be bare.
        A published ``die.area_mm2`` that is not itself overridden changes in the ratio of the modelled areas.

    Returns
    -------
    Chip
        The chip with its overrides, checked.

    Raises
    ------
    InputError
        For an unknown chip, an unreadable or malformed file, an unknown field or a value out of range.

    Examples
    --------
    >>> import uarch
    >>> uarch.load_chip("h100").memory.bandwidth_bytes_per_second
    3352000000000.0
    >>> uarch.load_chip("h100", ["core.count=100", "core.systolic.cols=64"]).core.count
    100
    """
    data = read_toml(CHIPS.find(name_or_path))
    source = f"chip {name_or_path}"
    stated = deepcopy(data)
    changed = {_apply(data, override) for override in overrides}
    chip = validate(Chip, data, source)
    if chip.die.cores is not None and chip.die.cores < chip.core.count and ("core", "count") not in changed:
        raise InputError(
            f"{source}: die.cores = {chip.die.cores}: must be at least core.count = {chip.core.count}, or left out"
        )
    if changed and _DIE_AREA not in changed and chip.die.area_mm2 is not None:
        return _rescaled(chip, chip.die.area_mm2, validate(Chip, stated, source))
    return chip


def _rescaled(chip: Chip, area_mm2: float, stated: Chip) -> Chip:
    """``chip`` with the published die area of ``stated``, the chip before overrides, changed as the modelled area is."""
    before, after = modelled_die_area_mm2(stated), modelled_die_area_mm2(chip)
    if before == after:
        return chip
    return chip.model_copy(update={"die": chip.die.model_copy(update={"area_mm2": area_mm2 * after / before})})


def _apply(data: dict[str, Any], override: str) -> tuple[str, ...]:
    """Write one override into the contents of a chip file and return its field; the whole chip is checked later."""
    field, equals, text = override.partition("=")
    shown = f"--set {one_line(override)}"
    path = tuple(part.strip() for part in field.split("."))
    if not equals or not all(path):
        raise InputError(f"{shown}: must have the form dotted.field=value, such as memory.channels=80")
    for depth, name in enumerate(path):
        names = field_names(Chip, path[:depth])
        if names is None:
            raise InputError(f"{shown}: {'.'.join(path[:depth])} is a value, it has no fields")
        if name not in names:
            wrong = ".".join(path[: depth + 1])
            raise InputError(f"{shown}: {wrong} is not a field; {unknown_name(name, names)}")
    table = data
    for name in path[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise InputError(f"{shown}: {name} of this chip must be a table")
    table[path[-1]] = _value(text.strip())
    return path


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text
