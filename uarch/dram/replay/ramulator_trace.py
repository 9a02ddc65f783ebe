"""Ramulator's traces as streams of requests: load/store traces and read/write traces.

A line is ``LD addr`` or ``ST addr``, ``R addr`` or ``W addr``, or as Ramulator 1 has it ``addr R`` or ``addr W``; addresses are
decimal, or hexadecimal with 0x. There are no times: every request is offered as soon as the channel accepts it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from uarch.dram.replay.requests import RequestStream, parse_address
from uarch.dram.standards.standard import Standard
from uarch.errors import InputError
from uarch.files.reading import one_line, read_text

_KINDS = {"LD": 0, "R": 0, "READ": 0, "ST": 1, "W": 1, "WRITE": 1}


def is_ramulator_trace(path: Path) -> bool:
    """Whether the first request of a file has two words: this project's own traces have three.

    Raises :class:`uarch.InputError` if the file cannot be read.
    """
    lines = (line.split("#")[0].split() for line in read_text(path).splitlines())
    return len(next((words for words in lines if words), ())) == 2


def read_ramulator_trace(path: Path, standard: Standard) -> RequestStream:
    """Read a trace; addresses beyond the capacity of the pseudo-channel wrap around, as those of a whole memory do.

    Raises :class:`uarch.InputError` with the number of the first line that is malformed.
    """
    writes, addresses = [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        kind, address = _parse(words, f"trace {path}, line {number}")
        writes.append(kind)
        addresses.append(address % standard.capacity_bytes)
    if not writes:
        raise InputError(f"trace {path}: has no requests")
    arrival = np.zeros(len(writes), dtype=np.int64)
    return RequestStream(arrival, np.array(writes, dtype=np.int64), np.array(addresses, dtype=np.int64))


def _parse(words: list[str], where: str) -> tuple[int, int]:
    """(1 for a write, address)."""
    kind, address = (words[0], words[1]) if len(words) == 2 else ("", "")
    if kind.upper() not in _KINDS:
        kind, address = address, kind
    value = parse_address(address)
    if kind.upper() not in _KINDS or value is None:
        raise InputError(f"{where}: {one_line(' '.join(words))[:60]!r} is not 'LD|ST address' or 'R|W address'")
    return _KINDS[kind.upper()], value
