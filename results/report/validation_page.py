"""The page on a validation: error tables, plots, and the rows that are farthest off, with what they wait for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from results.plots.of_arrays import agreement
from results.plots.quantities import quantity
from results.plots.style import CAUSE_COLOURS, CAUSE_LABELS
from results.report.html import Cell, Markup, figure, html_page, percent_cell, sortable, text_cell
from uarch.files.writing import write_output

Row = Mapping[str, Any]
"""A measured row beside its prediction, as ``uarch validate`` writes it: times in seconds, ``error`` signed."""

_ERRORS = {
    "mape": "mean error",
    "median_ape": "median",
    "p90_ape": "90th percentile",
    "bias": "bias",
    "within_10_percent": "within 10 %",
    "within_20_percent": "within 20 %",
}
_STATISTICS = ("chip", "class", "rows", *_ERRORS.values(), "roofline's mean error")
_WORST = ("chip", "kernel", "measured", "predicted", "error", "bound by", "core time", "mapping")
_WORST_SHOWN = 8


def write_page(
    path: Path, suites: Mapping[str, Mapping[str, Any]], rows: Sequence[Row], sources: Mapping[str, Any]
) -> None:
    """Write the page, completely or not at all.

    ``suites``: name -> ``overall`` and ``chips`` of statistics; ``rows``: all rows, each with its ``suite``; ``sources``: tag
    -> citation, licence and what was timed.

    Raises:
        OSError: the file cannot be written.
    """
    write_output(path, html_page("Validation", _body(suites, rows, sources)))


def _body(suites: Mapping[str, Mapping[str, Any]], rows: Sequence[Row], sources: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h1>Predictions against measurements: {len(rows)} kernels</h1>"
    yield "<p class='note'>Errors are fractions of the measured time; a negative bias means predictions are too fast.</p>"
    for number, (name, tables) in enumerate(suites.items()):
        own = [row for row in rows if row["suite"] == name]
        yield f"<h2>{escape(name)}</h2>"
        yield sortable(_STATISTICS, _statistics(tables), "Errors by chip and class of size")
        yield figure(_agreement(name, own), f"{name}: predicted over measured times", number)
        worst = sorted(own, key=lambda row: -abs(row["error"]))[:_WORST_SHOWN]
        yield sortable(_WORST, map(_worst, worst), "Farthest off")
    yield _legend()
    yield "<h2>Sources</h2>"
    cells = ((tag, f"{source['citation']}; {source['licence']}", source["timed"]) for tag, source in sources.items())
    yield sortable(
        ("source", "from", "timed"), (list(map(text_cell, row)) for row in cells), "Where the times come from"
    )


def _agreement(suite: str, rows: Sequence[Row]) -> Figure:
    names = ("measured_seconds", "predicted_seconds", "roofline_seconds")
    measured, predicted, bound = ([row[name] for row in rows] for name in names)
    chips = [row["chip"] for row in rows]
    return agreement.plot(measured, predicted, bound, chips, f"{suite}: predicted and measured times")


def _statistics(tables: Mapping[str, Any]) -> Iterator[list[Cell]]:
    chips = dict(tables["chips"])
    if len(chips) > 1:
        chips["all chips"] = tables["overall"]
    for name, statistics in chips.items():
        yield _statistics_row(name, "all", statistics)
        if len(statistics["classes"]) > 1:
            for label, fields in statistics["classes"].items():
                yield _statistics_row(name, label, fields)


def _statistics_row(chip: str, size_class: str, fields: Mapping[str, Any]) -> list[Cell]:
    errors = [percent_cell(fields[key]) for key in _ERRORS]
    rows = Cell(str(fields["rows"]), float(fields["rows"]))
    return [text_cell(chip), text_cell(size_class), rows, *errors, percent_cell(fields["roofline"]["mape"])]


def _worst(row: Row) -> list[Cell]:
    return [
        text_cell(row["chip"]),
        text_cell(row["kernel"]),
        *(Cell(quantity(row[key], "s"), row[key]) for key in ("measured_seconds", "predicted_seconds")),
        percent_cell(row["error"]),
        text_cell(row["bound_by"]),
        Cell(_bar(row["cause_shares"]), ""),
        text_cell(row["mapping"]),
    ]


def _bar(shares: Mapping[str, float]) -> Markup:
    parts = "".join(
        f"<div title='{CAUSE_LABELS[cause]} {100 * share:.1f} %' "
        f"style='width:{100 * share:.2f}%;background:{CAUSE_COLOURS[cause]}'></div>"
        for cause, share in shares.items()
    )
    return Markup(f"<div class='bar'>{parts}</div>")


def _legend() -> str:
    keys = (
        f"<span style='background:{colour}'></span>{CAUSE_LABELS[cause]}" for cause, colour in CAUSE_COLOURS.items()
    )
    return f"<p class='key'>Core time:{''.join(keys)}</p>"
