"""Traces to files of other formats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from results.exports import chrome, tables
from results.exports.tables import TABLES, ExportError
from results.trace.trace import Trace
from results.trace.trace_file import read_intervals
from uarch.files.writing import output_file, text_of

FORMATS = {"chrome": ".json", "csv": ".csv", "parquet": ".parquet"}
"""Format -> ending of its files."""


def export_trace(
    files: str | Path | Sequence[str | Path], target: str | Path, to: str = "chrome", table: str = "layers"
) -> int:
    """Write trace files as trace events or as a table.

    Timelines are read part by part, whatever their size.

    Parameters
    ----------
    files
        Path of a trace file; several for ``chrome`` only, where each becomes a process.
    target
        Path of the file to write, completely or not at all.
    to
        ``chrome`` (JSON for Perfetto and Chrome), ``csv`` or ``parquet`` (with pyarrow).
    table
        Table to write as CSV or Parquet: ``layers``, ``timeline`` or ``rollup``.

    Returns
    -------
    int
        Number of events or rows.

    Raises
    ------
    ExportError
        For an unknown format or table, several traces for a table, no timeline, or if pyarrow is missing.
    TraceError
        If a file is no trace.
    OSError
        If ``target`` cannot be written.

    Examples
    --------
    >>> import uarch
    >>> trace = uarch.simulate("h100", "llama-3-8b", "decode", batch=1, seq=128, fidelity="analytical")
    >>> trace.save("decode.h5")
    >>> uarch.export_trace("decode.h5", "ops.csv", to="csv") == len(trace.layers)
    True
    """
    paths = [Path(file) for file in ([files] if isinstance(files, str | Path) else files)]
    for name, value, allowed in (("format", to, tuple(FORMATS)), ("table", table, TABLES)):
        if value not in allowed:
            raise ExportError(f"--{name} {value}: unknown, allowed: {', '.join(allowed)}")
    if len(paths) != 1 and to != "chrome":
        raise ExportError(f"--format {to}: takes one trace, got {len(paths)}; several are allowed for chrome")
    traces = [Trace.load(path, with_timeline=False) for path in paths]
    with output_file(Path(target)) as file:
        if to == "parquet":
            return tables.write_parquet(file, _parts(table, traces[0], paths[0]))
        with text_of(file) as text:
            if to == "chrome":
                return chrome.write(text, traces, [partial(read_intervals, path) for path in paths])
            return tables.write_csv(text, _parts(table, traces[0], paths[0]))


def _parts(table: str, trace: Trace, path: Path) -> Iterable[dict[str, Any]]:
    if table == "rollup":
        return [tables.rollup_columns(trace)]
    if table == "layers":
        return map(tables.columns, tables.in_parts(trace.layers))
    parts = read_intervals(path)
    first = next(iter(parts), None)
    if first is None:
        raise ExportError(f"--table timeline: {path} has none; record one with --timeline")
    return map(tables.columns, chain([first], parts))
