"""How libraries write vector kernels, as data (the TOML beside this)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel

from uarch.chip.schema import Chip
from uarch.errors import InputError, unknown_name
from uarch.files.reading import read_toml, validate

_FILE = Path(__file__).with_name("vector_libraries.toml")

IDEAL = "ideal"
"""The library whose kernels load whole tiles ahead and issue nothing but the arithmetic."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RowKernel(_Table):
    """A kernel that gives each row a block of threads."""

    threads: Annotated[int, Field(ge=1, le=1024)]
    elements: Annotated[int, Field(ge=1, le=16)]
    unrolled: Annotated[int, Field(ge=1, le=8)] = 1
    instructions: Annotated[float, Field(gt=0, le=1000)]
    float_instructions: Annotated[float, Field(ge=0, le=1000)] = 0.0
    thread_instructions: Annotated[float, Field(ge=0, le=10000)] = 0.0

    def lane_ops(self, chip: Chip, passes: int = 1) -> float:
        """Lane-operations per element and pass that take the vector units as long as the kernel's instructions do.

        All instructions share the issue slots, those in fp32 the vector units' lanes; whichever takes longer counts.
        """
        return max(self.instructions * _ops_per_instruction(chip), self.float_instructions) / passes

    def thread_ops(self, chip: Chip) -> float:
        """The same for what each thread of a row does once."""
        return self.thread_instructions * _ops_per_instruction(chip)


def _ops_per_instruction(chip: Chip) -> float:
    vector = chip.core.vector
    return vector.width / (vector.issue_width or vector.width)


class VectorLibrary(_Table):
    """Kernels by operation; one that is absent is an ideal one."""

    description: str
    source: str
    kernels: dict[str, RowKernel]


class _Libraries(RootModel[dict[str, VectorLibrary]]):
    pass


@cache
def _libraries() -> dict[str, VectorLibrary]:
    return validate(_Libraries, read_toml(_FILE), _FILE.name).root


def vector_library_names() -> list[str]:
    """All libraries."""
    return [IDEAL, *_libraries()]


def row_kernel(library: str, op: str, chip: Chip) -> RowKernel | None:
    """How ``library`` writes ``op``, None if ideally or if the chip runs no GPU's libraries.

    Raises :class:`InputError` for an unknown library.
    """
    if library == IDEAL:
        return None
    if library not in _libraries():
        raise InputError(f"library {library!r}: not known; {unknown_name(library, vector_library_names())}")
    return _libraries()[library].kernels.get(op) if chip.uses_library else None
