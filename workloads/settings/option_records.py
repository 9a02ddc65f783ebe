"""Options declared once, as fields of a frozen dataclass: what the command line, the checks and the reference are made from."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from inspect import Parameter, signature
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from uarch.errors import must_be
from workloads.settings.choices import check_choice

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Function = TypeVar("Function", bound=Callable[..., Any])

LARGEST_SIZE = 1 << 24
"""Largest size that any option may have."""


@dataclass(frozen=True)
class Option:
    """What is said about an option besides its name, type and default: the metadata of an annotated field."""

    help: str
    """A sentence for the command line's help and the reference."""
    metavar: str | None = None
    """What stands for the value in the help, such as ``N:M``."""
    flag: str | None = None
    """Name on the command line if it is not the field's, such as ``--json``."""
    short: str | None = None
    """A second, short name on the command line, such as ``-o``."""
    is_size: bool = False
    """Whether the value must be a whole number from 1 to ``LARGEST_SIZE``."""


class Declared(NamedTuple):
    """A field of a record of options."""

    name: str
    kind: Any
    """Type of the value."""
    option: Option
    default: Any
    """``Parameter.empty`` if the option must be given."""

    @property
    def flags(self) -> tuple[str, ...]:
        """All names on the command line."""
        return (self.flag, self.option.short) if self.option.short else (self.flag,)

    @property
    def flag(self) -> str:
        """Name on the command line."""
        return self.option.flag or f"--{self.name.replace('_', '-')}"


@cache
def declared(record: type[DataclassInstance]) -> tuple[Declared, ...]:
    """The options that a dataclass declares: fields annotated with an :class:`Option`, in order."""
    hints = get_type_hints(record, include_extras=True)
    return tuple(_declared(hints, fields(record)))


def _declared(hints: dict[str, Any], every: Iterable[Field[Any]]) -> Iterator[Declared]:
    for field in every:
        if get_origin(hints[field.name]) is Annotated:
            kind, option = get_args(hints[field.name])[:2]
            yield Declared(field.name, kind, option, Parameter.empty if field.default is MISSING else field.default)


def check_options(record: DataclassInstance) -> None:
    """Raise :class:`uarch.InputError` for a value that is none of its choices, or no size."""
    for each in declared(type(record)):
        value = getattr(record, each.name)
        choices = _choices(each.kind)
        if choices is not None and value is not None:
            check_choice(each.name, value, choices)
        if each.option.is_size:  # NumPy's whole numbers become plain ones
            object.__setattr__(record, each.name, size(each.name, value))


def size(name: str, value: Any) -> int:
    """A size as a plain integer, NumPy's too; :class:`uarch.InputError` if it is none, below 1 or absurdly large."""
    try:
        whole = operator.index(value)
    except TypeError as error:
        raise must_be(name, value, "a whole number") from error
    if not 1 <= whole <= LARGEST_SIZE:
        raise must_be(name, whole, f"at least 1 and at most {LARGEST_SIZE}")
    return whole


def _choices(kind: Any) -> Any:
    """The ``Literal`` in a type, ``None`` beside it apart; None if the type is no choice."""
    parts = [part for part in (get_args(kind) or (kind,)) if part is not NoneType]
    if get_origin(kind) is Literal:
        return kind
    return parts[0] if len(parts) == 1 and get_origin(parts[0]) is Literal else None


def takes_options(record: type[DataclassInstance]) -> Callable[[Function], Function]:
    """Decorator: the signature of a function with ``**options`` shows the record's fields with their defaults."""

    def shown(function: Function) -> Function:
        given = signature(function)
        named = [each for each in given.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        named += [
            Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=each.kind)
            for each in declared(record)
        ]
        function.__signature__ = given.replace(parameters=named)  # type: ignore[attr-defined]
        return function

    return shown


def reference(record: type[DataclassInstance]) -> str:
    """Markdown table of the options of a record: in Python, on the command line, default, values or meaning."""
    rows = ["| Python | command line | default | |", "| --- | --- | --- | --- |"]
    for each in declared(record):
        choices = _choices(each.kind)
        values = f" One of {', '.join(f'`{value}`' for value in get_args(choices))}." if choices else ""
        default = "" if each.default is Parameter.empty else f"`{each.default}`"
        rows.append(f"| `{each.name}` | `{each.flag}` | {default} | {each.option.help}{values} |")
    return "\n".join(rows) + "\n"
