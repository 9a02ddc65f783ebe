"""``uarch kernel``: one kernel alone on a chip."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from uarch.commands.kernel import attention as kernel_attention
from uarch.commands.kernel import moe as kernel_moe
from uarch.commands.kernel import verify as kernel_verify
from uarch.commands.kernel.output import (
    ReplayOption,
    payload,
    refuse_wrong_replay,
    render,
    render_replay,
    replay_payload,
)
from uarch.commands.options import (
    ChipOption,
    DtypeOption,
    EnergyOption,
    FidelityOption,
    GroupSizeOption,
    WeightDtypeOption,
    WeightSparsityOption,
    with_energy,
)
from uarch.commands.output import JsonOption, SetOption, emit
from uarch.commands.recording import OutputOption, TimelineOption, traced_programs


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = typer.Typer()
    group.callback(invoke_without_command=True)(_kernel)
    group.command()(gemm)
    group.command()(kernel_attention.attention)
    group.command()(kernel_moe.moe)
    group.command()(kernel_verify.verify)
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
    weight_dtype: WeightDtypeOption = None,
    group_size: GroupSizeOption = None,
    weight_sparsity: WeightSparsityOption = None,
    fidelity: FidelityOption = "tile",
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Try every mapping on the engine; for small products.")
    ] = False,
    replay: ReplayOption = False,
    output: OutputOption = None,
    timeline: TimelineOption = 0,
    energy: EnergyOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """C = A B: cycles, energy, traffic and what bounds it."""
    from uarch.chip_file import load_chip
    from workloads.single.gemm import simulate_gemm
    from workloads.single.replay import replay_gemm

    simulation = partial(
        simulate_gemm,
        load_chip(chip, with_energy(overrides, energy)),
        m,
        n,
        k,
        dtype=dtype,
        fidelity=fidelity,
        weight_dtype=weight_dtype,
        group_size=group_size,
        weight_sparsity=weight_sparsity,
        exhaustive=exhaustive,
    )
    run, programs = traced_programs(simulation, output, timeline)
    found = replay_gemm(programs) if replay else None

    def show() -> None:
        render(run)
        render_replay(found)

    emit(payload(run) | replay_payload(found), as_json, show)
    refuse_wrong_replay(found)
