"""Tables of a trace as CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import IO, Any, BinaryIO

import numpy as np

from results.trace.schema import STALL_CAUSES, TIMELINE_TRACKS, Table, text, unit_of
from results.trace.trace import Trace

TABLES = ("layers", "timeline", "rollup")
_ROWS_AT_ONCE = 1 << 14


class ExportError(ValueError):
    """An export that cannot be made: the message is one line."""


def columns(table: Table) -> dict[str, Any]:
    """Column -> list of Python values; texts decoded, tracks and causes of a timeline by name."""
    made: dict[str, Any] = {}
    for name in table.dtype.names or ():
        made[name] = text(table[name]) if table.dtype[name].kind == "S" else table[name].tolist()
    if "track" in made:
        made["track"] = [TIMELINE_TRACKS[value] for value in made["track"]]
        made["cause"] = [STALL_CAUSES[value] for value in made["cause"]]
    return made


def rollup_columns(trace: Trace) -> dict[str, Any]:
    """The roll-up as a table of three columns."""
    rollup = trace.rollup
    return {"name": list(rollup), "value": list(rollup.values()), "unit": [unit_of(name) for name in rollup]}


def write_csv(file: IO[str], parts: Iterable[dict[str, Any]]) -> int:
    """Write a header and one line per row; returns the number of rows. Numbers are written so that they read back equal."""
    writer = csv.writer(file, lineterminator="\n")
    rows = 0
    for part in parts:
        if not rows:
            writer.writerow(part)
        values = list(part.values())
        writer.writerows(zip(*values, strict=True))
        rows += len(values[0])
    return rows


def write_parquet(file: BinaryIO, parts: Iterable[dict[str, Any]]) -> int:
    """Write a Parquet file; returns the number of rows.

    Raises:
        ExportError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ExportError(
            "--format parquet: needs pyarrow, which is not installed; install it, or choose csv"
        ) from error
    rows, writer = 0, None
    for part in parts:
        table = pyarrow.table(part)
        writer = writer or pyarrow.parquet.ParquetWriter(file, table.schema)
        writer.write_table(table)
        rows += table.num_rows
    if writer is not None:
        writer.close()
    return rows


def in_parts(table: Table) -> Iterable[Table]:
    """A table in pieces of a size that is written at once; one empty piece of an empty table."""
    return np.split(table, range(_ROWS_AT_ONCE, len(table), _ROWS_AT_ONCE))
