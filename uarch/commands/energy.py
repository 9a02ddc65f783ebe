"""``uarch energy``: energy tables, and import of those of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from uarch.commands.output import JsonOption, console, emit, table

TableArgument = Annotated[str, typer.Argument(metavar="NAME_OR_FILE", help="An energy table.")]
MapOption = Annotated[
    list[str],
    typer.Option(
        "--map",
        metavar="EVENT=COMPONENT.ACTION[/BYTES]",
        help="The action that an event is, and how many bytes it moves. Repeatable.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = typer.Typer(no_args_is_help=True, help="Energy tables: show one, import Accelergy's.")
    group.command()(show)
    group.command(name="import")(import_)
    app.add_typer(group, name="energy")


def show(name: TableArgument, as_json: JsonOption = False) -> None:
    """Show a table: every value with its range and source."""
    from uarch.energy import load_energy_table

    loaded = load_energy_table(name)
    emit(loaded.model_dump(mode="json", exclude_none=True), as_json, lambda: _render(loaded))


def import_(
    ert: Annotated[Path, typer.Argument(metavar="ERT.yaml", help="An ERT of Accelergy 0.3 or 0.4, YAML or JSON.")],
    assignments: MapOption,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.toml", help="Where the table goes.")],
    base: Annotated[str, typer.Option("--base", help="Table that all other values come from.")] = "n7",
    as_json: JsonOption = False,
) -> None:
    """Make an energy table from the actions of an Accelergy ERT."""
    from results.files import check_replaceable, replace_when_complete
    from uarch.accelergy import import_ert, parse_assignment, read_ert

    check_replaceable(output)
    chosen = [parse_assignment(text) for text in assignments]
    text = import_ert(read_ert(ert), chosen, base, output.stem, ert.name)
    with replace_when_complete(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    result = {"table": str(output), "base": base, "events": [event for event, _, _ in chosen]}
    emit(result, as_json, lambda: console().print(f"{output}: {len(chosen)} events, others as {base}"))


def _render(loaded: Any) -> None:
    rows = [(name, *_values(entry), entry.source) for name, entry in loaded.entries.items()]
    columns = ("entry", "value", "low", "high", "unit", "source")
    console().print(table(f"{loaded.name}: {loaded.description}", columns, rows, left=6, wrapping="source"))


def _values(entry: Any) -> tuple[str, str, str, str]:
    """Value, both ends of its range, and unit."""
    for field, unit in (("factor", ""), ("watts", "W"), ("pj", "pJ")):
        if hasattr(entry, field):
            columns = (getattr(entry, name) for name in (field, "low", "high"))
            value, low, high = ("\n".join(f"{part:.3g}" for part in _parts(column)) for column in columns)
            return value, low, high, unit
    raise TypeError(f"not an entry: {entry!r}")


def _parts(value: Any) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
