"""Reading measured kernels from CSV files: every mistake is one line with the file and the line number."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uarch.errors import InputError
from uarch.files.reading import one_line, read_text, validate
from workloads.measured.rows import ROW_TYPES, SUITES, Measurement

SUITE_COLUMN = "suite"
"""Optional column of a file that holds rows of several suites."""
TIME_COLUMN = "time_us"


def read_measurements(
    path: str | Path, suite: str | None = None, *, timed: bool = True
) -> dict[str, list[Measurement]]:
    """Read the rows of a CSV file by suite, in the file's order.

    A file with a column ``suite`` holds rows of several; any other holds those of one, which its columns tell. With
    ``suite`` given, only its rows are returned. Every row has a time unless ``timed`` is false.

    Raises :class:`uarch.InputError` for a file that cannot be read, lacks columns or has a bad row (with its line number).
    """
    name = one_line(str(path))
    reader = csv.DictReader(io.StringIO(read_text(Path(path))), strict=True)
    found: dict[str, list[Measurement]] = {}
    try:
        columns = list(reader.fieldnames or [])
        fixed = None if SUITE_COLUMN in columns else _suite_of(columns, suite, name, timed)
        for cells in reader:
            where = f"{name}, line {reader.line_num}"
            kind = fixed or _row_suite(cells, where)
            row = validate(ROW_TYPES[kind], _filled(cells, where), where)
            if timed and row.time_us is None:
                raise InputError(f"{where}: {TIME_COLUMN} is missing")
            if suite in (None, kind):
                found.setdefault(kind, []).append(row)
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: not valid CSV: {error}") from error
    if not found:
        raise InputError(f"{name}: has no rows{f' of suite {suite}' if suite else ''}")
    return found


def required_columns(suite: str, *, timed: bool = True) -> list[str]:
    """List the columns that a file of a suite must have, that of the times among them if its rows are ``timed``."""
    required = [name for name, field in ROW_TYPES[suite].model_fields.items() if field.is_required()]
    return [TIME_COLUMN, *required] if timed else required


def _suite_of(columns: list[str], suite: str | None, name: str, timed: bool) -> str:
    """The suite whose required columns are all there; the most demanding of several."""
    needed = {each: required_columns(each, timed=timed) for each in SUITES}
    candidates = [suite] if suite else sorted(SUITES, key=lambda each: -len(needed[each]))
    for candidate in candidates:
        missing = [column for column in needed[candidate] if column not in columns]
        if not missing:
            return candidate
        if suite:
            raise InputError(
                f"{name}, line 1: lacks column {missing[0]}; suite {suite} needs {', '.join(needed[suite])}"
            )
    needs = "; ".join(f"{each}: {', '.join(required)}" for each, required in needed.items())
    raise InputError(f"{name}, line 1: columns of no suite; needed are those of one of {needs}")


def _row_suite(cells: dict[str, Any], where: str) -> str:
    suite = cells[SUITE_COLUMN]
    if suite not in SUITES:
        raise InputError(f"{where}: {SUITE_COLUMN} = {one_line(repr(suite))}: allowed: {', '.join(SUITES)}")
    return str(suite)


def _filled(cells: dict[Any, Any], where: str) -> dict[str, str]:
    """The cells that are not empty; a line that is longer than the header is an error."""
    if None in cells:
        raise InputError(f"{where}: has more cells than the header has columns")
    return dict(_non_empty(cells))


def _non_empty(cells: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    for column, cell in cells.items():
        if cell is not None and cell.strip():
            yield column, cell.strip()
