"""``uarch kernel moe``: a mixture of experts alone on a chip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uarch.commands.kernel.output import payload, render
from uarch.commands.kernel.shared import KernelSetting, WeightOptions
from uarch.commands.option_groups import expanded
from uarch.commands.options import (
    ExpertLoadOption,
)
from uarch.commands.output import console, emit, table

if TYPE_CHECKING:
    from uarch.chip.schema import Chip
    from workloads.single.moe import MoeRun


@expanded
def moe(
    *,
    setting: KernelSetting,
    tokens: Annotated[int, typer.Option("--tokens", help="Tokens of all chips together.")],
    experts: Annotated[int, typer.Option("--experts", help="Routed experts.")],
    top_k: Annotated[int, typer.Option("--top-k", help="Experts that a token visits.")],
    hidden: Annotated[int, typer.Option("--hidden", help="Width of the residual stream.")],
    ffn: Annotated[int, typer.Option("--intermediate", help="Inner width of an expert.")],
    shared_ffn: Annotated[
        int, typer.Option("--shared", help="Inner width of the experts that every token visits.")
    ] = 0,
    tp: Annotated[int, typer.Option("--tp", help="Chips that split the columns of every expert.")] = 1,
    ep: Annotated[int, typer.Option("--ep", help="Groups of such chips that split the experts and the tokens.")] = 1,
    expert_load: ExpertLoadOption = "uniform",
    weights: WeightOptions,
    seed: Annotated[int, typer.Option("--seed", help="Draws the experts of tokens.")] = 0,
) -> None:
    """A mixture of experts: router, permutation, exchange, grouped GEMMs, weighted sum."""
    from workloads.single.moe import simulate_moe

    def simulation(chip: Chip) -> MoeRun:
        return simulate_moe(
            chip,
            tokens=tokens,
            experts=experts,
            top_k=top_k,
            hidden=hidden,
            ffn=ffn,
            shared_ffn=shared_ffn,
            tp=tp,
            ep=ep,
            expert_load=expert_load,
            dtype=setting.dtype,
            fidelity=setting.fidelity,
            weight_dtype=weights.weight_dtype,
            group_size=weights.group_size,
            weight_sparsity=weights.weight_sparsity,
            seed=seed,
        )

    run, _ = setting.run(simulation)
    fields = {"expert_rows": list(run.expert_rows), "imbalance": run.imbalance}
    emit({**payload(run.kernel), **fields}, setting.as_json, lambda: _render(run))


def _render(run: MoeRun) -> None:
    render(run.kernel)
    rows = sorted(run.expert_rows)
    facts = [
        ("experts on this chip", f"{len(rows)}, {sum(count > 0 for count in rows)} with work"),
        ("rows of an expert", f"{rows[0]} to {rows[-1]}, median {rows[len(rows) // 2]}"),
        ("rows of this chip over the mean", f"{run.imbalance:.3f}"),
    ]
    console().print(table("Load", ("quantity", "value"), facts, left=2))
