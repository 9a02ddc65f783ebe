"""``uarch requests``: request files and generators of requests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from uarch.commands.output import JsonOption, console, emit, table
from uarch.commands.sections import Section

if TYPE_CHECKING:
    from workloads.requests.records import Requests
    from workloads.requests.source import RequestSource

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="CSV or JSON lines: see `uarch requests show` without a file.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where the CSV goes; standard output if left out.")
]
RateOption = Annotated[
    float | None, typer.Option("--rate", metavar="PER_SECOND", help="Mean arrivals a second; as measured if left out.")
]
CountOption = Annotated[int | None, typer.Option("--count", help="Requests.")]
DurationOption = Annotated[float | None, typer.Option("--duration", metavar="SECONDS", help="Arrivals end then.")]

_PERCENTILES = (50, 90, 99)

SECTION = Section.LOOK_UP


def register(app: typer.Typer) -> None:
    """Add the group of commands to ``app``."""
    group = typer.Typer(name="requests", help="Request files and generators: show, generate, convert.")
    for command in (show, generate, convert):
        group.command()(command)
    app.add_typer(group)


def show(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A request file; if left out, what can be read and generated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the statistics of a request file, or the layouts that are read and the distributions that are shipped."""
    from workloads.requests.reading import read_requests

    if file is None:
        payload = _known()
        emit(payload, as_json, lambda: _render_known(payload))
    else:
        payload = statistics(read_requests(file))
        emit(payload, as_json, lambda: _render(str(file), payload))


def generate(
    lengths: Annotated[
        str, typer.Option("--lengths", metavar="NAME_OR_FILE", help="Distribution of lengths.")
    ] = "azure2023-conversation",
    rate: RateOption = None,
    arrivals: Annotated[
        Literal["poisson", "gamma"], typer.Option("--arrivals", help="How requests arrive.")
    ] = "poisson",
    cv: Annotated[float, typer.Option("--cv", help="Deviation over mean of gaps, with --arrivals gamma.")] = 1.0,
    count: CountOption = None,
    duration: DurationOption = None,
    independent: Annotated[bool, typer.Option("--independent", help="Outputs do not depend on prompts.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    output: OutputOption = None,
) -> None:
    """Draw requests from a distribution of lengths and write them as CSV."""
    source = _source(
        lengths=lengths,
        arrivals=arrivals,
        cv=cv,
        requests_per_second=rate,
        count=count,
        duration_seconds=duration,
        draw="independent" if independent else "joint",
    )
    _write(source, seed, output)


def convert(
    file: FileArgument,
    output: OutputOption = None,
    rate: RateOption = None,
    scale: Annotated[float | None, typer.Option("--rate-scale", help="Times as fast.")] = None,
    count: CountOption = None,
    duration: DurationOption = None,
) -> None:
    """Write a request file of any layout as the generic CSV, at another rate or cut short if wanted."""
    source = _source(file=str(file), requests_per_second=rate, rate_scale=scale, count=count, duration_seconds=duration)
    _write(source, 0, output)


def statistics(requests: Requests) -> dict[str, Any]:
    """Return what describes a workload, JSON-able, units in the keys."""
    return {
        "requests": len(requests),
        "span_seconds": requests.span_seconds,
        "requests_per_second": requests.mean_rate_per_second,
        "arrival_cv": requests.arrival_cv,
        "input_tokens": _spread(requests.input_tokens),
        "output_tokens": _spread(requests.output_tokens),
        "prefix_block_tokens": requests.prefix_block_tokens,
        "prefix_hit_share": requests.hit_share(),
    }


def _spread(tokens: Any) -> dict[str, float]:
    import numpy as np

    quantiles = np.percentile(tokens, _PERCENTILES).tolist()
    named = {f"p{level}": value for level, value in zip(_PERCENTILES, quantiles, strict=True)}
    return {"mean": float(tokens.mean()), **named, "max": float(tokens.max())}


def _known() -> dict[str, Any]:
    from workloads.requests.formats import formats
    from workloads.requests.length_distribution import length_distribution_names, load_length_distribution

    shipped = {name: load_length_distribution(name) for name in length_distribution_names()}
    return {
        "formats": {
            name: {"description": known.description, "columns": known.columns} for name, known in formats().items()
        },
        "lengths": {name: known.description for name, known in shipped.items()},
    }


def _render_known(payload: dict[str, Any]) -> None:
    rows = [(name, ", ".join(known["columns"]), known["description"]) for name, known in payload["formats"].items()]
    screen = console()
    screen.print(table("Layouts of request files", ["layout", "columns", "what"], rows, left=3, wrapping="what"))
    lengths = payload["lengths"].items()
    screen.print(table("Distributions of lengths", ["name", "what"], lengths, left=2, wrapping="what"))


def _render(name: str, payload: dict[str, Any]) -> None:
    rows = []
    for key, value in payload.items():
        text = (
            ", ".join(f"{at} {number:,.0f}" for at, number in value.items())
            if isinstance(value, dict)
            else f"{value:,.5g}"
        )
        rows.append((key.replace("_", " "), text))
    console().print(table(name, ["quantity", "value"], rows, left=2))


def _source(**fields: Any) -> RequestSource:
    from uarch.files.reading import validate
    from workloads.requests.source import RequestSource

    given = {name: value for name, value in fields.items() if value is not None}
    return validate(RequestSource, given, "requests")


def _write(source: RequestSource, seed: int, output: Path | None) -> None:
    from workloads.requests.source import make_requests
    from workloads.requests.writing import csv_lines, write_requests

    requests = make_requests(source, seed)
    if output is None:
        for line in csv_lines(requests):
            typer.echo(line)
    else:
        write_requests(requests, output)
        typer.echo(f"{output}: {len(requests)} requests", err=True)
