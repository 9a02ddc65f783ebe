"""``uarch sweep plot``: the table of a sweep as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from uarch.commands.output import JsonOption, emit
from uarch.commands.sweep.show import ResultOption, TableArgument
from uarch.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workloads.sweep.table import SweepTable

Kind = Literal["pareto", "parallel", "heatmap", "sensitivity"]
KindOption = Annotated[
    Kind, typer.Option("--kind", help="Front of two objectives, parallel coordinates, map over two parameters, shares.")
]
PictureOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="PNG, SVG or PDF by its ending; if left out, a PNG beside the table."),
]
XOption = Annotated[str | None, typer.Option("--x", metavar="COLUMN", help="Horizontal axis of pareto and heatmap.")]
YOption = Annotated[str | None, typer.Option("--y", metavar="COLUMN", help="Vertical axis of pareto and heatmap.")]


def plot(
    file: TableArgument,
    kind: KindOption = "pareto",
    output: PictureOption = None,
    x: XOption = None,
    y: YOption = None,
    result: ResultOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the front, parallel coordinates, a map over two parameters, or what each parameter explains."""
    from results.plots.style import PlotError, file_format, save
    from workloads.sweep.pictures import heatmap_figure, parallel_figure, pareto_figure, sensitivity_figure
    from workloads.sweep.table import read_sweep

    target = output or file.with_name(f"{file.stem}-{kind}.png")
    table = read_sweep(file)
    try:
        file_format(target)
    except PlotError as error:
        raise InputError(str(error)) from error

    def drawn(table: SweepTable) -> Figure:
        if kind == "pareto":
            return pareto_figure(table, x, y)
        if kind == "heatmap":
            return heatmap_figure(table, x, y, result)
        return parallel_figure(table) if kind == "parallel" else sensitivity_figure(table, result)

    save(drawn(table), target)
    emit({"plot": str(target), "kind": kind}, as_json, lambda: typer.echo(str(target)))
