"""A table of a file whose keys are names from a list: an immutable, hashable mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema
from pydantic_core.core_schema import (
    chain_schema,
    no_info_plain_validator_function,
    plain_serializer_function_ser_schema,
)

Value = TypeVar("Value")


@dataclass(frozen=True)
class FrozenTable(Mapping[str, Value], Generic[Value]):
    """A mapping from some of ``FIELD_NAMES`` to values of one kind, in the order of the names.

    A subclass sets the class variables and can then be a field of a model; in the file the field is a table.
    """

    FIELD_NAMES: ClassVar[tuple[str, ...]]
    """Keys that are allowed."""
    KEY: ClassVar[Any]
    """Type of a key for validation: a ``Literal`` of ``FIELD_NAMES``."""
    VALUE: ClassVar[Any]
    """Type of a value for validation."""

    pairs: tuple[tuple[str, Value], ...]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        table = handler.generate_schema(Annotated[Mapping[cls.KEY, cls.VALUE], Field(min_length=1)])  # type: ignore[name-defined]
        return chain_schema(
            [table, no_info_plain_validator_function(cls._from_mapping)],
            serialization=plain_serializer_function_ser_schema(dict),
        )

    @classmethod
    def _from_mapping(cls, values: Mapping[str, Value]) -> Self:
        return cls(tuple((name, values[name]) for name in cls.FIELD_NAMES if name in values))

    def __getitem__(self, key: str) -> Value:
        for name, value in self.pairs:
            if name == key:
                return value
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)
