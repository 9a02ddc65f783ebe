"""What the kernel commands share: how runs and replays are shown, and the option ``--replay``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from results.plots.quantities import quantity
from uarch.commands.output import console, percent, shares, table, uses

if TYPE_CHECKING:
    from workloads.running.kernel_run import KernelRun, ProgramRun
    from workloads.single.replay import Replay

ReplayOption = Annotated[
    bool,
    typer.Option(
        "--replay", help="Also execute the tile programs on random matrices, and compare with the operator in float64."
    ),
]


def payload(run: KernelRun) -> dict[str, Any]:
    """All fields of a run, its total energy and power, JSON-able, units in the keys."""
    from dataclasses import asdict

    totals = {
        "energy_joules": run.energy_joules,
        "average_power_watts": run.average_power_watts,
        "average_board_power_watts": run.average_board_power_watts,
    }
    return {**asdict(run), **totals}


def render(run: KernelRun) -> None:
    """Print a run as tables."""
    screen = console()
    title = f"{run.kind} {run.shape} on {run.chip} ({run.dtype}, {run.fidelity})"
    screen.print(table(title, ("quantity", "value"), _summary(run), left=2, wrapping="value"))
    columns = ("program", "shape", "bound by", "mapping", "time", "tried")
    screen.print(table("Programs", columns, map(_program, run.programs), left=4, wrapping="mapping"))


def replay_payload(found: Replay | None) -> dict[str, Any]:
    """Return the fields of a replay for the JSON of its run, nothing if there was none."""
    from dataclasses import asdict

    return {"replay": {**asdict(found), "is_right": found.is_right}} if found else {}


def render_replay(found: Replay | None) -> None:
    """Print a replay, if there was one, as a line."""
    if found:
        verdict = "the operator's result" if found.is_right else "NOT the operator's result"
        writes = "each written once" if found.most_writes == 1 else f"some written {found.most_writes} times"
        console().print(
            f"Replay of {found.blocks:,} blocks, {found.steps:,} steps: {verdict}; largest error {found.largest_error:.2g} "
            f"of values up to {found.largest_value:.3g}, {found.elements:,} elements, {writes}"
        )


def refuse_wrong_replay(found: Replay | None) -> None:
    """End the command with exit code 1 if a replay did not give the operator's result."""
    if found and not found.is_right:
        raise typer.Exit(1)


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
    yield "power of the board", quantity(run.average_board_power_watts, "W")
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
