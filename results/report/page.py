"""The page: a section per run, and a comparison in front if there are several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from results.analysis.side_by_side import comparison_rows
from results.plots.of_traces import bandwidth, comparison, energy, gantt, l2, layers, roofline, utilization
from results.plots.quantities import quantity
from results.plots.selection import run_name, run_setting
from results.plots.style import PlotError
from results.report.accuracy import applicable
from results.report.explain import explain, meanings
from results.report.figures import inline_svg
from results.report.tables import OP_COLUMNS, Cell, facts, flat, op_rows, sortable, summary
from results.trace.trace import Trace
from uarch.files.writing import write_output

_FOLDER = Path(__file__).parent
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""Of the browser for this page: nothing is fetched from anywhere."""

_PLOTS: tuple[tuple[str, Callable[[Trace], Figure]], ...] = (
    ("Time of one layer, by op and by what the cores' time went to", layers.plot),
    ("Roofline of the chip with every op", roofline.plot),
    ("Use of each resource during each op", utilization.plot),
    ("Bandwidth over time", bandwidth.plot),
    ("L2 hit rate of each op", l2.plot),
    ("Energy by op kind and component", energy.plot),
)


def report_html(traces: Sequence[Trace]) -> str:
    """A page on the runs, complete in itself; equal traces give equal pages.

    Raises:
        PlotError: no traces, or one without rows.
    """
    if not traces:
        raise PlotError("report: no traces")
    numbers = iter(range(1, 1000))
    body = "".join(_body(traces, numbers))
    title = escape(run_name(traces[0]) if len(traces) == 1 else f"{len(traces)} runs compared")
    style, script = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        "<meta name='viewport' content='width=device-width'><link rel='icon' href='data:,'>"
        f"<title>{title}</title><style>{style}</style></head>\n<body><main>{body}</main>"
        f"<script>{script}</script></body></html>\n"
    )


def write_report(traces: Trace | Sequence[Trace], path: str | Path) -> None:
    """Write the page on one or more runs, completely or not at all.

    Raises:
        PlotError: as :func:`report_html`.
        OSError: the file cannot be written.
    """
    page = report_html([traces] if isinstance(traces, Trace) else traces)
    write_output(Path(path), page)


def _body(traces: Sequence[Trace], numbers: Iterator[int]) -> Iterator[str]:
    if len(traces) > 1:
        yield "<h1>Runs compared</h1>"
        yield sortable(_COMPARED, _comparison(traces), "The numbers that a comparison starts from")
        yield _figure(comparison.plot(traces), "One layer of each run", numbers)
    for trace in traces:
        yield "<section>"
        yield from _section(trace, numbers)
        yield "</section>"
    yield "<section><h2>What the causes of core time mean</h2>"
    yield facts((name.replace("_", " "), meaning) for name, meaning in meanings())
    version = escape(traces[0].package_version)
    yield f"<p class='note'>Made by uarch {version}. Times, bytes and energy are those of one chip of a group.</p></section>"


_COMPARED = ("run", "latency", "tokens/s", "arrays", "DRAM rate", "of its peak", "energy/token", "bound by")


def _comparison(traces: Sequence[Trace]) -> Iterator[list[Cell]]:
    for trace, row in zip(traces, comparison_rows(traces), strict=True):
        number = {name: float(value) for name, value in row.items() if isinstance(value, int | float)}
        yield [
            Cell(run_name(trace), run_name(trace)),
            Cell(quantity(number["latency_seconds"], "s"), number["latency_seconds"]),
            Cell(f"{number['tokens_per_second']:,.0f}", number["tokens_per_second"]),
            Cell(f"{number['utilization']:.1%}", number["utilization"]),
            Cell(quantity(number["dram_bytes_per_second"], "B/s"), number["dram_bytes_per_second"]),
            Cell(f"{number['dram_bandwidth_fraction']:.1%}", number["dram_bandwidth_fraction"]),
            Cell(quantity(number["energy_per_token_joules"], "J"), number["energy_per_token_joules"]),
            Cell(str(row["bound_by"]), str(row["bound_by"])),
        ]


def _section(trace: Trace, numbers: Iterator[int]) -> Iterator[str]:
    yield f"<h1>{escape(run_name(trace))}</h1><p>{escape(run_setting(trace))}</p>"
    yield facts(summary(trace))
    yield "<h2>Why</h2>" + "".join(f"<p>{escape(sentence)}</p>" for sentence in explain(trace))
    for title, plot in _PLOTS:
        yield f"<h2>{escape(title)}</h2>" + _figure(plot(trace), title, numbers)
    if trace.timeline is not None and len(trace.timeline):
        title = "What each core did during the longest recorded op"
        yield f"<h2>{title}</h2>" + _figure(gantt.plot(trace), title, numbers)
    yield "<h2>Ops</h2>"
    caption = "Instances that did the same are one row. A click on a column's name sorts by it."
    yield sortable(OP_COLUMNS, op_rows(trace), caption)
    yield "<h2>How far off numbers like these are</h2>"
    yield facts((str(one["what"]), f"{one['error']} [{one['source']}]") for one in applicable(trace))
    for name, table in (("Chip", trace.chip), ("Workload", {**trace.workload, "seed": trace.seed})):
        yield f"<details><summary>{name}</summary>{facts(flat(table))}</details>"


def _figure(fig: Figure, title: str, numbers: Iterator[int]) -> str:
    return f"<figure>{inline_svg(fig, next(numbers), escape(title, quote=True))}</figure>"
