"""One operator of a phase: what is launched at a time."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.program import TileProgram


@dataclass(frozen=True)
class Operator:
    """One operator: ``kind`` is that of the software stack's overheads; the programs follow each other in one launch."""

    name: str
    kind: str
    programs: tuple[TileProgram, ...]
