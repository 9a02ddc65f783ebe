"""``uarch energy``: an energy table with ranges and sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from uarch.commands.output import JsonOption, console, emit, table
from uarch.commands.sections import Section

if TYPE_CHECKING:
    from uarch.energy.table import EnergyTable

TableArgument = Annotated[str, typer.Argument(metavar="NAME_OR_FILE", help="An energy table, such as n7 or n4.")]

SECTION = Section.LOOK_UP


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(energy)


def energy(name: TableArgument, as_json: JsonOption = False) -> None:
    """Show an energy table: every value with its range and source."""
    from uarch.energy.tables_on_disk import load_energy_table

    loaded = load_energy_table(name)
    emit(loaded.model_dump(mode="json", exclude_none=True), as_json, lambda: _render(loaded))


def _render(loaded: EnergyTable) -> None:
    rows = [(name, *_values(entry), entry.source) for name, entry in loaded.entries.items()]
    columns = ("entry", "value", "low", "high", "unit", "source")
    console().print(table(f"{loaded.name}: {loaded.description}", columns, rows, left=6, wrapping="source"))


def _values(entry: Any) -> tuple[str, str, str, str]:
    """Value, both ends of its range, and unit."""
    field, unit = next(pair for pair in (("factor", ""), ("watts", "W"), ("pj", "pJ")) if hasattr(entry, pair[0]))
    value, low, high = (_lines(getattr(entry, name)) for name in (field, "low", "high"))
    return value, low, high, unit


def _lines(value: float | tuple[float, ...]) -> str:
    """A number, or those of a column below each other."""
    return "\n".join(f"{part:.3g}" for part in (value if isinstance(value, tuple) else (value,)))
