"""How libraries write vector kernels, as data (``kernels/vector/vector_libraries``)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from uarch.chip.schema import Chip
from uarch.files.presets import Presets
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section

LIBRARIES = Presets("vector library", Path(__file__).parent / "vector_libraries", more=("ideal",))
"""Libraries that come with the package, besides the ideal one."""

IDEAL = "ideal"
"""The library whose kernels load whole tiles ahead and issue nothing but the arithmetic."""


class RowKernel(Section):
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
        """Lane-operations per row for what each of its threads does once."""
        return self.thread_instructions * _ops_per_instruction(chip)


def _ops_per_instruction(chip: Chip) -> float:
    vector = chip.core.vector
    return vector.width / (vector.issue_width or vector.width)


class VectorLibrary(Section):
    """Kernels by operation; one that is absent is an ideal one."""

    description: str
    source: str
    kernels: dict[str, RowKernel]


def vector_library_names() -> list[str]:
    """Names of the libraries that come with the package, the ideal one first."""
    return [IDEAL, *LIBRARIES.names]


@lru_cache(maxsize=64)
def _load(name_or_path: str, stamp: str) -> VectorLibrary:
    return validate(VectorLibrary, read_toml(LIBRARIES.find(name_or_path)), f"vector library {name_or_path}")


def row_kernel(library: str, op: str, chip: Chip) -> RowKernel | None:
    """How ``library``, by name or path, writes ``op``; None if ideally or if the chip runs no GPU's libraries.

    Raises :class:`uarch.InputError` for an unknown library or an invalid file.
    """
    if library == IDEAL:
        return None
    kernels = _load(library, LIBRARIES.stamp(library)).kernels
    return kernels.get(op) if chip.uses_library else None
