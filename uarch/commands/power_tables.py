"""Tables of ``uarch validate power``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from uarch.commands.output import console, percent, table

if TYPE_CHECKING:
    from workloads.validation.power_suite import JudgedPower

_COLUMNS = (
    "rows of",
    "",
    "rows",
    "power MAPE",
    "bias",
    "worst",
    "in range",
    "J/token MAPE",
    "bias",
    "worst",
    "time bias",
)


def payload_of_row(judged: JudgedPower) -> dict[str, Any]:
    """Fields of a judged row, JSON-able, units in the keys."""
    row, prediction = judged.row, judged.prediction
    return {
        "phase": row.phase,
        "chip": row.chip,
        "work": row.label,
        "source": row.source,
        "use": row.use,
        "measured_watts": row.power_w,
        "predicted_watts": prediction.watts,
        "predicted_low_watts": prediction.low_watts,
        "predicted_high_watts": prediction.high_watts,
        "predicted_hz": prediction.hz,
        "predicted_seconds": prediction.seconds,
        "error": judged.error,
        "energy_per_token_error": judged.energy_error,
        "time_error": judged.time_error,
    }


def render_power(report: dict[str, Any], farthest: Sequence[JudgedPower]) -> None:
    """Print errors by phase, chip and batch, and the rows that are farthest off."""
    screen = console()
    lines = [_line("all", "", report["overall"])]
    for group in ("phases", "chips", "batches"):
        lines += [_line(group if not i else "", name, found) for i, (name, found) in enumerate(report[group].items())]
    screen.print(table("Board power and energy per token: errors of predictions", _COLUMNS, lines, left=2))
    columns = ("phase", "chip", "work", "measured W", "predicted W", "range", "error")
    screen.print(table("Farthest off", columns, map(_worst, farthest), left=3))


def _line(group: str, name: str, found: dict[str, Any]) -> list[str]:
    energy, time = found.get("energy_per_token"), found.get("time")
    cells = [group, name, str(found["rows"]), *(percent(found[key]) for key in ("mape", "bias", "worst", "in_range"))]
    cells += [percent(energy[key]) for key in ("mape", "bias", "worst")] if energy else ["-"] * 3
    return [*cells, percent(time["bias"]) if time else "-"]


def _worst(judged: JudgedPower) -> Iterator[str]:
    prediction = judged.prediction
    yield judged.row.phase
    yield judged.row.chip
    yield judged.row.label
    yield f"{judged.row.power_w:.0f}"
    yield f"{prediction.watts:.0f}"
    yield f"{prediction.low_watts:.0f} to {prediction.high_watts:.0f}"
    yield percent(judged.error)
