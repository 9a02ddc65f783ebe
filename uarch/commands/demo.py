"""``uarch demo``: two models in both phases on three chips: a table, a trace per run, and one picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from results.plots.quantities import quantity
from uarch.commands.output import JsonOption, console, emit, make_folder, percent, progress_bar, table
from uarch.commands.sections import Section

if TYPE_CHECKING:
    from rich.table import Table

    from results.trace.trace import Trace

OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the traces and the picture; made if missing.")
]

PLOT_NAME = "comparison.png"
_COLUMNS = ("chip", "latency", "tokens/s", "tensor\ncores", "bandwidth", "energy/\ntoken", "bound by")

SECTION = Section.SIMULATE


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(demo)


def demo(output: OutputOption = Path("demo"), as_json: JsonOption = False) -> None:
    """Prefill and decode of BLOOM-176B and Llama-3-70B on SPAD's three chips, compared."""
    from results.plots.of_traces.comparison import plot
    from results.plots.style import save
    from workloads.experiments.demo import JOBS, run_demo

    make_folder(output)
    traces = {}
    with progress_bar(len(JOBS)) as show:
        show("starting; the first time this compiles the engine", 0)
        for job, trace in run_demo(JOBS):
            trace.save(output / f"{job.name}.h5")
            traces[job] = trace
            show(f"{job.name} done", len(traces))
        save(plot([traces[job] for job in JOBS]), output / PLOT_NAME)
    files = [output / f"{job.name}.h5" for job in JOBS]
    rows = _rows([traces[job] for job in JOBS], files)
    emit({"runs": rows, "plot": str(output / PLOT_NAME)}, as_json, lambda: _render(rows, output))


def _rows(traces: Sequence[Trace], files: Sequence[Path]) -> list[dict[str, Any]]:
    """A row of the comparison per trace, with its file."""
    from results.analysis.side_by_side import comparison_rows

    return [{**row, "trace": str(file)} for row, file in zip(comparison_rows(traces), files, strict=True)]


def _render(rows: Sequence[dict[str, Any]], output: Path) -> None:
    screen = console()
    screen.print(_comparison(rows))
    screen.print("Tensor cores: utilisation. Bandwidth: achieved, of DRAM. Energy: of all chips of the group.")
    screen.print(f"Traces: {output}{os.sep}*.h5, one per run. Picture: {output / PLOT_NAME}")


def _comparison(rows: Sequence[dict[str, Any]]) -> Table:
    """A section for each model and phase, a row in it for each chip; fits a terminal of 80 columns."""
    from rich.text import Text

    made = table(_title(), _COLUMNS, ())
    section = None
    for row in rows:
        if section != (row["model"], row["phase"]):
            section = row["model"], row["phase"]
            made.add_section()
            made.add_row(Text(" ".join(section), style="bold"))
        made.add_row(*_cells(row))
    return made


def _title() -> str:
    from workloads.experiments.demo import MODELS, PHASES, SEQ

    degrees = ", ".join(f"{model} TP {tp}" for model, tp in MODELS.items())
    batches = ", ".join(f"{phase} {batch} x {SEQ} tokens" for phase, batch in PHASES.items())
    return f"Chips compared, fp16: {degrees}\n{batches}"


def _cells(row: dict[str, Any]) -> Iterator[str]:
    yield f"  {row['chip']}"
    yield quantity(row["latency_seconds"], "s")
    yield f"{row['tokens_per_second']:,.0f}"
    yield percent(row["utilization"])
    yield quantity(row["dram_bytes_per_second"], "B/s")
    yield quantity(row["energy_per_token_joules"], "J")
    yield row["bound_by"]
