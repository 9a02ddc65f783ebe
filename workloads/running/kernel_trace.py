"""The trace of one kernel alone: its programs as the ops of a run without layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from kernels.program.tile_program import TileProgram
from results.analysis.rollup import rollup
from results.trace.schema import layer_table
from results.trace.trace import Trace
from uarch.chip.schema import Chip
from uarch.energy.account import component_ranges
from uarch.version import __version__
from workloads.running.execution import in_sequence, peaks_of
from workloads.running.pipeline import OUTSIDE_LAYERS
from workloads.running.timeline import Sink, Timeline, limit_of, open_timeline


class KernelTracing:
    """Sees the first kernel that is simulated inside :func:`tracing_kernel`; :attr:`trace` is what it left behind."""

    def __init__(self, timeline_limit: int, record: Sink | None) -> None:
        self._limit, self._record = timeline_limit, record
        self._made: Trace | None = None
        self.programs: tuple[TileProgram, ...] = ()
        """Tile programs of the kernel in execution order; empty before it has been simulated."""

    def timeline(self, fidelity: str) -> Timeline | None:
        """Open the timeline of the first kernel; raises :class:`uarch.InputError` for a fidelity without the engine."""
        if self._made is not None:
            return None
        made, self._intervals = open_timeline(self._limit, fidelity, self._record)
        return made

    def finish(
        self,
        chip: Chip,
        kind: str,
        shape: str,
        fidelity: str,
        programs: Sequence[TileProgram],
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        """Take note of a kernel that has been simulated; ``rows``: trace fields of its ``programs``."""
        if self._made is not None:
            return
        self.programs, dtype = tuple(programs), programs[0].dtype
        layers = layer_table(in_sequence([(OUTSIDE_LAYERS, row) for row in rows], chip.clock.tensor_hz))
        described = {"model": kind, "phase": "kernel", "shape": shape, "dtype": dtype, "fidelity": fidelity}
        self._made = Trace(
            chip=chip.model_dump(mode="json"),
            workload=described | limit_of(self._limit),
            package_version=__version__,
            seed=0,
            layers=layers,
            rollup=rollup(
                layers,
                clock_hz=chip.clock.tensor_hz,
                phase="kernel",
                tokens=0,
                n_chips=1,
                peaks=peaks_of(chip, dtype),
                energy_ranges=component_ranges(chip, dtype),
                delivery_efficiency=chip.power.delivery_efficiency,
            ),
            timeline=np.concatenate(self._intervals) if self._intervals else None,
        )

    @property
    def trace(self) -> Trace:
        """Trace of the kernel, its phase being called kernel.

        Raises:
            RuntimeError: none has been simulated.
        """
        if self._made is None:
            raise RuntimeError("no kernel was simulated while it was to be traced")
        return self._made


CURRENT: ContextVar[KernelTracing | None] = ContextVar("kernel_tracing", default=None)
"""Observer of the kernels that are simulated in this context; None if nobody wants their traces."""


@contextmanager
def tracing_kernel(timeline_limit: int = 0, record: Sink | None = None) -> Iterator[KernelTracing]:
    """Trace the first kernel that the body simulates, by whatever function.

    Parameters as of :func:`workloads.running.runner.simulate`.
    """
    seen = KernelTracing(timeline_limit, record)
    token = CURRENT.set(seen)
    try:
        yield seen
    finally:
        CURRENT.reset(token)
