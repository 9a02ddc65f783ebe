"""What a trace file holds: field names, types and units, and the version of that layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SCHEMA_VERSION = 3
"""Version of this layout, which a file carries; files of another version are refused."""

Table = npt.NDArray[Any]
"""A structured array, one row per record."""

STALL_CAUSES = ("matrix", "vector", "l1", "l2_noc", "dram", "link", "dependency", "launch", "idle")
"""What a core's time goes to, in order of priority: of several causes at one instant the first one counts."""

ENERGY_COMPONENTS = ("matrix", "vector", "l1", "l2", "noc", "dram", "link", "static")

BOUND_NAMES = {cause: {"matrix": "compute", "l2_noc": "l2"}.get(cause, cause) for cause in STALL_CAUSES}
"""Stall cause -> the word by which ``bound_by`` names it."""

CAUSE_FIELDS = tuple(f"{cause}_cycles" for cause in STALL_CAUSES)
ENERGY_FIELDS = tuple(f"{component}_joules" for component in ENERGY_COMPONENTS)
TEXT_FIELDS = ("name", "kind", "shape", "bound_by")

_COUNT_FIELDS = (
    "flops",  # useful: of the operator, without padding and masked-out work
    "macs",  # executed by the arrays, padding included
    "vector_ops",
    "special_ops",
    "l1_bytes",
    "l2_bytes",
    "l2_hits",
    "l2_misses",
    "dram_read_bytes",
    "dram_write_bytes",
    "dram_row_hits",
    "dram_row_misses",
    "dram_refreshes",
    "link_bytes",
)

LAYER_DTYPE = np.dtype(
    [
        ("layer", np.int32),  # -1: outside the layers (embedding, LM head)
        ("name", "S48"),
        ("kind", "S24"),
        ("shape", "S96"),
        ("start_cycle", np.int64),
        ("end_cycle", np.int64),
        ("seconds", np.float64),
        ("sustained_hz", np.float64),  # tensor clock that the power cap left the op
        *((field, np.float64) for field in CAUSE_FIELDS),  # mean over the cores; add up to end_cycle - start_cycle
        *((field, np.float64) for field in _COUNT_FIELDS),
        *((field, np.float64) for field in ENERGY_FIELDS),
        ("utilization", np.float64),  # useful matrix work / what the arrays could do in that time
        ("bound_by", "S16"),  # one of BOUND_NAMES' values: see results/bounds.py
    ]
)
"""One row per op instance, in time order, of one chip."""

TIMELINE_TRACKS = ("core", "block", "matrix", "vector", "load", "store")
"""What an interval of the timeline is: the core's time by cause; a block from launch to end; an array or vector unit at
work; operands on their way to L1; a result on its way out."""

TIMELINE_DTYPE = np.dtype(
    [
        ("op", np.int32),  # row of the layers table
        ("core", np.int32),
        ("block", np.int32),  # of the op's tile program; -1 on track "core"
        ("track", np.uint8),  # index into TIMELINE_TRACKS
        ("cause", np.uint8),  # index into STALL_CAUSES: on track "core" what the time went to, else the unit
        ("start_ps", np.int64),  # since the op's start
        ("end_ps", np.int64),
        ("bytes", np.int64),  # of a load or store, else 0
    ]
)
"""One row per interval; the rows of an op stand together, ops in the order of the layers table."""

_UNIT_OF_NAME = {
    "start_cycle": "tensor-clock cycles",
    "end_cycle": "tensor-clock cycles",
    "cycles": "tensor-clock cycles",
    "seconds": "s",
    "flops": "FLOP",
    "macs": "MAC",
    "vector_ops": "lane operations",
    "special_ops": "lane operations",
    "tokens": "tokens",
    "layer": "index, -1 outside the layers",
    "op": "row of /layers",
    "block": "index, -1 for none",
    "track": "index into the attribute 'tracks'",
    "cause": "index into the attribute 'causes'",
    "start_ps": "ps since the op's start",
    "end_ps": "ps since the op's start",
    "bytes": "B",
    "core": "index",
    "utilization": "fraction",
}
_UNIT_OF_SUFFIX = (
    ("_bytes_per_second", "B/s"),
    ("_flops_per_second", "FLOP/s"),
    ("flops_per_second", "FLOP/s"),
    ("tokens_per_second", "tokens/s"),
    ("_cycles", "tensor-clock cycles"),
    ("_seconds", "s"),
    ("_joules", "J"),
    ("_watts", "W"),
    ("_hz", "Hz"),
    ("_bytes", "B"),
    ("_rate", "fraction"),
    ("_fraction", "fraction"),
    ("_hits", "count"),
    ("_misses", "count"),
    ("_refreshes", "count"),
    ("_chips", "count"),
)


def unit_of(field: str) -> str:
    """Unit of a field of any table or of the roll-up, by its name; "text or count" for what carries none."""
    if field in _UNIT_OF_NAME:
        return _UNIT_OF_NAME[field]
    return next((unit for suffix, unit in _UNIT_OF_SUFFIX if field.endswith(suffix)), "text or count")


def units(rollup: Iterable[str] = ()) -> dict[str, str]:
    """Field -> unit of both tables and of the given roll-up fields."""
    return {field: unit_of(field) for field in (*_names(LAYER_DTYPE), *_names(TIMELINE_DTYPE), *rollup)}


def _names(dtype: np.dtype[Any]) -> tuple[str, ...]:
    return dtype.names or ()


_LAYER_FIELDS = frozenset(_names(LAYER_DTYPE))


def layer_table(rows: Sequence[Mapping[str, str | float]]) -> Table:
    """Table of ``LAYER_DTYPE`` from one mapping per op instance; absent fields are zero or empty.

    Raises:
        ValueError: a field that the schema does not have, or a text too long for its field.
    """
    known = _names(LAYER_DTYPE)
    for index, row in enumerate(rows):
        if not row.keys() <= _LAYER_FIELDS:
            field = next(name for name in row if name not in _LAYER_FIELDS)
            raise ValueError(f"row {index}: no field {field!r} in the layers table")
        for field in TEXT_FIELDS:
            limit = LAYER_DTYPE[field].itemsize
            if len(str(row.get(field, "")).encode()) > limit:
                raise ValueError(f"row {index}: {field} {row[field]!r} is longer than {limit} bytes")
    table = np.zeros(len(rows), LAYER_DTYPE)
    for field in known:
        if field in TEXT_FIELDS:
            table[field] = [str(row.get(field, "")).encode() for row in rows]
        else:
            table[field] = [row.get(field, 0) for row in rows]
    return table


def text(column: npt.NDArray[np.bytes_]) -> list[str]:
    """A column of fixed-length bytes as Python strings."""
    return [value.decode() for value in column.tolist()]


def matrix(table: Table, fields: Sequence[str]) -> npt.NDArray[np.float64]:
    """The named fields as columns: shape (len(table), len(fields))."""
    return np.stack([table[field].astype(np.float64) for field in fields], axis=1)
