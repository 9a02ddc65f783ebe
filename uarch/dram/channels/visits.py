"""Lists of accesses that wait for a channel, at either fidelity (jitted).

A granule is cut into *visits*, the bursts that it has in one channel. A visit waits in the channel's list, one for reads
and one for writes, until its bursts are served; a granule is complete when the last of its visits has been served.

Channels run behind the engine's clock: a read that is not served yet cannot complete earlier than a *lookahead* from now,
so that a channel need not be simulated before that time has come, and then runs through a whole stretch at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uarch.arrays import IntArray
from uarch.dram.channels.completions import open_completions, push_completion
from uarch.dram.channels.placement import Placement, channel_of
from uarch.jit import constant, inline
from uarch.program.records import GRANULE_BYTES, StructArray
from uarch.wake_tree import new_wake_tree

FEWEST_WRITE_VISITS, MOST_WRITE_VISITS = 1 << 20, 1 << 26
"""Visits of writes that can wait at a time: cores wait for room when each of them has stored one box."""
MOST_IDLE_TURNS = 1 << 22
"""Turns of channels, one after the other, in which none of them serves a burst: more of them mean that none ever will."""
STANDSTILL, NO_ROOM = constant(1), constant(2)
"""Why DRAM cannot go on: requests wait and none is served, more writes wait than there is room for."""
NO_VISIT = constant(0)

VISIT = np.dtype(
    [
        ("fetch", np.int64),
        ("burst", np.int64),  # index in the channel of the first burst that is left, and how many are
        ("count", np.int64),
        ("arrival", np.int64),  # in the channel's own unit of time
        ("next", np.int64),
    ]
)
LIST = np.dtype([("first", np.int64), ("last", np.int64), ("bursts", np.int64)])
PENDING = np.dtype([("bursts", np.int64), ("done_ps", np.int64)])


class Waiting(NamedTuple):
    """Visits that have not been served, and reads that are under way."""

    lists: StructArray
    """Records ``LIST``, shape ``(channels, 2)``: visits of reads and of writes, oldest first."""
    visits: StructArray
    """Records ``VISIT``. ``visits[0]`` is none: its ``next`` is the first free one, its ``count`` how many were ever used, its
    ``burst`` why DRAM cannot go on."""
    due: IntArray
    """Tournament tree over channels: when each must be simulated at the latest; NEVER if it has nothing to do."""
    pending: StructArray
    """Records ``PENDING``, by fetch: bursts that have not come yet, and when the last of the others came."""
    completions: StructArray


def open_waiting(place: Placement, visit_bytes: int, n_fetches: int, n_stores: int) -> Waiting:
    """Nothing waits; there is room for ``n_fetches`` reads and ``n_stores`` writes of granules, by ``visit_bytes``."""
    visits_of_granule = GRANULE_BYTES // visit_bytes + 2
    n_writes = min(max(2 * n_stores * visits_of_granule, FEWEST_WRITE_VISITS), MOST_WRITE_VISITS)
    visits = np.empty((n_fetches + 1) * visits_of_granule + n_writes, VISIT)
    visits[0] = (0, 0, 1, 0, NO_VISIT)
    return Waiting(
        np.zeros((place.channels, 2), LIST),
        visits,
        new_wake_tree(place.channels),
        np.zeros(n_fetches + 2, PENDING),
        open_completions(n_fetches),
    )


@inline
def piece_of(place: Placement, address: int, size_bytes: int) -> tuple[int, int, int]:
    """Channel of an address, the address in it, and the bytes up to the end of its piece or of the request."""
    channel, local = channel_of(place, address)
    return channel, local, min(size_bytes, place.piece_bytes - address % place.piece_bytes)


@inline
def bursts_of(local: int, size_bytes: int, burst_bytes: int) -> int:
    """Number of bursts that hold bytes of a piece."""
    return (local + size_bytes - 1) // burst_bytes - local // burst_bytes + 1


@inline
def append_visit(waiting: Waiting, channel: int, kind: int, fetch: int, burst: int, count: int, arrival: int) -> int:
    """Let ``count`` bursts from ``burst`` on wait; returns the number of the visit, NO_VISIT if there is no room."""
    head = waiting.visits[0]
    number = head["next"]
    if number == NO_VISIT:
        number = head["count"]
        if number == len(waiting.visits):
            give_up(waiting, NO_ROOM)
            return int(NO_VISIT)
        head["count"] += 1
    else:
        head["next"] = waiting.visits[number]["next"]
    visit, line = waiting.visits[number], waiting.lists[channel, kind]
    visit["fetch"] = fetch
    visit["burst"] = burst
    visit["count"] = count
    visit["arrival"] = arrival
    visit["next"] = NO_VISIT
    if line["first"] == NO_VISIT:
        line["first"] = number
    else:
        waiting.visits[line["last"]]["next"] = number
    line["last"] = number
    line["bursts"] += count
    return int(number)


@inline
def give_up(waiting: Waiting, reason: int) -> None:
    """Note why DRAM cannot go on."""
    waiting.visits[0]["burst"] = reason


@inline
def remove_visit(waiting: Waiting, channel: int, kind: int, previous: int, number: int) -> None:
    """Take a visit, whose bursts have been counted off, out of its list; ``previous``: the one before it or NO_VISIT."""
    line, visit = waiting.lists[channel, kind], waiting.visits[number]
    if previous == NO_VISIT:
        line["first"] = visit["next"]
    else:
        waiting.visits[previous]["next"] = visit["next"]
    if line["last"] == number:
        line["last"] = previous
    visit["next"] = waiting.visits[0]["next"]
    waiting.visits[0]["next"] = number


@inline
def expect_read(waiting: Waiting, fetch: int, now_ps: int) -> None:
    """Open the account of a read, of which no burst has been asked for yet."""
    pending = waiting.pending[fetch]
    pending["bursts"] = 0
    pending["done_ps"] = now_ps


@inline
def bursts_came(waiting: Waiting, fetch: int, count: int, time_ps: int, latency_ps: int) -> None:
    """Bursts of a granule have come; with the last of them it is complete, ``latency_ps`` later."""
    pending = waiting.pending[fetch]
    pending["bursts"] -= count
    pending["done_ps"] = max(pending["done_ps"], time_ps)
    if pending["bursts"] == 0:
        push_completion(waiting.completions, pending["done_ps"] + latency_ps, fetch)
