"""``uarch run``: a phase of a model on one chip of a tensor-parallel group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from results.plots.quantities import quantity
from uarch.commands.option_groups import expanded
from uarch.commands.options import ChipOption, EnergyOption, with_energy
from uarch.commands.output import (
    JsonOption,
    SetOption,
    console,
    emit,
    percent,
    progress_bar,
    shares,
    table,
    uses,
)
from uarch.commands.recording import OutputOption, TimelineOption, traced
from uarch.commands.sections import Section
from workloads.settings.choices import PhaseName
from workloads.settings.run_options import RunOptions

if TYPE_CHECKING:
    from results.trace.schema import Table
    from results.trace.trace import Trace

ModelOption = Annotated[
    str,
    typer.Option("--model", metavar="NAME_OR_FILE", help="A preset of `uarch models`, or a Hugging Face config.json."),
]
SeqOption = Annotated[
    int | None, typer.Option("--seq", help="Tokens of each prompt (prefill) or of its context (decode); or --contexts.")
]
RunPhaseOption = Annotated[
    PhaseName,
    typer.Option(
        "--phase",
        help="All prompt tokens, one new token each, the drafted tokens of --draft, or the sequences of --step-file.",
    ),
]
RunBatchOption = Annotated[int | None, typer.Option("--batch", help="Sequences; in phase step those of its file.")]
StackOption = Annotated[
    str, typer.Option("--stack", metavar="NAME_OR_FILE", help="Software stack: graph, eager, or a TOML file.")
]
_LAYER_FIELDS = ("flops", "macs", "l2_bytes", "link_bytes", "utilization")

SECTION = Section.SIMULATE


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(run)


@expanded
def run(
    *,
    chip: ChipOption,
    model: ModelOption,
    phase: RunPhaseOption,
    batch: RunBatchOption = None,
    seq: SeqOption = None,
    options: RunOptions,
    stack: StackOption = "graph",
    output: OutputOption = None,
    timeline: TimelineOption = 0,
    energy: EnergyOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate a prefill, a decode step, a verification or any batch: latency, energy, and what bounds every operator."""
    from uarch.chip_file import load_chip
    from workloads.models.presets import load_model
    from workloads.running.runner import parts_of, simulate_phase
    from workloads.settings.phase import Phase
    from workloads.settings.stack import load_stack

    loaded_chip, loaded_model = load_chip(chip, with_energy(overrides, energy)), load_model(model)
    work, parts = Phase.of(phase, batch, seq, options), parts_of(loaded_model)
    with progress_bar(len(parts)) as show:

        def simulation(limit: int, record: Callable[[Table], None] | None) -> Trace:
            return simulate_phase(
                loaded_chip,
                loaded_model,
                work,
                load_stack(stack),
                timeline_limit=limit,
                record=record,
                progress=lambda part: show(part, parts.index(part)),
            )

        trace = traced(simulation, output, timeline)
    emit(payload(trace, output), as_json, lambda: render(trace, output))


def payload(trace: Trace, output: Path | None) -> dict[str, Any]:
    """The roll-up, the workload, every operator of every layer, and where the trace is; JSON-able, units in the keys."""
    return {
        "chip": trace.chip["name"],
        "workload": trace.workload,
        "seed": trace.seed,
        **trace.rollup,
        "layers": [operator_payload(row) for row in trace.layers],
        "trace": None if output is None else str(output),
    }


def operator_payload(row: Any) -> dict[str, Any]:
    """One row of the layers table, bytes and energy added up."""
    from results.trace.schema import CAUSE_FIELDS, ENERGY_FIELDS

    return {
        "layer": int(row["layer"]),
        **{field: row[field].decode() for field in ("name", "kind", "shape")},
        "cycles": int(row["end_cycle"] - row["start_cycle"]),
        "seconds": float(row["seconds"]),
        "energy_joules": sum(float(row[field]) for field in ENERGY_FIELDS),
        "joules_by_component": {field.removesuffix("_joules"): float(row[field]) for field in ENERGY_FIELDS},
        "dram_bytes": float(row["dram_read_bytes"] + row["dram_write_bytes"]),
        **{field: float(row[field]) for field in _LAYER_FIELDS},
        "bound_by": row["bound_by"].decode(),
        "cycles_by_cause": {field.removesuffix("_cycles"): float(row[field]) for field in CAUSE_FIELDS},
    }


