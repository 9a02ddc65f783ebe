"""Base of every table of a declarative file, and the types of values that TOML writes in a way of its own."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict

T = TypeVar("T")


class Section(BaseModel):
    """A frozen table, hashable if its values are, that refuses unknown fields, values of the wrong type, infinities and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _whole_number(value: Any) -> Any:
    """Turn whole floats into integers: 1e6 is a whole number, although TOML reads it as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole_number)]
"""An integer that may be written as a float without a fraction, such as 1e6."""
TomlArray = Annotated[tuple[T, ...], Strict(False)]
"""A tuple of ``T``; the arrays of TOML and JSON, which are read as lists, are taken as well."""
