"""``uarch sweep run``: every point of a sweep, in processes of this machine or on a cluster."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uarch.commands.output import JsonOption, console, emit, progress_bar

if TYPE_CHECKING:
    from workloads.sweep.table import SweepTable

FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME_OR_FILE", help="decode-bandwidth, design-a-prefill-chip, hbm-or-gddr, or a TOML file."
    ),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE.h5", help="Table of results, which grows while the sweep runs.")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, max=1024, help="Processes; one a processor if left out.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS_OR_FILE",
        help="A Dask scheduler, tcp://HOST:PORT or its file, in place of processes.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume/--restart", help="Keep the points that the table has, or replace the table.")
]


def run(
    sweep: FileArgument,
    output: OutputOption = Path("sweep.h5"),
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    resume: ResumeOption = True,
    as_json: JsonOption = False,
) -> None:
    """Run every point of a sweep that its table does not have yet."""
    from workloads.sweep.cluster import cluster_executor
    from workloads.sweep.execution import Progress, run_sweep
    from workloads.sweep.sweep_file import load_sweep

    loaded, begin = load_sweep(sweep), monotonic()
    before: list[int] = []
    with progress_bar(1) as show, cluster_executor(scheduler) if scheduler else nullcontext() as executor:

        def shown(progress: Progress) -> None:
            before.append(progress.done) if not before else None
            show(progress.best, progress.done, progress.total)

        table = run_sweep(loaded, output, workers=workers, executor=executor, resume=resume, progress=shown)
    result = payload(table, output, len(table.rows) - before[0], monotonic() - begin)
    emit(result, as_json, lambda: _render(table, result))


def payload(table: SweepTable, output: Path, n_new: int, seconds: float) -> dict[str, Any]:
    """What became of the points, how fast they were run, and the best value of each objective; JSON-able."""
    status = table.column("status")
    best = {}
    done, costs = table.done(), table.costs()
    for number, objective in enumerate(table.sweep.objective):
        if done.any():
            best[objective.column] = objective.sign * float(costs[done, number].min())
    return {
        "sweep": table.sweep.name,
        "table": str(output),
        "points": len(table.rows),
        **{name: int((status == name).sum()) for name in ("done", "excluded", "failed")},
        "new_points": n_new,
        "wall_seconds": seconds,
        "points_per_minute": 60 * n_new / seconds,
        "best": best,
    }


def _render(table: SweepTable, result: dict[str, Any]) -> None:
    screen = console()
    counts = ", ".join(f"{result[name]} {name}" for name in ("done", "excluded", "failed"))
    screen.print(f"{table.sweep.title}: {result['points']} points ({counts})")
    if result["new_points"]:
        screen.print(
            f"{result['new_points']} new ones in {result['wall_seconds']:.1f} s, {result['points_per_minute']:.0f} a minute"
        )
    if result["failed"]:
        message = table.column("message")[table.column("status") == "failed"][0]
        screen.print(f"the first that failed: {message}")
    for name, value in result["best"].items():
        screen.print(f"best {name}: {value:.4g}")
    screen.print(f"Table: {result['table']}; `uarch sweep pareto {result['table']}` shows the front.")
