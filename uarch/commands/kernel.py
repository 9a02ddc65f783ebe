"""``uarch kernel``: one GEMM or attention alone on a chip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from uarch.commands.options import (
    BatchOption,
    ChipOption,
    DtypeOption,
    EnergyOption,
    FidelityOption,
    PhaseOption,
    with_energy,
)
from uarch.commands.output import JsonOption, SetOption, console, emit, percent, quantity, shares, table, uses

if TYPE_CHECKING:
    from workloads.kernel_run import KernelRun, ProgramRun

ScheduleOption = Annotated[
    Literal["flash", "unfused"],
    typer.Option(
        "--schedule", help="One kernel that streams K and V, or three with the scores in memory between them."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = typer.Typer()
    group.callback(invoke_without_command=True)(_kernel)
    group.command()(gemm)
    group.command()(attention)
    app.add_typer(group, name="kernel")


def _kernel(context: typer.Context) -> None:
    """Run one kernel alone: cold L2, no launch overhead."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def gemm(
    chip: ChipOption,
    m: Annotated[int, typer.Option("-m", "-M", help="Rows of A and C.")],
    n: Annotated[int, typer.Option("-n", "-N", help="Columns of B and C.")],
    k: Annotated[int, typer.Option("-k", "-K", help="Columns of A, rows of B.")],
    dtype: DtypeOption = "fp16",
    fidelity: FidelityOption = "tile",
    energy: EnergyOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """C = A B: cycles, energy, traffic and what bounds it."""
    from uarch.chip_file import load_chip
    from workloads.single_kernel import simulate_gemm

    run = simulate_gemm(load_chip(chip, with_energy(overrides, energy)), m, n, k, dtype=dtype, fidelity=fidelity)
    emit(payload(run), as_json, lambda: _render(run))


def attention(
    chip: ChipOption,
    phase: PhaseOption,
    batch: BatchOption,
    q_heads: Annotated[int, typer.Option("--q-heads", help="Query heads.")],
    kv_heads: Annotated[int, typer.Option("--kv-heads", help="Key/value heads; must divide the query heads.")],
    head_dim: Annotated[int, typer.Option("--head-dim", help="Width of a head.")],
    kv_len: Annotated[int, typer.Option("--kv-len", help="Keys of each sequence, the new ones included.")],
    q_len: Annotated[
        int | None,
        typer.Option("--q-len", help="New tokens of each sequence; if left out, all keys in prefill, 1 in decode."),
    ] = None,
    schedule: ScheduleOption = "flash",
    dtype: DtypeOption = "fp16",
    fidelity: FidelityOption = "tile",
    energy: EnergyOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Causal attention: cycles, energy, traffic and what bounds it."""
    from uarch.chip_file import load_chip
    from workloads.single_kernel import simulate_attention

    run = simulate_attention(
        load_chip(chip, with_energy(overrides, energy)),
        phase,
        batch=batch,
        q_heads=q_heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        q_len=q_len,
        kv_len=kv_len,
        schedule=schedule,
        dtype=dtype,
        fidelity=fidelity,
    )
    emit(payload(run), as_json, lambda: _render(run))


def payload(run: KernelRun) -> dict[str, Any]:
    """All fields of a run, its total energy and power, JSON-able, units in the keys."""
    from dataclasses import asdict

    totals = {"energy_joules": run.energy_joules, "average_power_watts": run.average_power_watts}
    return {**asdict(run), **totals}


def _render(run: KernelRun) -> None:
    screen = console()
    title = f"{run.kind} {run.shape} on {run.chip} ({run.dtype}, {run.fidelity})"
    screen.print(table(title, ("quantity", "value"), _summary(run), left=2, wrapping="value"))
    columns = ("program", "shape", "bound by", "mapping", "time", "tried")
    screen.print(table("Programs", columns, map(_program, run.programs), left=4, wrapping="mapping"))


def _summary(run: KernelRun) -> Iterator[tuple[str, str]]:
    yield "time", f"{quantity(run.seconds, 's')}, {run.cycles:,} cycles"
    yield (
        "roofline",
        f"{quantity(run.roofline_seconds, 's')}, {percent(run.roofline_seconds / run.seconds)} of the time",
    )
    yield "useful work", f"{quantity(run.flops, 'FLOP')}, {quantity(run.flops / run.seconds, 'FLOP/s')}"
    yield "utilisation of the arrays", percent(run.utilization)
    yield "DRAM", f"{quantity(run.dram_bytes, 'B')}, {quantity(run.dram_bytes / run.seconds, 'B/s')}"
    yield "L2", f"{quantity(run.l2_bytes, 'B')}, {quantity(run.l2_bytes / run.seconds, 'B/s')}"
    yield "energy", f"{_joules(run)}: {shares(run.joules_by_component)}"
    yield "power", f"{quantity(run.average_power_watts, 'W')} at {quantity(run.tensor_hz, 'Hz')}"
    yield "bound by", run.bound_by
    yield "resources busy", uses(run.resource_use)
    yield "core time", shares(run.seconds_by_cause)


def _joules(run: KernelRun) -> str:
    low, high = quantity(run.energy_low_joules, "J"), quantity(run.energy_high_joules, "J")
    return f"{low} to {high}, {quantity(run.energy_joules, 'J')} expected"


def _program(program: ProgramRun) -> Iterator[str]:
    from dataclasses import asdict

    yield program.name
    yield program.shape
    yield program.bound_by
    fields = asdict(program.mapping) if program.mapping else {}
    yield ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields.items()) or "-"
    yield quantity(program.seconds, "s")
    yield f"{program.trials} of {program.candidates}" if program.mapping else "-"
