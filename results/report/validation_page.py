"""One self-contained HTML page of a validation: error tables, plots, and the worst rows with their explanation."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from results.plots.of_arrays import agreement
from results.plots.quantities import quantity
from results.plots.style import CAUSE_COLOURS, CAUSE_LABELS
from uarch.files.writing import write_output

Row = Mapping[str, Any]
"""A measured row beside its prediction, as ``uarch validate`` writes it: times in seconds, ``error`` signed."""

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #111; max-width: 1060px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: 0.8em 0; } td, th { padding: 2px 10px; text-align: right; }
th { border-bottom: 1px solid #999; font-weight: 600; } td.text, th.text { text-align: left; }
tr.total td { font-weight: 600; border-top: 1px solid #ddd; }
img { max-width: 100%; } p.note { color: #555; } .bar { display: flex; width: 220px; height: 12px; }
.key span { display: inline-block; width: 12px; height: 12px; margin: 0 4px 0 14px; vertical-align: -1px; }
"""
_COLUMNS = (
    ("mape", "mean error"),
    ("median_ape", "median"),
    ("p90_ape", "90th percentile"),
    ("bias", "bias"),
    ("within_10_percent", "within 10 %"),
    ("within_20_percent", "within 20 %"),
)


def write_page(
    path: Path, suites: Mapping[str, Mapping[str, Any]], rows: Sequence[Row], sources: Mapping[str, Any]
) -> None:
    """Write the page, completely or not at all.

    ``suites``: name -> ``overall`` and ``chips`` of statistics; ``rows``: all rows, each with its ``suite``; ``sources``: tag
    -> citation, licence and what was timed.

    Raises:
        OSError: the file cannot be written.
    """
    body = "".join(_page(suites, rows, sources))
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Validation</title><style>{_STYLE}</style>{body}</html>"
    write_output(path, page)


def _page(suites: Mapping[str, Mapping[str, Any]], rows: Sequence[Row], sources: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h1>Predictions against measurements: {len(rows)} kernels</h1>"
    yield "<p class='note'>Errors are fractions of the measured time; a negative bias means predictions are too fast.</p>"
    for name, tables in suites.items():
        own = [row for row in rows if row["suite"] == name]
        yield f"<h2>{escape(name)}</h2>"
        yield from _statistics(tables)
        yield _image(_figure(name, own))
        yield "<p>Farthest off:</p>"
        yield from _worst(sorted(own, key=lambda row: -abs(row["error"]))[:8])
    yield from _legend()
    yield "<h2>Sources</h2><table><tr><th class='text'>source</th><th class='text'>from</th><th class='text'>timed</th></tr>"
    for tag, source in sources.items():
        cells = (tag, f"{source['citation']}; {source['licence']}", source["timed"])
        yield f"<tr>{''.join(f'<td class=text>{escape(cell)}</td>' for cell in cells)}</tr>"
    yield "</table>"


def _figure(suite: str, rows: Sequence[Row]) -> Figure:
    names = ("measured_seconds", "predicted_seconds", "roofline_seconds")
    measured, predicted, bound = ([row[name] for row in rows] for name in names)
    chips = [row["chip"] for row in rows]
    return agreement.plot(measured, predicted, bound, chips, f"{suite}: predicted and measured times")


def _statistics(tables: Mapping[str, Any]) -> Iterator[str]:
    heads = "".join(f"<th>{title}</th>" for _, title in _COLUMNS)
    yield f"<table><tr><th class=text>chip</th><th class=text>class</th><th>rows</th>{heads}<th>roofline's mean error</th></tr>"
    chips = dict(tables["chips"])
    if len(chips) > 1:
        chips["all"] = tables["overall"]
    for name, statistics in chips.items():
        yield _statistics_row(name, "all", statistics, "total")
        if len(statistics["classes"]) > 1:
            for label, fields in statistics["classes"].items():
                yield _statistics_row("", label, fields, "")
    yield "</table>"


def _statistics_row(name: str, label: str, fields: Mapping[str, Any], kind: str) -> str:
    values = "".join(f"<td>{_percent(fields[key])}</td>" for key, _ in _COLUMNS)
    return (
        f"<tr class='{kind}'><td class=text>{escape(name)}</td><td class=text>{escape(label)}</td><td>{fields['rows']}</td>"
        f"{values}<td>{_percent(fields['roofline']['mape'])}</td></tr>"
    )


def _worst(rows: Iterable[Row]) -> Iterator[str]:
    heads = ("chip", "kernel", "measured", "predicted", "error", "bound by", "core time", "mapping")
    yield f"<table><tr>{''.join(f'<th class=text>{head}</th>' for head in heads)}</tr>"
    for row in rows:
        times = "".join(f"<td>{quantity(row[key], 's')}</td>" for key in ("measured_seconds", "predicted_seconds"))
        yield (
            f"<tr><td class=text>{escape(row['chip'])}</td><td class=text>{escape(row['kernel'])}</td>{times}"
            f"<td>{_percent(row['error'])}</td><td class=text>{escape(row['bound_by'])}</td>"
            f"<td>{_bar(row['cause_shares'])}</td><td class=text>{escape(row['mapping'])}</td></tr>"
        )
    yield "</table>"


def _bar(shares: Mapping[str, float]) -> str:
    parts = "".join(
        f"<div title='{CAUSE_LABELS[cause]} {_percent(share)}' "
        f"style='width:{100 * share:.2f}%;background:{CAUSE_COLOURS[cause]}'></div>"
        for cause, share in shares.items()
    )
    return f"<div class='bar'>{parts}</div>"


def _legend() -> Iterator[str]:
    yield "<p class='key'>Core time:"
    for cause, colour in CAUSE_COLOURS.items():
        yield f"<span style='background:{colour}'></span>{CAUSE_LABELS[cause]}"
    yield "</p>"


def _image(fig: Figure) -> str:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"<img alt='predicted over measured times' src='data:image/png;base64,{encoded}'>"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
