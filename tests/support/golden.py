"""Figures of other simulators and of real chips: a thinned set in ``tests/golden``, the whole ones where a folder has them.

The environment variable ``UARCH_REFERENCE`` names that folder.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "golden"
REFERENCE = Path(os.environ["UARCH_REFERENCE"]) if os.environ.get("UARCH_REFERENCE") else None

Row = dict[str, str]


def read_rows(path: Path) -> list[Row]:
    """Rows of a table whose first line names its columns."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def golden_rows(shipped: str, reference: str) -> list[Row]:
    """Rows of a shipped table, then those that the reference has besides."""
    rows = read_rows(SHIPPED / shipped)
    if REFERENCE is None:
        return rows
    columns = rows[0].keys()
    known = {tuple(row.values()) for row in rows}
    full = [{column: row[column] for column in columns} for row in read_rows(REFERENCE / reference)]
    assert known <= {tuple(row.values()) for row in full}, f"{shipped}: not what {reference} of the reference says"
    return rows + [row for row in full if tuple(row.values()) not in known]
