"""Files of older schemas, brought to the present one.

Version 1: layers as now, but for fields that were added later; the timeline had one row per core and cause, in cycles
since the start of the run.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from results.trace.schema import LAYER_DTYPE, TIMELINE_DTYPE, TIMELINE_TRACKS, Table

TIMELINE_1 = np.dtype(
    [
        ("core", np.int32),
        ("op", np.int32),
        ("cause", np.uint8),
        ("start_cycle", np.int64),
        ("end_cycle", np.int64),
    ]
)


def layers(table: Table) -> Table:
    """A layers table with the fields of the present schema; those that it does not have are zero or empty.

    Raises:
        TypeError: it has a field that the schema does not have, or one of another type.
    """
    for name in table.dtype.names or ():
        if name not in (LAYER_DTYPE.names or ()) or table.dtype[name] != LAYER_DTYPE[name]:
            raise TypeError(f"/layers has an unknown field {name}")
    made = np.zeros(len(table), LAYER_DTYPE)
    for name in table.dtype.names or ():
        made[name] = table[name]
    return made


def intervals(table: Table, op_starts: npt.NDArray[np.int64], clock_hz: float) -> Table:
    """Rows of version 1 as rows of track "core".

    Args:
        table: dtype ``TIMELINE_1``.
        op_starts: ``start_cycle`` of the layers table, int64, shape ``(ops,)``.
        clock_hz: tensor clock.

    Raises:
        IndexError: a row of an op that the layers table does not have.
    """
    made = np.zeros(len(table), TIMELINE_DTYPE)
    for name in ("core", "op", "cause"):
        made[name] = table[name]
    made["block"] = -1
    made["track"] = TIMELINE_TRACKS.index("core")
    for end in ("start", "end"):
        cycles = table[f"{end}_cycle"] - op_starts[table["op"]]
        made[f"{end}_ps"] = np.round(cycles * (1e12 / clock_hz))
    return made
