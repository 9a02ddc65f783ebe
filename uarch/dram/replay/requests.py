"""Streams of requests for one channel: from a trace file, or made by a pattern."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from uarch.arrays import IntArray
from uarch.dram.standards.standard import Standard
from uarch.errors import InputError, must_be
from uarch.files.reading import read_text

PatternName = Literal["sequential", "random", "strided", "mix"]
LAST_ARRIVAL = 2**40
"""Five minutes of HBM3: what refreshes until then takes seconds."""
MOST_REQUESTS = 1 << 24
"""Requests of a pattern: their arrays stay in memory, 100 bytes for each."""
_ARRIVAL = re.compile(r"[0-9]{1,20}")
_ADDRESS = re.compile(r"[0-9]{1,20}|0[xX][0-9a-fA-F]{1,16}")


class RequestStream(NamedTuple):
    """Requests in order; all arrays have shape ``(n,)``, int64."""

    arrival: IntArray
    """Tick from which on the request is offered; not decreasing."""
    is_write: IntArray
    address: IntArray
    """Byte address within the channel."""


def read_trace(path: Path, standard: Standard) -> RequestStream:
    """Read ``<arrival_tick> <R|W> <byte address, decimal or 0x...>`` lines; blank lines are skipped.

    Raises :class:`InputError` with the number of the first line that is malformed, has an address beyond the capacity
    of the pseudo-channel, or arrives before the line above it.
    """
    lines = read_text(path).splitlines()
    arrivals, writes, addresses = [], [], []
    previous = 0
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        where = f"trace {path}, line {number}"
        arrival, is_write, address = _parse(words, where)
        if arrival < previous:
            raise InputError(f"{where}: arrival = {arrival}: must be at least {previous}, that of the request above it")
        if address >= standard.capacity_bytes:
            raise InputError(
                f"{where}: address {address:#x} is beyond the {standard.capacity_bytes:#x} bytes of {standard.name}"
            )
        previous = arrival
        arrivals.append(arrival)
        writes.append(is_write)
        addresses.append(address)
    if not arrivals:
        raise InputError(f"trace {path}: has no requests")
    return RequestStream(
        np.array(arrivals, dtype=np.int64), np.array(writes, dtype=np.int64), np.array(addresses, dtype=np.int64)
    )


def _parse(words: list[str], where: str) -> tuple[int, int, int]:
    """Arrival, 1 for a write, address."""
    arrival_text, kind, address_text = words if len(words) == 3 else ("", "", "")
    address = parse_address(address_text)
    if not _ARRIVAL.fullmatch(arrival_text) or kind not in {"R", "W", "r", "w"} or address is None:
        raise InputError(f"{where}: {' '.join(words)[:60]!r} is not '<arrival tick> <R|W> <byte address>'")
    arrival = int(arrival_text)
    if arrival > LAST_ARRIVAL:
        raise InputError(f"{where}: arrival = {arrival}: must be at most {LAST_ARRIVAL}")
    return arrival, int(kind in {"W", "w"}), address


def parse_address(text: str) -> int | None:
    """A byte address, decimal or hexadecimal with 0x; None if the text is neither."""
    if not _ADDRESS.fullmatch(text):
        return None
    return int(text, 16) if text[:2].lower() == "0x" else int(text)


def make_pattern(
    name: PatternName, standard: Standard, requests: int, stride_bytes: int | None = None
) -> RequestStream:
    """Make a stream that is offered as fast as the channel accepts it.

    ``sequential``: reads, burst by burst. ``random``: reads of bursts drawn by splitmix64 of the request's number.
    ``strided``: reads ``stride_bytes`` apart (a row, if None). ``mix``: sequential, every third request a write.
    """
    if not 1 <= requests <= MOST_REQUESTS:
        raise must_be("requests", requests, f"at least 1 and at most {MOST_REQUESTS}")
    stride = standard.row_bytes if stride_bytes is None else stride_bytes
    if not 1 <= stride <= standard.capacity_bytes:
        raise must_be("stride_bytes", stride, f"at least 1 and at most the capacity, {standard.capacity_bytes}")
    index = np.arange(requests, dtype=np.int64)
    bursts = standard.capacity_bytes // standard.burst_bytes
    if name == "random":
        burst = (splitmix64(index) & np.uint64(bursts - 1)).astype(np.int64)
    elif name == "strided":
        burst = (index * stride // standard.burst_bytes) % bursts
    else:
        burst = index % bursts
    is_write = (index % 3 == 2).astype(np.int64) if name == "mix" else np.zeros(requests, dtype=np.int64)
    return RequestStream(np.zeros(requests, dtype=np.int64), is_write, burst * standard.burst_bytes)


def splitmix64(index: IntArray) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """The ``index``-th value of Steele, Lea and Flood's generator (OOPSLA 2014), seed 0; uint64 of the same shape."""
    with np.errstate(over="ignore"):
        z = (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
