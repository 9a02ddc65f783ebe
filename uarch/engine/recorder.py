"""Intervals of an execution, recorded by the engine when they are asked for.

The event loop writes into a buffer of fixed size and pauses when it is full, so that the caller can take what is there: the
memory that a recording takes does not depend on its length. Whether there is a recorder is decided by its type when the
loop is compiled: one that records nothing is not slowed down.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from uarch.arrays import IntArray
from uarch.engine.resident_blocks import EXECUTE, MAX_STAGES
from uarch.events import Cause
from uarch.jit import by_type, inline
from uarch.program.records import NONE, OUT, A, B, Op, StructArray

BUFFER_INTERVALS = 1 << 16
"""Least number of intervals that the buffer holds."""
_PER_EVENT = 64
"""Bound of the intervals that one event of the loop can record for a core."""

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
    """Kind of an interval."""

    CORE = 0
    """The core's time by cause; waiting for L1 during a step counts as the unit's work here."""
    BLOCK = 1
    MATRIX = 2
    VECTOR = 3
    LOAD = 4
    """Load of a step's operands, from their request to the arrival of the last one in L1."""
    STORE = 5
    """Store of a step's result, from its leaving to its acceptance."""


_CORE, _BLOCK, _MATRIX, _VECTOR, _LOAD, _STORE = (int(track) for track in Track)
_MATRIX_CAUSE, _VECTOR_CAUSE, _L2_NOC_CAUSE = int(Cause.MATRIX), int(Cause.VECTOR), int(Cause.L2_NOC)
_MATMUL = int(Op.MATMUL)


class NoRecorder(NamedTuple):
    """Recorder that records nothing: the event loop compiled with it has no trace of a recorder."""

    intervals: int = 0


class Recorder(NamedTuple):
    """Buffer of recorded intervals, and what is known of those that have not ended."""

    rows: StructArray
    """Recorded intervals, dtype ``INTERVAL``, shape ``(buffer,)``."""
    state: IntArray
    """Rows in use, and intervals that may still be recorded; shape ``(2,)``."""
    block_start_ps: IntArray
    """Picosecond at which each context's block began, shape ``(contexts,)``."""
    load_start_ps: IntArray
    """Picosecond at which the operands of each stage were asked for, shape ``(contexts, MAX_STAGES)``."""
    load_bytes: IntArray
    """Bytes that each stage was asked for, shape ``(contexts, MAX_STAGES)``."""


AnyRecorder = NoRecorder | Recorder


def new_recorder(most_intervals: int, cores: int, contexts: int) -> AnyRecorder:
    """A recorder of at most so many intervals."""
    if most_intervals == 0:
        return NoRecorder()
    return Recorder(
        np.zeros(BUFFER_INTERVALS + 2 * cores, INTERVAL),
        np.array([0, most_intervals], np.int64),
        np.zeros(contexts, np.int64),
        np.zeros((contexts, MAX_STAGES), np.int64),
        np.zeros((contexts, MAX_STAGES), np.int64),
    )


def take(recorder: AnyRecorder) -> StructArray:
    """The intervals in the buffer, which is empty afterwards."""
    if isinstance(recorder, NoRecorder):
        return np.zeros(0, INTERVAL)
    rows: StructArray = recorder.rows[: recorder.state[0]].copy()
    recorder.state[0] = 0
    return rows


@inline
def _add(
    recorder: Recorder, core: int, block: int, track: int, cause: int, start_ps: int, end_ps: int, size_bytes: int
) -> None:
    """Add an interval, if more are wanted."""
    if recorder.state[1] <= 0:
        return
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


@inline
def _box_bytes(program: Any, pc: int, which: int) -> int:
    """Bytes of an operand's box in memory, 0 for a slot."""
    operand = program.operands[pc, which]
    if operand["tensor"] == NONE:
        return 0
    elements = operand["n_batch"] * operand["n_rows"] * operand["n_cols"]
    return int((elements * program.tensors[operand["tensor"]]["element_bits"] + 7) >> 3)


@inline
def _never_full(recorder: NoRecorder, cores: int) -> bool:
    return False


@inline
def _is_full(recorder: Recorder, cores: int) -> bool:
    return bool(recorder.state[1] > 0 and recorder.state[0] + cores + _PER_EVENT > len(recorder.rows))


@by_type({NoRecorder: _never_full, Recorder: _is_full})
def is_full(recorder: Any, cores: int) -> bool:
    """Whether the next event, or the end of the run on all cores, might not find room."""
    raise NotImplementedError


