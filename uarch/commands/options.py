"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

ChipOption = Annotated[
    str, typer.Option("--chip", metavar="NAME_OR_FILE", help="A preset of `uarch chips`, or a TOML file.")
]
PhaseOption = Annotated[
    Literal["prefill", "decode"], typer.Option("--phase", help="All prompt tokens, or one new token each.")
]
BatchOption = Annotated[int, typer.Option("--batch", help="Sequences.")]
DtypeOption = Annotated[
    Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8"], typer.Option("--dtype", help="Of all operands.")
]
FidelityOption = Annotated[
    Literal["analytical", "tile", "burst"],
    typer.Option(
        "--fidelity", help="Closed forms; the engine with DRAM serving whole tiles; or with DRAM serving bursts."
    ),
]
PhaseFidelityOption = Annotated[
    Literal["analytical", "lltile", "tile", "burst"],
    typer.Option(
        "--fidelity",
        help="Closed forms; LLMCompass's block model; the engine, its DRAM serving whole tiles, or bursts.",
    ),
]
