"""A bank-and-bus model of the memory channels behind the engine's resumable DRAM interface.

The engine talks to DRAM through four jitted functions and knows nothing of what stands behind them:
:func:`enqueue_read` and :func:`enqueue_write` hand over a granule at a time, :func:`next_event` says when the next
read completes, :func:`pop_completion` takes it.

Here a *unit* is a channel, or the group of channels over which one granule is interleaved and which therefore act
together. Each unit has banks with an open row, a data bus that serves requests in order of arrival, a write buffer
that is drained in one go when full (so that the bus turns round once per batch), and all-bank refresh. A granule is
cut into chunks that go to units by address. Timing values are those of the memory standard (JEDEC names).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.dram.completions import open_completions, push_completion
from uarch.events import Event
from uarch.jit import inline
from uarch.program import GRANULE_BYTES, NONE, StructArray
from uarch.rates import duration_ps

IntArray = npt.NDArray[np.int64]

WRITE_BUFFER_CHUNKS = 16
"""Chunks that a unit buffers before it drains them: a 32-entry write queue of 64-byte bursts in each of 8 to 16 channels."""

_READ_BYTES = int(Event.DRAM_READ_BYTES)
_WRITE_BYTES = int(Event.DRAM_WRITE_BYTES)
_ROW_HITS = int(Event.DRAM_ROW_HITS)
_ROW_MISSES = int(Event.DRAM_ROW_MISSES)
_REFRESHES = int(Event.DRAM_REFRESHES)
_BUS_PS = int(Event.DRAM_BUS_PS)

UNIT = np.dtype(
    [
        ("bus_free_ps", np.int64),
        ("next_refresh_ps", np.int64),
        ("n_writes", np.int64),
        ("write_address", np.int64, (WRITE_BUFFER_CHUNKS,)),
        ("write_bytes", np.int64, (WRITE_BUFFER_CHUNKS,)),
    ]
)

BANK = np.dtype(
    [
        ("open_row", np.int64),
        ("activate_ps", np.int64),  # earliest next activate
        ("column_ps", np.int64),  # when the open row can be read or written
    ]
)


class BankBusTiming(NamedTuple):
    """Constants of the model; times in picoseconds, sizes in bytes."""

    units: int
    banks: int
    chunk_bytes: int
    row_span_bytes: int
    """Bytes of consecutive addresses that share a row of every channel of a group."""
    byte: int
    """Rate of the data bus: see :mod:`uarch.rates`."""
    row_to_column_ps: int
    precharge_ps: int
    row_cycle_ps: int
    column_to_data_ps: int
    turnaround_ps: int
    refresh_interval_ps: int
    refresh_ps: int
    latency_ps: int
    """Controller and interconnect, beyond the DRAM's own timing."""


class BankBus(NamedTuple):
    """Working state."""

    units: StructArray
    """Of ``UNIT``."""
    banks: StructArray
    """Of ``BANK``, ``unit * banks + bank``."""
    completions: StructArray
    """Of ``COMPLETION``: a binary heap from index 1 on; ``completions[0]["fetch"]`` is its size."""


def open_bank_bus(timing: BankBusTiming, n_fetches: int) -> BankBus:
    """Idle channels with closed rows and room for ``n_fetches`` reads; refreshes are staggered over the interval."""
    units = np.zeros(timing.units, UNIT)
    units["next_refresh_ps"] = np.arange(1, timing.units + 1) * timing.refresh_interval_ps // timing.units
    banks = np.zeros(timing.units * timing.banks, BANK)
    banks["open_row"] = NONE
    return BankBus(units, banks, open_completions(n_fetches))


@inline
def enqueue_read_chunks(
    dram: BankBus, timing: BankBusTiming, fetch: int, address: int, size_bytes: int, now_ps: int, events: IntArray
) -> None:
    """Ask for a granule or a part of it under a number; its completion appears in :func:`next_event`."""
    done_ps = now_ps
    for offset in range(0, size_bytes, timing.chunk_bytes):
        chunk_bytes = min(timing.chunk_bytes, size_bytes - offset)
        unit = unit_of(address + offset, timing)
        done_ps = max(done_ps, _transfer(dram, timing, unit, address + offset, chunk_bytes, now_ps, events))
    events[_READ_BYTES] += size_bytes
    push_completion(dram.completions, done_ps + timing.latency_ps, fetch)


