"""Mechanisms of the simulator that can be taken away, to see what each is worth; the reader of ``mechanisms.toml``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, reduce
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from uarch.chip.schema import Chip
from uarch.errors import InputError, unknown_name
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section

_FILE = Path(__file__).with_name("mechanisms.toml")

AblationSuite = Literal["gemm", "attention", "elementwise"]
ABLATION_SUITES: tuple[AblationSuite, ...] = get_args(AblationSuite)
"""Suites of measured kernels on which mechanisms are judged."""


class Mechanism(Section):
    """A mechanism, and how a simulation is run without it."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    suites: Annotated[tuple[AblationSuite, ...], Field(strict=False)] = ()
    """Suites of measured kernels whose predictions it can change."""
    lacking: str = ""
    """What a model does not have if the simulator without this mechanism comes near to it; empty where no model is asked."""
    set: dict[str, bool | int | float | str] = Field(default={})
    """Values by dotted field of the chip; ``*2`` is twice the chip's own."""
    request: dict[str, str | bool] = Field(default={})
    """Values by field of the requests (:mod:`workloads.validation.requests`) that have it."""

    @model_validator(mode="after")
    def _changes_something(self) -> Mechanism:
        if not self.set and not self.request:
            raise ValueError("must have set or request")
        return self

    def values(self, chip: Chip) -> Iterator[tuple[str, bool | int | float | str]]:
        """Dotted fields of ``chip`` and the values that take the mechanism away from it."""
        for field, value in self.set.items():
            if isinstance(value, str) and value.startswith("*"):
                present: Any = reduce(getattr, field.split("."), chip)
                yield field, float(value[1:]) * present
            else:
                yield field, value

    def overrides(self, chip: Chip) -> tuple[str, ...]:
        """Overrides that take the mechanism away, as ``dotted.field=value`` texts for :func:`uarch.chip_file.load_chip`."""
        return tuple(f"{field}={json.dumps(value)}" for field, value in self.values(chip))


class _Table(Section):
    mechanism: Annotated[tuple[Mechanism, ...], Field(strict=False)]


@cache
def all_mechanisms() -> tuple[Mechanism, ...]:
    """Every mechanism that can be taken away, in the order of the file."""
    return validate(_Table, read_toml(_FILE), _FILE.name).mechanism


def find_mechanism(name: str) -> Mechanism:
    """Find a mechanism by its name; raises :class:`uarch.InputError` for an unknown one."""
    known = {mechanism.name: mechanism for mechanism in all_mechanisms()}
    if name not in known:
        raise InputError(f"mechanism {name!r}: not known; {unknown_name(name, list(known))}")
    return known[name]


def explaining_mechanisms(chip: Chip) -> list[Mechanism]:
    """Mechanisms that ``chip`` has and whose absence can explain the error of an analytical model."""
    return [each for each in all_mechanisms() if each.lacking and chip_without(chip, each) != chip]


def chip_without(chip: Chip, mechanism: Mechanism) -> Chip:
    """Take a mechanism away from a chip; the area of its die stays as it is."""
    data = chip.model_dump()
    for path, value in mechanism.values(chip):
        *tables, field = path.split(".")
        reduce(lambda table, name: table[name], tables, data)[field] = value
    return Chip.model_validate(data)
