"""Options that several commands share."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from workloads.settings.choices import KernelPhase

ChipOption = Annotated[
    str, typer.Option("--chip", metavar="NAME_OR_FILE", help="A preset of `uarch chips`, or a TOML file.")
]
PhaseOption = Annotated[KernelPhase, typer.Option("--phase", help="All prompt tokens, or one new token each.")]
EnergyOption = Annotated[
    str | None,
    typer.Option(
        "--energy", metavar="NAME_OR_FILE", help="Energy table in place of the chip's: a name, or a TOML file."
    ),
]


def with_energy(overrides: list[str] | None, table: str | None) -> list[str]:
    """Overrides of a chip, with that of its energy table if one is given."""
    return [*(overrides or ()), *([f"energy.table={json.dumps(table)}"] if table is not None else ())]


ExpertLoadOption = Annotated[
    str,
    typer.Option(
        "--expert-load",
        metavar="LOAD",
        help="Tokens of the experts: balanced, uniform or zipf:S (drawn with --seed), or a file of one share for each.",
    ),
]
