"""Intervals of an execution, recorded by the engine when they are asked for.

The event loop writes into a buffer of fixed size and pauses when it is full, so that the caller can take what is there: the
memory that a recording takes does not depend on its length.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.contexts import MAX_STAGES
from uarch.jit import inline
from uarch.program import StructArray

IntArray = npt.NDArray[np.int64]

BUFFER_INTERVALS = 1 << 16
"""Least size of the buffer."""
_PER_EVENT = 64
"""More than one event of the loop can record."""

INTERVAL = np.dtype(
    [
        ("core", np.int64),
        ("block", np.int64),  # or NONE
        ("track", np.int64),  # see Track
        ("cause", np.int64),  # on track CORE what the time went to, else the unit or where the operands come from
        ("start_ps", np.int64),
        ("end_ps", np.int64),
        ("bytes", np.int64),
    ]
)


class Track(IntEnum):
    """What an interval is."""

    CORE = 0
    """The core's time by cause; waiting for L1 during a step counts as the unit's work here."""
    BLOCK = 1
    MATRIX = 2
    VECTOR = 3
    LOAD = 4
    """From the request of a step's operands to the arrival of the last one in L1."""
    STORE = 5
    """From the result's leaving to its acceptance."""


class Recorder(NamedTuple):
    """Where intervals go."""

    rows: StructArray
    """Shape ``(buffer,)``, dtype ``INTERVAL``; empty if nothing is recorded."""
    state: IntArray
    """Shape ``(2,)``: rows in use, intervals that may still be recorded (0: recording is off)."""
    block_start_ps: IntArray
    """Shape ``(contexts,)``."""
    load_start_ps: IntArray
    """Shape ``(contexts, MAX_STAGES)``."""
    load_bytes: IntArray
    """Shape ``(contexts, MAX_STAGES)``."""


def new_recorder(most_intervals: int, cores: int, contexts: int) -> Recorder:
    """A recorder of at most so many intervals; 0 records nothing and takes next to no memory."""
    on = most_intervals > 0
    return Recorder(
        np.zeros(BUFFER_INTERVALS + 2 * cores if on else 0, INTERVAL),
        np.array([0, most_intervals], np.int64),
        np.zeros(contexts if on else 0, np.int64),
        np.zeros((contexts if on else 0, MAX_STAGES), np.int64),
        np.zeros((contexts if on else 0, MAX_STAGES), np.int64),
    )


@inline
def recording(recorder: Recorder) -> bool:
    """Whether intervals are wanted."""
    return bool(recorder.state[1] > 0)


@inline
def is_full(recorder: Recorder, cores: int) -> bool:
    """Whether the next event, or the end of the run on all cores, might not find room."""
    return bool(recorder.state[1] > 0 and recorder.state[0] + cores + _PER_EVENT > len(recorder.rows))


@inline
def record(
    recorder: Recorder, core: int, block: int, track: int, cause: int, start_ps: int, end_ps: int, size_bytes: int
) -> None:
    """Add an interval; only while :func:`recording`."""
    row = recorder.rows[recorder.state[0]]
    row["core"] = core
    row["block"] = block
    row["track"] = track
    row["cause"] = cause
    row["start_ps"] = start_ps
    row["end_ps"] = end_ps
    row["bytes"] = size_bytes
    recorder.state[0] += 1
    recorder.state[1] -= 1


def take(recorder: Recorder) -> StructArray:
    """The intervals in the buffer, which is empty afterwards."""
    rows: StructArray = recorder.rows[: recorder.state[0]].copy()
    recorder.state[0] = 0
    return rows