def render(trace: Trace, output: Path | None) -> None:
    """Print the summary of a trace, the operators of its middle layer, and where it is."""
    workload = trace.workload
    title = "{model} {phase} on {chip}: batch {batch} x {lengths} tokens, TP {tp}{ep}, {dtype}, {attention} attention, {stack}"
    screen = console()
    facts = _summary(trace)
    groups = "".join(f", {name.upper()} {workload[name]}" for name in ("ep", "pp") if workload[name] > 1)
    lengths = f"up to {workload['seq']}" if "step" in workload else workload["seq"]
    title = title.format(**{**workload, "lengths": lengths, "chip": trace.chip["name"], "ep": groups}) + " stack"
    screen.print(table(title, ("quantity", "value"), facts, left=2, wrapping="value"))
    middle = (int(trace.layers["layer"].max()) + 1) // 2
    layer = trace.layers[trace.layers["layer"] == middle]
    total = float(layer["seconds"].sum())
    columns = ("operator", "shape", "bound by", "time", "energy", "arrays", "DRAM")
    rows = (_operator_row(operator_payload(row)) for row in layer)
    screen.print(table(f"Layer {middle}: {quantity(total, 's')}", columns, rows, left=3, wrapping="shape"))
    if output is not None:
        screen.print(f"Trace: {output}")


def _summary(trace: Trace) -> Iterator[tuple[str, str]]:
    from results.trace.schema import ENERGY_COMPONENTS, STALL_CAUSES

    total: dict[str, Any] = trace.rollup
    energy = {name: total[f"energy_{name}_joules"] for name in ENERGY_COMPONENTS}
    causes = {name: total[f"cause_{name}_seconds"] for name in STALL_CAUSES}
    use = {name.removesuffix("_use_fraction"): total[name] for name in total if name.endswith("_use_fraction")}
    kinds = {
        name.removeprefix("kind_").removesuffix("_seconds"): total[name] for name in total if name.startswith("kind_")
    }
    yield "latency", f"{quantity(total['seconds'], 's')}, {total['cycles']:,} cycles"
    yield "throughput", f"{total['tokens_per_second']:,.0f} tokens/s"
    yield "useful work", f"{quantity(total['flops'], 'FLOP')}, {quantity(total['flops_per_second'], 'FLOP/s')} per chip"
    yield "utilisation of the arrays", percent(total["utilization"])
    yield "DRAM", f"{quantity(total['dram_bytes'], 'B')}, {_bandwidth(total)}"
    yield "L2", f"{quantity(total['l2_bytes'], 'B')}, hit rate {percent(total['l2_hit_rate'])}"
    yield "energy", f"{_range(total, 'energy_per_token', 'joules', 'J/token')}: {shares(energy)}"
    yield "power", f"{_range(total, 'average_power', 'watts', 'W')} of a chip and its memory"
    clock = quantity(float(total["mean_clock_hz"]), "Hz")
    yield "power of its board", f"{_range(total, 'average_board_power', 'watts', 'W')}, at {clock}"
    yield "time by kind", shares(kinds)
    yield "bound by", total["bound_by"]
    yield "resources busy", uses(use)
    yield "core time", shares(causes)


def _range(total: dict[str, Any], name: str, unit: str, symbol: str) -> str:
    low, high = (quantity(total[f"{name}_{end}_{unit}"], symbol) for end in ("low", "high"))
    return f"{low} to {high}, {quantity(total[f'{name}_{unit}'], symbol)} expected"


def _bandwidth(total: dict[str, Any]) -> str:
    fraction = percent(total["dram_bandwidth_fraction"])
    return f"{quantity(total['dram_bytes_per_second'], 'B/s')}, {fraction} of the peak"


def _operator_row(operator: dict[str, Any]) -> Iterator[str]:
    seconds = operator["seconds"]
    yield operator["name"]
    yield operator["shape"]
    yield operator["bound_by"]
    yield quantity(seconds, "s")
    yield quantity(operator["energy_joules"], "J")
    yield percent(operator["utilization"]) if operator["flops"] else "-"
    yield quantity(operator["dram_bytes"] / seconds, "B/s")
