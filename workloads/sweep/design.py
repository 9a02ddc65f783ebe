"""One point of a sweep as a design: its chip, its runs, and the value of every name that expressions use."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, NamedTuple

from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.errors import InputError
from workloads.settings.choices import Fidelity
from workloads.settings.phase import Phase
from workloads.settings.run_options import RunOptions
from workloads.sweep.expressions import Value, parsed
from workloads.sweep.names import ALL_RUNS, PHYSICAL, RUN_FIELDS, derives, output_name, owner
from workloads.sweep.schema import OPTIONS, Sweep


class Point(NamedTuple):
    """A place in the space of a sweep."""

    number: int
    values: dict[str, Value]
    """Value of each field that the point sets."""
    is_given: bool = False
    """Whether the file lists it: derived fields are not set in it."""


@dataclass
class Design:
    """A point with all that follows from it, each part made when it is first asked for.

    What cannot be made raises :class:`uarch.InputError`: a chip with a value out of range, an expression without a value.
    """

    sweep: Sweep
    point: Point
    outputs: dict[str, Value] = field(default_factory=dict)
    """Results of the runs by name, once they are known."""
    _physical: dict[str, float] = field(default_factory=dict)

    @cached_property
    def assigned(self) -> dict[str, Value]:
        """Value of every field that is set: by the point, and by derivation from fields before that."""
        values = dict(self.point.values)
        for name, text in self.sweep.derived.items():
            if not self.point.is_given and owner(self.sweep, name) is not None:
                values[name] = parsed(text).value(lambda asked: self._value(asked, values, self._base))
        return values

    @cached_property
    def chip(self) -> Chip:
        """Chip of this point."""
        fields = [name for name in self.assigned if owner(self.sweep, name) == "chip"]
        overrides = tuple(f"{name}={json.dumps(self.assigned[name])}" for name in fields)
        return load_chip(self._chip_name, (*self._base_set, *overrides)) if overrides else self._base()

    @property
    def stack(self) -> str:
        """Name of the software stack of this point."""
        return str(self.assigned.get("stack", self.sweep.stack))

    def model(self, run: str) -> str:
        """Name of the model of a run at this point."""
        return str(self._run_fields(run, self.assigned)["model"])

    def phase(self, run: str, fidelity: Fidelity) -> Phase:
        """Phase of a run at this point."""
        fields = self._run_fields(run, self.assigned)
        options: dict[str, Any] = {name: fields[name] for name in OPTIONS if name in fields}
        return Phase.of(fields["phase"], fields["batch"], fields["seq"], RunOptions(**options, fidelity=fidelity))

    def value(self, name: str) -> Value:
        """Value of a name in an expression: see :mod:`workloads.sweep.names`."""
        if name in PHYSICAL:
            if name not in self._physical:
                self._physical[name] = float(PHYSICAL[name](self.chip))
            return self._physical[name]
        output = output_name(self.sweep, name)
        if output is not None:
            return self.outputs[output]
        if derives(self.sweep, name):
            return parsed(self.sweep.derived[name]).value(self.value)
        return self._value(name, self.assigned, lambda: self.chip)

    def _value(self, name: str, values: Mapping[str, Value], chip: Callable[[], Chip]) -> Value:
        """Value of a field, or of what is derived from fields, where ``values`` are set and the others as in ``chip``."""
        if name in values:
            return values[name]
        if derives(self.sweep, name):
            return parsed(self.sweep.derived[name]).value(lambda asked: self._value(asked, values, chip))
        kind = owner(self.sweep, name)
        if kind == "choice":
            return self._chip_name if name == "chip" else self.stack
        found = _chip_value(chip(), name) if kind == "chip" else self._run_value(name, values)
        if not isinstance(found, bool | int | float | str):
            raise InputError(f"{name}: has no value that an expression could use")
        return found

    def _run_value(self, name: str, values: Mapping[str, Value]) -> Any:
        run, _, key = name.partition(".")
        fields = self._run_fields(next(iter(self.sweep.run)) if run == ALL_RUNS else run, values)
        return fields.get(key, getattr(RunOptions, key, None))

    def _run_fields(self, run: str, values: Mapping[str, Value]) -> dict[str, Any]:
        """Fields of a run: its own in the file, those that the point sets for all runs, those that it sets for this one."""
        base = self.sweep.run[run]
        fields: dict[str, Any] = {**base.model_dump(exclude={"options"}), **base.options}
        for prefix in (ALL_RUNS, run):
            fields |= {key: values[f"{prefix}.{key}"] for key in RUN_FIELDS if f"{prefix}.{key}" in values}
        return fields

    @property
    def _chip_name(self) -> str:
        return str(self.point.values.get("chip", self.sweep.chip))

    @property
    def _base_set(self) -> tuple[str, ...]:
        return () if self.point.is_given and "chip" in self.point.values else self.sweep.set

    def _base(self) -> Chip:
        """Chip before the point sets its fields."""
        return _loaded(self._chip_name, self._base_set)


@cache
def _loaded(name: str, overrides: tuple[str, ...]) -> Chip:
    return load_chip(name, overrides)


def _chip_value(chip: Chip, name: str) -> Any:
    value: Any = chip
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else getattr(value, part)
        if value is None:
            return None
    return value
