"""Import of Accelergy's energy reference tables (ERT, versions 0.3 and 0.4) as an energy table.

An ERT gives pJ for each action of each component of somebody's architecture; which of them are events of this simulator is
for the user to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from uarch.energy.table import EnergyTable
from uarch.energy.tables_on_disk import energy_table_names, load_energy_table
from uarch.errors import InputError, unknown_name
from uarch.files.reading import one_line, read_json
from uarch.files.sourced import EventEnergy
from uarch.files.yaml_reader import read_yaml

Actions = Mapping[str, Sequence[float]]
"""``component.action`` -> pJ of each variant, such as random and repeated data."""


_INSTANCES = re.compile(r"\[[^\]]*\]")


class Assignment(NamedTuple):
    """An event of the simulator and the action that it is, ``divisor`` events (such as bytes) to an action."""

    event: str
    action: str
    divisor: float


def read_ert(path: Path) -> Actions:
    """Actions of an ERT in YAML or JSON.

    A component is named by the last part of its path, without the range of its instances: ``chip.PE[0..167].mac`` is
    ``mac``. Several variants of an action, by arguments or in several components of that name, are kept apart.

    Raises :class:`InputError` for a file that cannot be read or is no ERT.
    """
    data = read_json(path) if path.suffix == ".json" else read_yaml(path)
    where = one_line(str(path))
    tables = data.get("ERT", {}) if isinstance(data, dict) else {}
    tables = tables.get("tables") if isinstance(tables, dict) else None
    if not isinstance(tables, list) or not tables:
        raise InputError(f"{where}: has no ERT.tables; allowed: an ERT of Accelergy 0.3 or 0.4")
    actions: dict[str, list[float]] = {}
    for i, table in enumerate(tables):
        for j, action in enumerate(_list(table, "actions", f"{where}: ERT.tables.{i}")):
            field = f"{where}: ERT.tables.{i}.actions.{j}"
            path_of_component = _INSTANCES.sub("", _text(table, "name", f"{where}: ERT.tables.{i}"))
            name = f"{path_of_component.split('.')[-1]}.{_text(action, 'name', field)}"
            actions.setdefault(name, []).append(_energy(action, field))
    return actions


def _list(node: Any, key: str, field: str) -> list[Any]:
    value = node.get(key) if isinstance(node, dict) else None
    if not isinstance(value, list):
        raise InputError(f"{field}.{key}: must be a list")
    return value


def _text(node: Any, key: str, field: str) -> str:
    value = node.get(key) if isinstance(node, dict) else None
    if not isinstance(value, str):
        raise InputError(f"{field}.{key}: must be a text")
    return value


def _energy(action: Any, field: str) -> float:
    value = action.get("energy")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise InputError(f"{field}.energy: must be a number of pJ from 0 to 1e9, not {one_line(repr(value))[:40]}")
    return float(value)


def parse_assignment(text: str) -> Assignment:
    """``EVENT=COMPONENT.ACTION`` or ``EVENT=COMPONENT.ACTION/DIVISOR``; ``InputError`` for anything else."""
    event, equals, rest = text.partition("=")
    action, slash, divisor = rest.partition("/")
    try:
        count = float(divisor) if slash else 1.0
    except ValueError:
        count = 0.0
    if not equals or "." not in action or not 0 < count < float("inf"):
        raise InputError(
            f"--map {one_line(text)}: must have the form EVENT=COMPONENT.ACTION or EVENT=COMPONENT.ACTION/BYTES"
        )
    return Assignment(event.strip(), action.strip(), count)


def import_ert(actions: Actions, assignments: Iterable[Assignment], base: str, name: str, source: str) -> str:
    """TOML of an energy table that is ``base`` with some events as an ERT has them.

    An event costs the mean of its action's variants, which also span its range.

    Raises :class:`InputError` for a base, an event or an action that does not exist.
    """
    if base not in energy_table_names():
        raise InputError(f"--base {one_line(base)}: no such table; {unknown_name(base, energy_table_names())}")
    events = _events(load_energy_table(base))
    lines = [f"name = {json.dumps(name)}", f"base = {json.dumps(base)}"]
    for event, action, divisor in assignments:
        if event not in events:
            raise InputError(f"--map {event}: no such event; {unknown_name(event, events)}")
        if action not in actions:
            raise InputError(f"--map {event}={action}: not in the ERT; {unknown_name(action, sorted(actions))}")
        values = [value / divisor for value in actions[action]]
        mean = sum(values) / len(values)
        origin = f"{source}: {action}" + (f" / {divisor:g}" if divisor != 1 else "")
        ends = min(*values, mean), max(*values, mean)
        lines += ["", f"[{event}]", f"pj = {mean!r}", f"low = {ends[0]!r}", f"high = {ends[1]!r}"]
        lines += [f"source = {json.dumps(origin)}"]
    return "\n".join(lines) + "\n"


def _events(table: EnergyTable) -> list[str]:
    """Entries that hold the energy of one event."""
    return [*(name for name, entry in table.entries.items() if isinstance(entry, EventEnergy)), *table.direct_events]
