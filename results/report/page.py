"""The page on one or more runs: a section for each, and a comparison in front if there are several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import count
from pathlib import Path

from matplotlib.figure import Figure

from results.analysis.side_by_side import comparison_rows
from results.plots.of_traces import bandwidth, comparison, energy, gantt, l2, layers, power, roofline, utilization
from results.plots.quantities import quantity
from results.plots.selection import run_name, run_setting
from results.plots.style import PlotError
from results.report.accuracy import applicable
from results.report.explain import explain, meanings
from results.report.html import Cell, facts, figure, flat, html_page, sortable, text_cell
from results.report.tables import OP_COLUMNS, op_rows, summary
from results.trace.trace import Trace
from uarch.files.writing import write_output

_PLOTS: tuple[tuple[str, Callable[[Trace], Figure]], ...] = (
    ("Time of one layer, by op and by what the cores' time went to", layers.plot),
    ("Roofline of the chip with every op", roofline.plot),
    ("Use of each resource during each op", utilization.plot),
    ("Bandwidth over time", bandwidth.plot),
    ("L2 hit rate of each op", l2.plot),
    ("Power of one layer over time, and the clock", power.plot),
    ("Energy by op kind and component", energy.plot),
)


def report_html(traces: Sequence[Trace]) -> str:
    """Make a page on the runs, complete in itself; equal traces give equal pages.

    Raises:
        PlotError: no traces, or one without rows.
    """
    if not traces:
        raise PlotError("report: no traces")
    title = run_name(traces[0]) if len(traces) == 1 else f"{len(traces)} runs compared"
    return html_page(title, _body(traces, count(1)))


def write_report(traces: Trace | Sequence[Trace], path: str | Path) -> None:
    """Write the HTML page on one or more runs, completely or not at all.

    The page needs no network and no other file; equal traces give equal pages.

    Parameters
    ----------
    traces
        A trace, or several to be compared.
    path
        Path of the page.

    Raises
    ------
    PlotError
        If there are no traces, or one without rows.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import uarch
    >>> trace = uarch.simulate("h100", "llama-3-8b", "decode", batch=8, seq=1024, fidelity="analytical")
    >>> uarch.write_report(trace, "report.html")
    """
    write_output(Path(path), report_html([traces] if isinstance(traces, Trace) else traces))


def _body(traces: Sequence[Trace], numbers: Iterator[int]) -> Iterator[str]:
    if len(traces) > 1:
        yield "<h1>Runs compared</h1>"
        yield sortable(_COMPARED, _comparison(traces), "The numbers that a comparison starts from")
        yield figure(comparison.plot(traces), "One layer of each run", next(numbers))
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
            text_cell(run_name(trace)),
            Cell(quantity(number["latency_seconds"], "s"), number["latency_seconds"]),
            Cell(f"{number['tokens_per_second']:,.0f}", number["tokens_per_second"]),
            Cell(f"{number['utilization']:.1%}", number["utilization"]),
            Cell(quantity(number["dram_bytes_per_second"], "B/s"), number["dram_bytes_per_second"]),
            Cell(f"{number['dram_bandwidth_fraction']:.1%}", number["dram_bandwidth_fraction"]),
            Cell(quantity(number["energy_per_token_joules"], "J"), number["energy_per_token_joules"]),
            text_cell(str(row["bound_by"])),
        ]


def _section(trace: Trace, numbers: Iterator[int]) -> Iterator[str]:
    yield f"<h1>{escape(run_name(trace))}</h1><p>{escape(run_setting(trace))}</p>"
    yield facts(summary(trace))
    yield "<h2>Why</h2>" + "".join(f"<p>{escape(sentence)}</p>" for sentence in explain(trace))
    for title, plot in _PLOTS:
        yield f"<h2>{escape(title)}</h2>" + figure(plot(trace), title, next(numbers))
    if trace.timeline is not None and len(trace.timeline):
        title = "What each core did during the longest recorded op"
        yield f"<h2>{title}</h2>" + figure(gantt.plot(trace), title, next(numbers))
    yield "<h2>Ops</h2>"
    caption = "Instances that did the same are one row. A click on a column's name sorts by it."
    yield sortable(OP_COLUMNS, op_rows(trace), caption)
    yield "<h2>How far off numbers like these are</h2>"
    yield facts((str(one["what"]), f"{one['error']} [{one['source']}]") for one in applicable(trace))
    for name, table in (("Chip", trace.chip), ("Workload", {**trace.workload, "seed": trace.seed})):
        yield f"<details><summary>{name}</summary>{facts(flat(table))}</details>"