@inline
def enqueue_write_chunks(
    dram: BankBus, timing: BankBusTiming, address: int, size_bytes: int, now_ps: int, events: IntArray
) -> int:
    """Hand over a dirty granule, which takes bank and bus time when its buffer is drained.

    Returns when the buffer has room for it: not before the bus has worked off all but one buffer's worth.
    """
    taken_ps = now_ps
    for offset in range(0, size_bytes, timing.chunk_bytes):
        unit = unit_of(address + offset, timing)
        slot = dram.units[unit]["n_writes"]
        dram.units[unit]["write_address"][slot] = address + offset
        dram.units[unit]["write_bytes"][slot] = min(timing.chunk_bytes, size_bytes - offset)
        dram.units[unit]["n_writes"] = slot + 1
        if slot + 1 == WRITE_BUFFER_CHUNKS:
            _drain_writes(dram, timing, unit, now_ps, events)
        buffer_ps = duration_ps(WRITE_BUFFER_CHUNKS * timing.chunk_bytes, timing.byte)
        taken_ps = max(taken_ps, dram.units[unit]["bus_free_ps"] - buffer_ps)
    events[_WRITE_BYTES] += size_bytes
    return taken_ps


@inline
def unit_of(address: int, timing: BankBusTiming) -> int:
    """Channel (group) of a byte address.

    Row spans go round all groups of channels, each round rotated by a hash; chunks go to the channels of the group.
    """
    span, groups = address // timing.row_span_bytes, _channel_groups(timing)
    turn = _rotation(span // groups, groups)
    width = timing.units // groups
    chunk = (address % GRANULE_BYTES) // timing.chunk_bytes
    return (span + turn) % groups * width + chunk % width


@inline
def _channel_groups(timing: BankBusTiming) -> int:
    """Groups of channels over which a granule is interleaved: as many as units if each of these is such a group."""
    return max(1, timing.units // (GRANULE_BYTES // timing.chunk_bytes))


@inline
def _rotation(number: int, modulus: int) -> int:
    """A multiplicative hash, which breaks the strides that interleaving alone would send to one place."""
    return (((number * 2654435769) & 0xFFFFFFFF) * modulus) >> 32


@inline
def _transfer(
    dram: BankBus, timing: BankBusTiming, unit: int, address: int, size_bytes: int, now_ps: int, events: IntArray
) -> int:
    """Reserve bank and bus for one chunk; returns when its last byte has passed."""
    channel = dram.units[unit]
    if max(now_ps, channel["bus_free_ps"]) >= channel["next_refresh_ps"]:
        _refresh(dram, timing, unit, now_ps, events)
    row = address // timing.row_span_bytes // _channel_groups(timing)
    number = (row + _rotation(row // timing.banks, timing.banks)) % timing.banks
    bank = dram.banks[unit * timing.banks + number]
    if bank["open_row"] == row:
        events[_ROW_HITS] += 1
    else:
        events[_ROW_MISSES] += 1
        precharge_ps = timing.precharge_ps if bank["open_row"] != NONE else 0
        activate_ps = max(now_ps + precharge_ps, bank["activate_ps"])
        bank["open_row"] = row
        bank["activate_ps"] = activate_ps + timing.row_cycle_ps
        bank["column_ps"] = activate_ps + timing.row_to_column_ps
    data_ps = max(now_ps, bank["column_ps"]) + timing.column_to_data_ps
    busy_ps = duration_ps(size_bytes, timing.byte)
    channel["bus_free_ps"] = max(now_ps, channel["bus_free_ps"]) + busy_ps
    events[_BUS_PS] += busy_ps
    return int(max(channel["bus_free_ps"], data_ps + busy_ps))


@inline
def _drain_writes(dram: BankBus, timing: BankBusTiming, unit: int, now_ps: int, events: IntArray) -> None:
    """Write the whole buffer; the bus turns round before and after."""
    channel = dram.units[unit]
    channel["bus_free_ps"] = max(channel["bus_free_ps"], now_ps) + timing.turnaround_ps
    for i in range(channel["n_writes"]):
        _transfer(dram, timing, unit, channel["write_address"][i], channel["write_bytes"][i], now_ps, events)
    channel["n_writes"] = 0
    channel["bus_free_ps"] += timing.turnaround_ps


@inline
def _refresh(dram: BankBus, timing: BankBusTiming, unit: int, now_ps: int, events: IntArray) -> None:
    """All-bank refreshes that are due: of those that fell into an idle gap only the last can delay anything."""
    channel = dram.units[unit]
    due_ps = max(now_ps, channel["bus_free_ps"]) - channel["next_refresh_ps"]
    count = due_ps // timing.refresh_interval_ps + 1
    last_ps = channel["next_refresh_ps"] + (count - 1) * timing.refresh_interval_ps
    channel["bus_free_ps"] = max(channel["bus_free_ps"], last_ps) + timing.refresh_ps
    channel["next_refresh_ps"] = last_ps + timing.refresh_interval_ps
    for index in range(unit * timing.banks, (unit + 1) * timing.banks):
        dram.banks[index]["open_row"] = NONE
        dram.banks[index]["activate_ps"] = max(dram.banks[index]["activate_ps"], channel["bus_free_ps"])
    events[_REFRESHES] += count
