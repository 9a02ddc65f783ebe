"""A channel kept busy (jitted): a stream of bursts of which a bounded number is asked for at a time."""

from __future__ import annotations

from uarch.dram.frfcfs import enqueue, next_event, step
from uarch.dram.state import (
    FORWARDED,
    K_ACTIVE,
    LAST_DATA,
    NEVER,
    NOW,
    O_READ_QUEUE,
    O_WRITE_QUEUE,
    READS,
    READS_WAITING,
    SIZES,
    WRITES_WAITING,
    IntArray,
    typed,
)
from uarch.jit import loop_kernel

_READ, _WRITE = typed(0), typed(1)


@loop_kernel
def serve(
    state: IntArray,
    bank: IntArray,
    row: IntArray,
    column: IntArray,
    reads: IntArray,
    writes: IntArray,
    window: int,
    delay: int,
    issued_at: IntArray,
) -> int:
    """Serve a stream to its end; returns the tick of the last read's data, or of the last command if that is later.

    ``bank``, ``row`` and ``column``: shape ``(n,)``, the bursts in the order in which they are asked for; ``reads`` and
    ``writes``: the places of each kind in it, in order. At most ``window`` reads are asked for and not yet issued. A write
    comes ``delay`` ticks after as many reads have been issued as precede it. ``issued_at``: shape ``(reads + 1,)``,
    working space.
    """
    before = state[READS] + state[FORWARDED]
    issued, next_read, next_write = 0, 0, 0
    issued_at[0] = state[NOW] - delay
    while True:
        while issued < state[READS] + state[FORWARDED] - before:
            issued += 1
            issued_at[issued] = state[NOW]
        asked = min(len(reads), issued + window)
        while next_read < asked and state[READS_WAITING] < state[O_READ_QUEUE]:
            i = reads[next_read]
            enqueue(state, i, _READ, bank[i], row[i], column[i])
            next_read += 1
        arrival = NEVER
        while next_write < len(writes) and state[WRITES_WAITING] < state[O_WRITE_QUEUE]:
            i = writes[next_write]
            preceding = i - next_write
            if preceding > issued:
                break
            arrival = issued_at[preceding] + delay
            if arrival > state[NOW]:
                break
            enqueue(state, i, _WRITE, bank[i], row[i], column[i])
            next_write += 1
            arrival = NEVER
        waiting = state[READS_WAITING] + state[WRITES_WAITING] + state[SIZES + K_ACTIVE]
        if waiting == 0 and next_read == len(reads) and next_write == len(writes):
            return int(max(state[NOW], state[LAST_DATA]))
        event = next_event(state)
        if arrival < event:
            state[NOW] = arrival
        else:
            step(state, event)
