"""``uarch scalesim``: SCALE-Sim's own input files, its report, in no time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from uarch.commands.output import JsonOption, console, emit, table
from uarch.commands.sections import Section

if TYPE_CHECKING:
    from uarch.systolic.scalesim import LayerReport

REPORT_NAME = "COMPUTE_REPORT.csv"

SECTION = Section.PARTS


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(scalesim)


def scalesim(
    config: Annotated[Path, typer.Option("-c", "--config", metavar="FILE.cfg", help="Array, SRAMs, dataflow.")],
    topology: Annotated[Path, typer.Option("-t", "--topology", metavar="FILE.csv", help="The layers.")],
    kind: Annotated[
        Literal["gemm", "conv"] | None,
        typer.Option("-i", "--input", help="What the topology lists; default: by header."),
    ] = None,
    conv_output: Annotated[
        Literal["exact", "scalesim"],
        typer.Option(help="Output size of a convolution whose stride does not divide: exact, or rounded up."),
    ] = "exact",
    output: Annotated[
        Path, typer.Option("-o", "-p", "--output", metavar="DIR", help=f"Folder of {REPORT_NAME}.")
    ] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Run SCALE-Sim's configuration and topology files and write its COMPUTE_REPORT.csv."""
    from uarch.systolic.scalesim import compute_report, run_layer
    from uarch.systolic.scalesim_files import read_config, read_topology
    from uarch.systolic.sparsity import DENSE

    settings = read_config(config)
    layers = read_topology(topology, kind, conv_output == "exact")
    if not settings.sparsity_support and any(layer.sparsity != DENSE for layer in layers):
        typer.echo("note: N:M columns are used although SparsitySupport is false", err=True)
    reports = [run_layer(settings, layer) for layer in layers]
    target = output / REPORT_NAME
    _write(target, compute_report(reports))
    payload = {
        "dataflow": settings.dataflow.name.lower(),
        "rows": settings.rows,
        "cols": settings.cols,
        "total_cycles": sum(report.cycles for report in reports),
        "compute_report": str(target),
        "layers": [_payload(report) for report in reports],
    }
    emit(payload, as_json, lambda: _render(reports, target))


def _write(target: Path, text: str) -> None:
    """Raises ``OSError`` if the file cannot be written."""
    from uarch.files.writing import write_output

    target.parent.mkdir(parents=True, exist_ok=True)
    write_output(target, text)


def _payload(report: LayerReport) -> dict[str, Any]:
    layer = report.layer
    return {
        "name": layer.name,
        "m": layer.m,
        "n": layer.n,
        "k": layer.k,
        "sparsity": f"{layer.sparsity.kept}:{layer.sparsity.group}",
        "folds": report.folds,
        "cycles": report.cycles,
        "stall_cycles": report.stall_cycles,
        "transfer_cycles": report.transfer_cycles,
        "utilization": report.utilization_percent / 100,
        "mapping_efficiency": report.mapping_efficiency_percent / 100,
        "compute_utilization": report.compute_utilization_percent / 100,
        "bandwidth_words_per_cycle": dict(zip(("ifmap", "filter", "ofmap"), report.words_per_cycle, strict=True)),
    }


def _render(reports: Sequence[LayerReport], target: Path) -> None:
    rows = [
        (
            report.layer.name,
            f"{report.layer.m} x {report.layer.n} x {report.layer.k}",
            f"{report.cycles:,}",
            f"{report.stall_cycles:,}",
            f"{report.utilization_percent:.2f}",
            f"{report.mapping_efficiency_percent:.2f}",
            "/".join(str(words) for words in report.words_per_cycle),
        )
        for report in reports
    ]
    columns = ("layer", "M x N x K", "cycles", "stalls", "util. %", "mapping %", "words/cycle i/f/o")
    console().print(table(f"{len(rows)} layers, report in {target}", columns, rows))
