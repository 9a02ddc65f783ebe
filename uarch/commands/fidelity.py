"""``uarch fidelity``: how far the engine's two memory models are apart."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from uarch.commands.options import ChipOption
from uarch.commands.output import JsonOption, SetOption, console, emit, table
from uarch.commands.sections import Section

SECTION = Section.ACCURACY


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(fidelity)


def fidelity(
    chip: ChipOption = "h100",
    overrides: SetOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller kernels, which take less time.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Time of kernels that wait for DRAM, with DRAM serving whole tiles and serving every burst."""
    from uarch.chip_file import load_chip
    from workloads.validation.fidelity import compare_fidelities

    model = load_chip(chip, overrides or ())
    sizes: dict[str, Any] = {
        "gemm_rows": (8,),
        "gemm_size": 2048,
        "l2_multiple": 1.5,
        "kv_lengths": (1024,),
        "pages": 4096,
    }
    cases = list(compare_fidelities(model, **(sizes if quick else {})))
    payload = {
        "chip": model.name,
        "kernels": [
            {
                "kernel": case.kernel,
                "tile_seconds": case.tile_seconds,
                "burst_seconds": case.burst_seconds,
                "difference": case.difference,
            }
            for case in cases
        ],
    }

    def render() -> None:
        rows = [
            (
                case.kernel,
                f"{case.tile_seconds * 1e6:.2f}",
                f"{case.burst_seconds * 1e6:.2f}",
                f"{case.difference:+.1%}",
            )
            for case in cases
        ]
        columns = ("kernel", "tile (us)", "burst (us)", "difference")
        console().print(table(f"Fidelity of the memory model on {model.name}", columns, rows))

    emit(payload, as_json, render)
