"""One operator of a phase: what is launched at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kernels.program.tile_program import TileProgram
from workloads.predictors.kernel import Kernel

Programs = tuple[TileProgram, ...]


@dataclass(frozen=True)
class Operator:
    """One operator: ``kind`` is that of the software stack's overheads; its programs follow each other in one launch."""

    name: str
    kind: str
    work: Programs | Callable[[], Programs]
    """The programs, or what finds their mappings and builds them when the engine needs them."""
    kernels: tuple[Kernel, ...] = ()
    """Work of the operator as a predictor sees it, without programs; none if no predictor knows such work."""

    @property
    def programs(self) -> Programs:
        """Tile programs in execution order, built anew at each call if they are not given."""
        return self.work() if callable(self.work) else self.work
