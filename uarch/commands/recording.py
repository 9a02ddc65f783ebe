"""Traces of simulations with or without a timeline, written as they come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from uarch.errors import InputError

if TYPE_CHECKING:
    from kernels.program.tile_program import TileProgram
    from results.trace.schema import Table
    from results.trace.trace import Trace

Run = TypeVar("Run")

OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE.h5", help="Write the trace of every operator (HDF5).")
]
TimelineOption = Annotated[
    int,
    typer.Option(
        "--timeline", metavar="N", help="Also record what every core does when, at most N intervals; needs --output."
    ),
]

Simulation = Callable[[int, "Callable[[Table], None] | None"], "Trace"]
"""A simulation that is called with a limit of intervals and what takes them, and returns its trace."""


def traced(simulation: Simulation, output: Path | None, timeline: int) -> Trace:
    """Run a simulation, and write its trace to ``output`` if there is one: intervals while it runs, all else at its end."""
    from results.trace.trace_file import Contents, open_writer
    from uarch.files.writing import check_output

    if output is None:
        if timeline:
            raise InputError(f"--timeline {timeline}: needs --output FILE.h5, where the intervals go")
        return simulation(0, None)
    check_output(output)
    if not timeline:
        trace = simulation(0, None)
        trace.save(output)
        return trace
    with open_writer(output) as writer:
        trace = simulation(timeline, writer.add_intervals)
        fields: dict[str, Any] = {name: getattr(trace, name) for name in Contents._fields}
        writer.finish(Contents(**fields))
    return trace


def traced_kernel(simulation: Callable[[], Run], output: Path | None, timeline: int) -> Run:
    """Simulate a kernel, and write its trace to ``output`` if there is one."""
    return traced_programs(simulation, output, timeline)[0]


def traced_programs(
    simulation: Callable[[], Run], output: Path | None, timeline: int
) -> tuple[Run, tuple[TileProgram, ...]]:
    """Simulate a kernel as :func:`traced_kernel` does; also return the tile programs that were executed."""
    from workloads.running.kernel_trace import tracing_kernel

    done = []

    def simulate(limit: int, record: Callable[[Table], None] | None) -> Trace:
        with tracing_kernel(limit, record) as seen:
            run = simulation()
        done.append((run, seen.programs))
        return seen.trace

    traced(simulate, output, timeline)
    return done[0]
