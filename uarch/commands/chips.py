"""``uarch chips``: the presets with their peaks, or one chip in full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from results.plots.quantities import quantity
from uarch.commands.output import JsonOption, SetOption, console, emit, table
from uarch.commands.sections import Section
from uarch.errors import InputError

if TYPE_CHECKING:
    from uarch.chip.schema import Chip

SECTION = Section.LOOK_UP


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(chips)


def chips(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME_OR_FILE]", help="A preset or a chip file; all presets if left out."),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the chip presets, or one chip with every field and its derived peaks."""
    from uarch.chip_file import load_chip, preset_names

    if name is not None:
        chip = load_chip(name, overrides or ())
        emit({**derived(chip), "chip": chip.model_dump(mode="json")}, as_json, lambda: _render_one(chip))
        return
    if overrides:
        raise InputError(f"--set {overrides[0]}: needs a chip; allowed: uarch chips NAME_OR_FILE --set FIELD=VALUE")
    presets = [load_chip(preset) for preset in preset_names()]
    emit({"chips": [derived(chip) for chip in presets]}, as_json, lambda: _render_all(presets))


def derived(chip: Chip) -> dict[str, Any]:
    """What follows from the fields of a chip, units in the keys; ``peak_flops`` is FLOP/s by datatype."""
    from uarch.chip_summary import physical_summary

    return {
        "name": chip.name,
        "description": chip.description,
        "kind": chip.kind,
        "peak_flops": {dtype: chip.peak_flops(dtype) for dtype in chip.dtypes},
        "peak_vector_flops": chip.peak_vector_flops,
        "peak_special_ops_per_second": chip.peak_special_ops_per_second,
        "l1_bytes_per_second": chip.l1_bytes_per_second,
        "l2_bytes_per_second": chip.l2_bytes_per_second,
        "dram_bytes_per_second": chip.memory.bandwidth_bytes_per_second,
        "bits_per_second_per_pin": chip.bits_per_second_per_pin,
        "on_chip_bytes": chip.on_chip_bytes,
        "capacity_bytes": chip.capacity_bytes,
        "usable_bytes": chip.usable_bytes,
        **physical_summary(chip),
    }


def _render_all(presets: list[Chip]) -> None:
    columns = ["chip", "kind", "cores x lanes", "array", "fp16", "vector", "L1 + L2", "memory", "bandwidth"]
    columns += ["die", "die + memory", "TDP"]
    console().print(table("Chips", columns, map(_row, presets)))


def _row(chip: Chip) -> Iterator[str]:
    from uarch.silicon.area import die_area_mm2
    from uarch.silicon.cost import dies_per_wafer, hardware_cost_usd
    from uarch.silicon.tdp import tdp_watts

    systolic = chip.core.systolic
    yield chip.name
    yield chip.kind
    yield f"{chip.core.count} x {chip.core.lanes}"
    yield f"{systolic.rows} x {systolic.cols} {systolic.dataflow.upper()}"
    yield quantity(chip.peak_flops("fp16"), "FLOP/s") if "fp16" in chip.dtypes else "-"
    yield quantity(chip.peak_vector_flops, "FLOP/s")
    yield f"{chip.on_chip_bytes / 2**20:.0f} MB"
    yield f"{chip.memory.capacity_gib:g} GB {chip.memory.technology.upper()}"
    yield quantity(chip.memory.bandwidth_bytes_per_second, "B/s")
    yield f"{die_area_mm2(chip):.0f} mm2"
    yield f"${hardware_cost_usd(chip):,.0f}" if dies_per_wafer(chip) else "-"
    yield f"{tdp_watts(chip):.0f} W"


def _render_one(chip: Chip) -> None:
    stated = chip.model_dump(mode="json", exclude_none=True)
    fields = [(name, _text(value)) for name, value in _flat(stated, "")]
    peaks = [(name, _text(value)) for name, value in _flat(derived(chip), "") if name not in dict(fields)]
    screen = console()
    screen.print(table(f"{chip.name}: {chip.description}", ["field", "value"], fields, left=2))
    screen.print(table("Derived", ["quantity", "value"], peaks, left=2))


def _flat(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
