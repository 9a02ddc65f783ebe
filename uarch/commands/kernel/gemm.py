"""``uarch kernel``: one kernel alone on a chip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
from uarch.commands.kernel.shared import KernelSetting, WeightOptions
from uarch.commands.option_groups import expanded
from uarch.commands.output import emit

if TYPE_CHECKING:
    from uarch.chip.schema import Chip
    from workloads.running.kernel_run import KernelRun


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


@expanded
def gemm(
    *,
    setting: KernelSetting,
    m: Annotated[int, typer.Option("-m", "-M", help="Rows of A and C.")],
    n: Annotated[int, typer.Option("-n", "-N", help="Columns of B and C.")],
    k: Annotated[int, typer.Option("-k", "-K", help="Columns of A, rows of B.")],
    weights: WeightOptions,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Try every mapping on the engine; for small products.")
    ] = False,
    replay: ReplayOption = False,
) -> None:
    """C = A B: cycles, energy, traffic and what bounds it."""
    from workloads.single.gemm import simulate_gemm
    from workloads.single.replay import replay_gemm

    def simulation(chip: Chip) -> KernelRun:
        return simulate_gemm(
            chip,
            m,
            n,
            k,
            dtype=setting.dtype,
            fidelity=setting.fidelity,
            weight_dtype=weights.weight_dtype,
            group_size=weights.group_size,
            weight_sparsity=weights.weight_sparsity,
            exhaustive=exhaustive,
        )

    run, programs = setting.run(simulation)
    found = replay_gemm(programs) if replay else None

    def show() -> None:
        render(run)
        render_replay(found)

    emit(payload(run) | replay_payload(found), setting.as_json, show)
    refuse_wrong_replay(found)
