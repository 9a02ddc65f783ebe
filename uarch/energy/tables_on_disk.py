"""Energy tables from files: those of ``uarch/energy/tables`` by name, a user's own by path.

A table may be ``base``d on one of the package's: it then states only what differs, and may ``scale`` logic, SRAM and wires as a
whole, which is how a neighbouring technology node is described.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field

from uarch.dram.standards.technology import TECHNOLOGIES, load_technology
from uarch.energy.table import EnergyTable, SramEnergy
from uarch.errors import InputError, unknown_name
from uarch.files.presets import Presets
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section
from uarch.files.sourced import EventEnergy, Factor

__all__ = ["EnergyTable", "energy_table_names", "load_energy_table"]

TABLES = Presets("energy table", Path(__file__).parent / "tables")
"""Energy tables that come with the package."""

_MATRIX = ("matrix_mac",)
_LOGIC = ("vector_op", "special_op", "instruction_lane")
_SRAM = ("register_byte", "sram")
_WIRE = ("noc_byte_mm",)


class Scale(Section):
    """How a technology node differs from its base table."""

    logic: Factor
    matrix: Factor | None = None
    """Arithmetic of the arrays; as other logic if absent."""
    sram: Factor
    wire: Factor


class _Derived(Section):
    """Fields that a table based on another one may have beside values of its own."""

    base: str = Field(min_length=1)
    scale: Scale | None = None


def energy_table_names() -> list[str]:
    """Names of the tables that come with the package, sorted."""
    return list(TABLES.names)


def load_energy_table(name_or_path: str) -> EnergyTable:
    """Load an energy table by name or from a TOML file.

    A file with ``base = NAME`` may leave out all but ``name`` and what differs; one without may leave out the sections of
    DRAM. Raises ``InputError`` for an unknown table or an invalid file.
    """
    return _load(name_or_path, TABLES.stamp(name_or_path))


@lru_cache(maxsize=64)
def _load(name_or_path: str, stamp: str) -> EnergyTable:
    path = TABLES.find(name_or_path, "energy.table")
    source = f"energy table {path.stem}"
    own = read_toml(path)
    if "base" in own:
        derived = validate(_Derived, {key: own.pop(key) for key in ("base", "scale") if key in own}, source)
        if derived.base not in energy_table_names():
            allowed = unknown_name(derived.base, energy_table_names())
            raise InputError(f"{source}: base = {derived.base!r}: no such table; {allowed}")
        data = _scaled(derived, own.get("name", path.stem))
    else:
        data = _of_memory()
    return validate(EnergyTable, _merged(data, own), source)


def _of_memory() -> dict[str, Any]:
    """The sections of DRAM, which do not depend on the logic process."""
    technologies = {name: load_technology(name) for name in TECHNOLOGIES.names}
    return {
        "dram_device": {name: each.device_energy.model_dump() for name, each in technologies.items()},
        "dram_interface_byte": {name: each.interface_byte.model_dump() for name, each in technologies.items()},
    }


def _merged(data: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """``data`` with the entries of ``own`` in place of its own; an entry is replaced as a whole."""
    merged = dict(data)
    for key, value in own.items():
        below = merged.get(key)
        groups = isinstance(value, dict) and isinstance(below, dict) and "source" not in below
        merged[key] = _merged(below, value) if groups and isinstance(below, dict) else value
    return merged


def _scaled(derived: _Derived, name: str) -> dict[str, Any]:
    """Contents of the base table, its logic, SRAM and wires scaled."""
    base = load_energy_table(derived.base)
    data = base.model_dump()
    if derived.scale is None:
        return data
    scale = derived.scale
    groups = ((scale.matrix or scale.logic, _MATRIX), (scale.logic, _LOGIC), (scale.sram, _SRAM), (scale.wire, _WIRE))
    for factor, sections in groups:
        note = f"; x {factor.factor:g} from {base.name} to {name}"
        for section in sections:
            entry = getattr(base, section)
            if isinstance(entry, EventEnergy | SramEnergy):
                data[section] = _times(entry, factor, note)
            else:
                data[section] = {part: _times(entry[part], factor, note) for part in data[section]}
    return data


def _times(entry: EventEnergy | SramEnergy, factor: Factor, note: str) -> dict[str, Any]:
    """Contents of an entry, scaled with its range."""
    data = entry.model_dump()
    for field, times in (("pj", factor.factor), ("low", factor.low), ("high", factor.high)):
        values = data[field]
        data[field] = tuple(value * times for value in values) if isinstance(values, tuple) else values * times
    data["source"] += note
    return data
