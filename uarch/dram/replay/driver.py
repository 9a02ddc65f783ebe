"""Replay of a request stream on one channel (jitted): a thin driver over the resumable controllers."""

from __future__ import annotations

from uarch.arrays import IntArray
from uarch.dram.controller.frfcfs import enqueue, next_event, step
from uarch.dram.controller.state import FORWARDED, NOW, READS, READS_WAITING, WRITES_WAITING, typed
from uarch.jit import loop_kernel

OFFERS_PER_TICK = 2
_ZERO = typed(0)


@loop_kernel
def replay(
    state: IntArray,
    arrival: IntArray,
    is_write: IntArray,
    bank: IntArray,
    row: IntArray,
    column: IntArray,
    accepted: IntArray,
) -> None:
    """Offer requests in order, at most two a tick, each until it is accepted; then run until all reads have their data.

    All arrays have shape ``(n,)``, int64; ``arrival`` in ticks, not decreasing. Writes the tick of acceptance to
    ``accepted``; the tag of a request is its place in the stream.
    """
    count = len(arrival)
    request, reads = _ZERO, _ZERO
    waiting = state[READS_WAITING] + state[WRITES_WAITING]
    refused = False
    while request < count or state[READS] + state[FORWARDED] < reads:
        now = state[NOW]
        offered = 0
        # A full queue stays full until one request less waits.
        refused = refused and state[READS_WAITING] + state[WRITES_WAITING] == waiting
        while request < count and offered < OFFERS_PER_TICK and arrival[request] <= now and not refused:
            if enqueue(state, request, is_write[request], bank[request], row[request], column[request]):
                accepted[request] = now
                reads += 1 - is_write[request]
                request += 1
                offered += 1
            else:
                refused = True
        waiting = state[READS_WAITING] + state[WRITES_WAITING]
        event = next_event(state)
        next_offer = event if refused or request == count else max(now + 1, arrival[request])
        if event > next_offer:
            state[NOW] = next_offer
        else:
            step(state, event)
