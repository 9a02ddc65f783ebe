"""A channel kept busy (jitted): a stream of bursts that are asked for as fast as the queues take them."""

from __future__ import annotations

from uarch.arrays import IntArray
from uarch.dram.controller.frfcfs import enqueue, next_event, step
from uarch.dram.controller.state import (
    ACTIVE_READS,
    ACTIVE_WRITES,
    LAST_DATA,
    NOW,
    O_READ_QUEUE,
    O_WRITE_QUEUE,
    READS_WAITING,
    WRITES_WAITING,
    typed,
)
from uarch.jit import loop_kernel

_READ, _WRITE = typed(0), typed(1)
_MOST_STEPS = 10_000
"""Most steps of a controller for each burst; refreshes of every bank between two bursts take less."""


@loop_kernel
def serve(state: IntArray, bank: IntArray, row: IntArray, column: IntArray, reads: IntArray, writes: IntArray) -> int:
    """Serve a stream to its end; returns the tick of the last read's data, or of the last command if that is later.

    ``bank``, ``row`` and ``column``: shape ``(n,)``, by burst; ``reads`` and ``writes``: the bursts of each kind, in the
    order in which they are asked for. Returns -1 if the controller does not get on with them.
    """
    next_read, next_write = 0, 0
    for _ in range(_MOST_STEPS * (len(bank) + 1)):
        while next_read < len(reads) and state[READS_WAITING] < state[O_READ_QUEUE]:
            i = reads[next_read]
            enqueue(state, i, _READ, bank[i], row[i], column[i])
            next_read += 1
        while next_write < len(writes) and state[WRITES_WAITING] < state[O_WRITE_QUEUE]:
            i = writes[next_write]
            enqueue(state, i, _WRITE, bank[i], row[i], column[i])
            next_write += 1
        waiting = state[READS_WAITING] | state[WRITES_WAITING] | state[ACTIVE_READS] | state[ACTIVE_WRITES]
        if waiting == 0 and next_read == len(reads) and next_write == len(writes):
            return int(max(state[NOW], state[LAST_DATA]))
        step(state, next_event(state))
    return -1
