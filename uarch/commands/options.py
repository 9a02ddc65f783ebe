"""Options that several commands share."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from uarch.datatypes import Datatype, MatrixDatatype
from workloads.settings.choices import KernelFidelity, KernelPhase

ChipOption = Annotated[
    str, typer.Option("--chip", metavar="NAME_OR_FILE", help="A preset of `uarch chips`, or a TOML file.")
]
PhaseOption = Annotated[KernelPhase, typer.Option("--phase", help="All prompt tokens, or one new token each.")]
BatchOption = Annotated[int, typer.Option("--batch", help="Sequences.")]
DtypeOption = Annotated[MatrixDatatype, typer.Option("--dtype", help="Of all operands.")]
EnergyOption = Annotated[
    str | None,
    typer.Option(
        "--energy", metavar="NAME_OR_FILE", help="Energy table in place of the chip's: a name, or a TOML file."
    ),
]
FidelityOption = Annotated[
    KernelFidelity,
    typer.Option(
        "--fidelity", help="Closed forms; the engine with DRAM serving whole tiles; or with DRAM serving bursts."
    ),
]


def with_energy(overrides: list[str] | None, table: str | None) -> list[str]:
    """Overrides of a chip, with that of its energy table if one is given."""
    return [*(overrides or ()), *([f"energy.table={json.dumps(table)}"] if table is not None else ())]


WeightDtypeOption = Annotated[
    Datatype | None,
    typer.Option("--weight-dtype", help="Of the weights in memory, with scales; if left out, --dtype without scales."),
]
GroupSizeOption = Annotated[
    int | None,
    typer.Option(
        "--group-size",
        help="Weights that share a scale; if left out, 128 of 4 bits, 32 of mxfp4, else a whole column.",
    ),
]
WeightSparsityOption = Annotated[
    str | None,
    typer.Option("--weight-sparsity", metavar="N:M", help="At most N of every M consecutive weights are kept."),
]
ExpertLoadOption = Annotated[
    str,
    typer.Option(
        "--expert-load",
        metavar="LOAD",
        help="Tokens of the experts: balanced, uniform or zipf:S (drawn with --seed), or a file of one share for each.",
    ),
]
