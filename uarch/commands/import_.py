"""``uarch import``: chips, suites and energy tables from the files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from uarch.commands.output import JsonOption, emit
from uarch.commands.sections import Section

OutputOption = Annotated[Path, typer.Option("--output", "-o", metavar="FILE.toml", help="The chip file to write.")]
LikeOption = Annotated[
    str, typer.Option("--like", metavar="NAME_OR_FILE", help="Chip from which everything comes that the file lacks.")
]
MapOption = Annotated[
    list[str],
    typer.Option(
        "--map",
        metavar="EVENT=COMPONENT.ACTION[/BYTES]",
        help="The action that an event is, and how many bytes it moves. Repeatable.",
    ),
]

SECTION = Section.PARTS


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = typer.Typer()
    group.callback(invoke_without_command=True)(_import)
    group.command()(llmcompass)
    group.command()(scalesim)
    group.command()(accelergy)
    app.add_typer(group, name="import")


def _import(context: typer.Context) -> None:
    """Make a chip file or an energy table from a file of another tool. A Hugging Face config.json is given as --model."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def llmcompass(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="A hardware template of LLMCompass.")],
    output: OutputOption,
    like: LikeOption = "a100",
    as_json: JsonOption = False,
) -> None:
    """A chip from a hardware template of LLMCompass."""
    from uarch.importers.llmcompass import llmcompass_chip

    written: dict[str, Any] = {"chip": str(output)}
    _write(output, llmcompass_chip(file, like))
    emit(written, as_json, lambda: typer.echo(str(output)))


def scalesim(
    config: Annotated[Path, typer.Option("-c", "--config", metavar="FILE.cfg", help="Array, SRAMs, dataflow.")],
    output: OutputOption,
    topology: Annotated[
        Path | None, typer.Option("-t", "--topology", metavar="FILE.csv", help="Layers, for a suite of kernels.")
    ] = None,
    suite: Annotated[
        Path | None, typer.Option("--suite", metavar="FILE.csv", help="The suite to write; else beside the chip.")
    ] = None,
    like: LikeOption = "a100",
    as_json: JsonOption = False,
) -> None:
    """A chip of one array, and a suite of GEMMs, from SCALE-Sim's files; `uarch scalesim` runs them as they are."""
    from uarch.importers.scalesim import scalesim_chip, scalesim_suite

    written: dict[str, Any] = {"chip": str(output)}
    chip = scalesim_chip(config, like)
    layers = None if topology is None else scalesim_suite(topology)
    _write(output, chip)
    if layers is not None:
        target = suite or output.with_suffix(".csv")
        _write(target, layers)
        written["suite"] = str(target)
    emit(written, as_json, lambda: typer.echo(", ".join(written.values())))


def accelergy(
    file: Annotated[Path, typer.Argument(metavar="ERT.yaml", help="An ERT of Accelergy 0.3 or 0.4, YAML or JSON.")],
    assignments: MapOption,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.toml", help="The energy table to write.")],
    base: Annotated[str, typer.Option("--base", metavar="NAME", help="Table of all other values.")] = "n7",
    as_json: JsonOption = False,
) -> None:
    """An energy table from the actions of an energy reference table (ERT) of Accelergy."""
    from uarch.importers.accelergy import import_ert, parse_assignment, read_ert

    chosen = [parse_assignment(text) for text in assignments]
    _write(output, import_ert(read_ert(file), chosen, base, output.stem, file.name))
    written = {"table": str(output), "base": base, "events": [assignment.event for assignment in chosen]}
    emit(written, as_json, lambda: typer.echo(str(output)))


def _write(target: Path, text: str) -> None:
    """Raises ``OSError`` if the file cannot be written."""
    from uarch.files.writing import write_output

    write_output(target, text)
