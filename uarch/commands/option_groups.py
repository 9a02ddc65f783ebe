"""Commands whose parameters are records of options: each field becomes an option of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from workloads.settings.option_records import declared


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every parameter that is a dataclass of options taken apart into one option for each field.

    Typer sees the fields; the command itself gets the records, and a type checker follows their fields.
    """
    given = signature(command, eval_str=True)
    groups: dict[str, Any] = {
        each.name: each.annotation for each in given.parameters.values() if is_dataclass(each.annotation)
    }
    parameters = [
        single
        for each in given.parameters.values()
        for single in (_options(groups[each.name]) if each.name in groups else [each])
    ]

    @wraps(command)
    def called(**values: Any) -> None:
        for name, record in groups.items():
            values[name] = record(**{each.name: values.pop(each.name) for each in declared(record)})
        command(**values)

    called.__signature__ = given.replace(  # type: ignore[attr-defined]
        parameters=[each.replace(kind=Parameter.KEYWORD_ONLY) for each in parameters]
    )
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def _options(record: Any) -> Iterator[Parameter]:
    for each in declared(record):
        option = typer.Option(*each.flags, help=each.option.help, metavar=each.option.metavar)
        kind: Any = each.kind
        annotation = Annotated[kind, option]
        yield Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=annotation)
