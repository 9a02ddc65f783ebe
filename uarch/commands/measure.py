"""``uarch measure``: times kernels on the user's own GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from uarch.commands.output import JsonOption, console, emit, progress_bar
from uarch.commands.sections import Section

_SUITES = Literal["gemm", "attention", "elementwise", "collective"]

SECTION = Section.ACCURACY


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(measure)


def measure(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.csv", help="Where the times go.")],
    suite: Annotated[_SUITES | None, typer.Option("--suite", help="Only kernels of one suite.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Time GEMM, attention, norms, activations, copies and all-reduces on this machine's GPU, with cold and warm L2.

    Where the board counts its joules (NVML), power and energy of kernels with a warm L2 are written beside their times.
    """
    from uarch.files.writing import check_output
    from workloads.measuring.plan import measurement_plan
    from workloads.measuring.timing import measure as time_jobs
    from workloads.measuring.timing import write_rows
    from workloads.measuring.torch_backend import open_torch

    check_output(output)
    backend = open_torch()
    device = backend.device()
    jobs = [job for job in measurement_plan(device.count) if suite in (None, job.suite)]
    with progress_bar(len(jobs)) as show:
        rows = list(time_jobs(backend, jobs, progress=lambda done: show("kernels", done)))
    write_rows(output, rows)
    payload: dict[str, Any] = {
        "device": device.name,
        "software": device.software,
        "rows": len(rows),
        "file": str(output),
    }
    emit(payload, as_json, lambda: console().print(f"{device.name}: {len(rows)} times written to {output}"))
