"""``uarch dram``: one memory pseudo-channel under a trace or a pattern."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from results.plots.quantities import quantity
from uarch.commands.output import JsonOption, console, emit, table
from uarch.commands.sections import Section
from uarch.errors import InputError

if TYPE_CHECKING:
    from uarch.dram.controller.options import ControllerOptions
    from uarch.dram.replay.requests import RequestStream
    from uarch.dram.standards.standard import Standard

DEFAULT_REQUESTS = 100_000
DEFAULT_PLOT = Path("load-curve.png")

PatternOption = Annotated[
    Literal["sequential", "random", "strided", "mix"] | None,
    typer.Option(help="Make the requests: reads in order, at random, or a stride apart; mix: 2 reads to 1 write."),
]
SchedulerOption = Annotated[
    Literal["frfcfs-rowhit", "frfcfs", "fcfs", "dramsim3"],
    typer.Option(help="Which request goes first. dramsim3: that tool's queues, round robin over banks."),
]
RefreshOption = Annotated[
    Literal["all", "bank", "none"], typer.Option(help="All banks at once, bank by bank, or none.")
]
PageOption = Annotated[
    Literal["open", "closed", "capped"],
    typer.Option(help="When a row is closed: on a conflict; without waiting hits; also after --row-hit-cap accesses."),
]

SECTION = Section.PARTS


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def dram(
        list_standards: Annotated[bool, typer.Option("--list", help="List the memory standards.")] = False,
        standard: Annotated[str | None, typer.Option(help="Memory standard, e.g. hbm3-6400.")] = None,
        trace: Annotated[
            Path | None,
            typer.Option(
                help="Requests: '<arrival tick> <R|W> <byte address>' a line, or Ramulator's 'LD|ST address'."
            ),
        ] = None,
        pattern: PatternOption = None,
        requests: Annotated[
            int | None, typer.Option(help=f"Requests of the pattern; default: {DEFAULT_REQUESTS}.")
        ] = None,
        stride_bytes: Annotated[int | None, typer.Option(help="Stride of the pattern; default: a row.")] = None,
        mapping: Annotated[
            str,
            typer.Option(
                help="Fields of an address, least significant last, such as ro-sid-ba-bg-co; ba^ro hashes the bank with the "
                "row. interleaved: the standard's own, which --list prints."
            ),
        ] = "interleaved",
        queue: Annotated[int, typer.Option(help="Entries of the read queue, and of the write queue.")] = 32,
        scheduler: SchedulerOption = "frfcfs-rowhit",
        refresh: RefreshOption = "all",
        page: PageOption = "open",
        row_hit_cap: Annotated[
            int | None, typer.Option(help="Accesses to a row with --page capped; default: 16.")
        ] = None,
        commands: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the command log.")] = None,
        load_curve: Annotated[bool, typer.Option("--load-curve", help="Sweep the injection rate.")] = False,
        plot: Annotated[
            Path | None,
            typer.Option(
                metavar="FILE",
                help=f"Where --load-curve draws latency over load (PNG, SVG, PDF); default: {DEFAULT_PLOT}.",
            ),
        ] = None,
        as_json: JsonOption = False,
    ) -> None:
        """Bandwidth, latency, row hits and energy of one memory pseudo-channel."""
        from uarch.dram.standards.standard import load_standard

        if list_standards:
            _list(as_json)
            return
        if standard is None:
            raise InputError("--standard is missing; allowed are the names that uarch dram --list prints")
        memory = load_standard(standard)
        options = _options(scheduler=scheduler, refresh=refresh, queue=queue, page=page, row_hit_cap=row_hit_cap)
        stream = _stream(memory, trace, pattern, requests, stride_bytes)
        if load_curve:
            if commands is not None:
                raise InputError("--commands needs a single run; it cannot be given with --load-curve")
            _load_curve(memory, stream, options, mapping, plot or DEFAULT_PLOT, as_json)
        elif plot is not None:
            raise InputError("--plot needs --load-curve")
        else:
            _run(memory, stream, options, mapping, commands, as_json)


def _options(row_hit_cap: int | None, **values: Any) -> ControllerOptions:
    from pydantic import ValidationError

    from uarch.dram.controller.options import ControllerOptions

    if row_hit_cap is not None:
        if values["page"] != "capped":
            raise InputError("--row-hit-cap needs --page capped")
        values["row_hit_cap"] = row_hit_cap
    try:
        return ControllerOptions(**values)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].replace("Value error, ", "").replace("Input should be", "must be")
        option = "".join(f"--{str(name).replace('_', '-')} = {first['input']}: " for name in first["loc"])
        raise InputError(f"{option}{message}") from None


def _stream(
    memory: Standard, trace: Path | None, pattern: Any, requests: int | None, stride_bytes: int | None
) -> RequestStream:
    from uarch.dram.replay.ramulator_trace import is_ramulator_trace, read_ramulator_trace
    from uarch.dram.replay.requests import make_pattern, read_trace

    if (trace is None) == (pattern is None):
        raise InputError("requests come from either --trace FILE or --pattern NAME; give one of them")
    if stride_bytes is not None and pattern != "strided":
        raise InputError("--stride-bytes needs --pattern strided")
    if trace is not None:
        if requests is not None:
            raise InputError("--requests needs --pattern; a trace is replayed as it is")
        return read_ramulator_trace(trace, memory) if is_ramulator_trace(trace) else read_trace(trace, memory)
    return make_pattern(pattern, memory, DEFAULT_REQUESTS if requests is None else requests, stride_bytes)


def _list(as_json: bool) -> None:
    from uarch.dram.standards.standard import load_standard, standard_names

    memories = [load_standard(name) for name in standard_names()]
    payload = {
        "standards": [
            {
                "name": memory.name,
                "title": memory.title,
                "bytes_per_second": memory.bytes_per_second,
                "capacity_bytes": memory.capacity_bytes,
                "banks": memory.banks,
                "row_bytes": memory.row_bytes,
                "burst_bytes": memory.burst_bytes,
                "tick_ns": memory.tick_ns,
                "mapping": memory.mapping,
                "source": memory.source,
                "assumed": sorted(memory.assumed),
            }
            for memory in memories
        ]
    }

    def render() -> None:
        rows = [
            (
                memory.name,
                memory.title,
                quantity(memory.bytes_per_second, "B/s"),
                str(memory.banks),
                str(memory.row_bytes),
                memory.mapping,
            )
            for memory in memories
        ]
        console().print(
            table("Memory standards", ("name", "what", "peak", "banks", "row bytes", "mapping"), rows, left=2)
        )

    emit(payload, as_json, render)


def _run(
    memory: Standard,
    stream: RequestStream,
    options: ControllerOptions,
    mapping: str,
    commands: Path | None,
    as_json: bool,
) -> None:
    from uarch.dram.replay.channel import command_lines, simulate_channel

    result = simulate_channel(memory, stream, options, mapping, with_commands=commands is not None)
    payload: dict[str, Any] = {"standard": memory.name, "requests": len(stream.arrival)} | result.summary()
    if commands is not None:
        _write(commands, command_lines(result.commands))
        payload["commands"] = str(commands)

    def render() -> None:
        rows = [(name.replace("_", " "), _text(value)) for name, value in payload.items()]
        console().print(table(memory.title, ("quantity", "value"), rows, left=2, wrapping="value"))

    emit(payload, as_json, render)


def _load_curve(
    memory: Standard, stream: RequestStream, options: ControllerOptions, mapping: str, plot: Path, as_json: bool
) -> None:
    from results.plots.of_arrays import load_curve
    from results.plots.style import PlotError, save
    from uarch.dram.replay.load_curve import measure_load_curve

    curve = measure_load_curve(memory, stream, options, mapping)
    fig = load_curve.plot(
        f"{memory.title}: latency against load",
        curve.bandwidth_bytes_per_second,
        curve.mean_read_latency_ns,
        curve.p99_read_latency_ns,
        memory.bytes_per_second,
    )
    try:
        save(fig, plot)
    except (PlotError, OSError) as error:
        raise InputError(f"--plot {plot}: {error}") from None
    payload: dict[str, Any] = {"standard": memory.name, "requests": len(stream.arrival), "plot": str(plot)}
    payload |= {name: values.tolist() for name, values in curve._asdict().items()}

    def render() -> None:
        rows = [
            (quantity(offered, "B/s"), quantity(got, "B/s"), f"{mean:.1f}", f"{p99:.1f}")
            for offered, got, mean, p99 in zip(*curve, strict=True)
        ]
        columns = ("offered", "delivered", "mean read latency (ns)", "p99 (ns)")
        console().print(table(f"{memory.title}: latency against load", columns, rows))

    emit(payload, as_json, render)


def _write(path: Path, lines: list[str]) -> None:
    from uarch.files.writing import write_output

    try:
        write_output(path, "\n".join(lines) + "\n")
    except OSError as error:
        raise InputError(f"--commands {path}: cannot be written: {error.strerror}") from None


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)
