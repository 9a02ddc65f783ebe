"""Drives the engine's DRAM interface with a table of requests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uarch.arrays import IntArray
from uarch.dram.channels.interface import (
    DramTiming,
    enqueue_read,
    enqueue_write,
    next_completion,
    open_dram,
    pop_completion,
)
from uarch.events import Event
from uarch.jit import kernel

NEVER = 2**62
Table = list[tuple[int, int, int, int]]
"""Time in ps, address, bytes, is a write; times not decreasing."""


class Served(NamedTuple):
    done_ps: IntArray
    """By request: a read's completion; when a write was taken."""
    events: IntArray


@kernel
def serve(dram, timing, requests, events):  # type: ignore[no-untyped-def]
    """Requests asked for one after the other, with what completes in between taken off.

    Empty if completions do not come in order.
    """
    done_ps = np.zeros(len(requests), np.int64)
    last_ps = 0
    for number in range(len(requests) + 1):
        now_ps = requests[number, 0] if number < len(requests) else NEVER
        while next_completion(dram, timing, now_ps, events) < now_ps:
            time_ps = next_completion(dram, timing, now_ps, events)
            done_ps[pop_completion(dram)] = time_ps
            if time_ps < last_ps:
                return done_ps[:0]
            last_ps = time_ps
        if number < len(requests):
            address, size_bytes = requests[number, 1], requests[number, 2]
            if requests[number, 3]:
                done_ps[number] = enqueue_write(dram, timing, address, size_bytes, now_ps, events)
            else:
                enqueue_read(dram, timing, number, address, size_bytes, now_ps, events)
    return done_ps


def served(timing: DramTiming, requests: Table) -> Served:
    """Serve a table to its end on idle channels."""
    events = np.zeros(len(Event), np.int64)
    table = np.array(requests, np.int64).reshape(-1, 4)
    done_ps = serve(open_dram(timing, len(table)), timing, table, events)
    assert len(done_ps) == len(table), "completions came out of order"
    return Served(done_ps, events)