@inline
def _no_core_time(recorder: NoRecorder, core: int, cause: int, start_ps: int, end_ps: int) -> None:
    return


@inline
def _core_time(recorder: Recorder, core: int, cause: int, start_ps: int, end_ps: int) -> None:
    _add(recorder, core, NONE, _CORE, cause, start_ps, end_ps, 0)


@by_type({NoRecorder: _no_core_time, Recorder: _core_time})
def record_core_time(recorder: Any, core: int, cause: int, start_ps: int, end_ps: int) -> None:
    """Record that a core's time has gone to a cause."""


@inline
def _no_block_start(recorder: NoRecorder, c: int, now_ps: int) -> None:
    return


@inline
def _block_start(recorder: Recorder, c: int, now_ps: int) -> None:
    recorder.block_start_ps[c] = now_ps


@by_type({NoRecorder: _no_block_start, Recorder: _block_start})
def record_block_start(recorder: Any, c: int, now_ps: int) -> None:
    """Note when a context launches a block."""


@inline
def _no_block(recorder: NoRecorder, core: int, c: int, block: int, now_ps: int) -> None:
    return


@inline
def _block(recorder: Recorder, core: int, c: int, block: int, now_ps: int) -> None:
    _add(recorder, core, block, _BLOCK, 0, recorder.block_start_ps[c], now_ps, 0)


@by_type({NoRecorder: _no_block, Recorder: _block})
def record_block(recorder: Any, core: int, c: int, block: int, now_ps: int) -> None:
    """Record a context's block, which has ended."""


@inline
def _no_request(recorder: NoRecorder, program: Any, pc: int, c: int, stage: int, now_ps: int) -> None:
    return


@inline
def _request(recorder: Recorder, program: Any, pc: int, c: int, stage: int, now_ps: int) -> None:
    recorder.load_start_ps[c, stage] = now_ps
    recorder.load_bytes[c, stage] = _box_bytes(program, pc, A) + _box_bytes(program, pc, B)


@by_type({NoRecorder: _no_request, Recorder: _request})
def record_request(recorder: Any, program: Any, pc: int, c: int, stage: int, now_ps: int) -> None:
    """Note when a context asks for the operands of a step, for one of its stages."""


@inline
def _no_step(recorder: NoRecorder, chip: Any, program: Any, c: int, end_ps: int) -> None:
    return


@inline
def _step(recorder: Recorder, chip: Any, program: Any, c: int, end_ps: int) -> None:
    context, pc = chip.contexts[c], chip.walks[c, EXECUTE]["pc"]
    core, block = c % chip.machine.cores, context["block"]
    is_matrix = program.steps[pc]["op"] == _MATMUL
    if program.operands[pc, A]["tensor"] != NONE or program.operands[pc, B]["tensor"] != NONE:
        number = context["first_stage"]
        stage, start_ps = chip.stages[c, number], recorder.load_start_ps[c, number]
        size_bytes = recorder.load_bytes[c, number]
        _add(recorder, core, block, _LOAD, stage["cause"], start_ps, stage["ready_ps"], size_bytes)
    start_ps = end_ps - program.costs[pc]["busy_ps"]
    if is_matrix:
        _add(recorder, core, block, _MATRIX, _MATRIX_CAUSE, start_ps, end_ps, 0)
    else:
        _add(recorder, core, block, _VECTOR, _VECTOR_CAUSE, start_ps, end_ps, 0)


@by_type({NoRecorder: _no_step, Recorder: _step})
def record_step(recorder: Any, chip: Any, program: Any, c: int, end_ps: int) -> None:
    """Record the loads of a step that has its operands, and the work of its unit on it until ``end_ps``."""


@inline
def _no_store(recorder: NoRecorder, program: Any, pc: int, core: int, block: int, now_ps: int, end_ps: int) -> None:
    return


@inline
def _store(recorder: Recorder, program: Any, pc: int, core: int, block: int, now_ps: int, end_ps: int) -> None:
    _add(recorder, core, block, _STORE, _L2_NOC_CAUSE, now_ps, end_ps, _box_bytes(program, pc, OUT))


@by_type({NoRecorder: _no_store, Recorder: _store})
def record_store(recorder: Any, program: Any, pc: int, core: int, block: int, now_ps: int, end_ps: int) -> None:
    """Record the store of a step's result, which is accepted by ``end_ps``."""
