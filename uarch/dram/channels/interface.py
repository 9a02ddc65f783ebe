"""The engine's DRAM interface, behind which the ``tile`` or the ``burst`` model stands.

The engine hands over granules with :func:`enqueue_read` and :func:`enqueue_write`, asks :func:`next_completion` when the
next read is done, and takes it with :func:`pop_completion`. Which model answers is decided by the type of the state when
a kernel is compiled, so that each kernel contains one of them only.
"""

from __future__ import annotations

from typing import Any

from uarch.arrays import IntArray
from uarch.dram.channels.burst import (
    BurstChannels,
    BurstTiming,
    enqueue_read_bursts,
    enqueue_write_bursts,
    next_burst_completion,
    open_burst_channels,
)
from uarch.dram.channels.completions import take_completion
from uarch.dram.channels.tile import (
    TileChannels,
    enqueue_read_visits,
    enqueue_write_visits,
    next_tile_completion,
    open_tile_channels,
)
from uarch.dram.channels.tile_timing import TileTiming
from uarch.dram.channels.visits import NO_VISIT
from uarch.jit import by_type, inline

DramTiming = TileTiming | BurstTiming
Dram = TileChannels | BurstChannels


def open_dram(timing: DramTiming, n_fetches: int, n_stores: int = 0) -> Dram:
    """Idle channels with room for ``n_fetches`` reads at a time, and for writes of ``n_stores`` granules."""
    if isinstance(timing, BurstTiming):
        return open_burst_channels(timing, n_fetches, n_stores)
    return open_tile_channels(timing, n_fetches, n_stores)


@by_type({TileChannels: enqueue_read_visits, BurstChannels: enqueue_read_bursts})
def enqueue_read(
    dram: Any, timing: Any, fetch: int, address: int, size_bytes: int, now_ps: int, events: IntArray
) -> None:
    """Ask for ``size_bytes`` from ``address`` on, under the number of a fetch."""


@by_type({TileChannels: enqueue_write_visits, BurstChannels: enqueue_write_bursts})
def enqueue_write(dram: Any, timing: Any, address: int, size_bytes: int, now_ps: int, events: IntArray) -> int:
    """Hand over dirty bytes; returns when the write buffers have taken them."""
    raise NotImplementedError


@by_type({TileChannels: next_tile_completion, BurstChannels: next_burst_completion})
def next_completion(dram: Any, timing: Any, before_ps: int, events: IntArray) -> int:
    """Time of the next read completion, or NEVER; exact if it is not after ``before_ps``."""
    raise NotImplementedError


@inline
def failure(dram: Dram) -> int:
    """Why DRAM cannot go on (``STANDSTILL``, ``NO_ROOM``), or 0."""
    return int(dram.waiting.visits[NO_VISIT]["burst"])


@inline
def pop_completion(dram: Dram) -> int:
    """Number of the next read that completes, which is taken off the list."""
    return take_completion(dram.waiting.completions)
