"""Communication libraries: their algorithms and protocols, and the closed forms by which they choose.

Each library is data, a file of ``kernels/collectives/collective_libraries``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from uarch.chip.schema import Chip
from uarch.files.presets import Presets
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section, TomlArray
from uarch.program.records import LinkUse

LIBRARIES = Presets("collective library", Path(__file__).parent / "collective_libraries")
"""Libraries that come with the package."""
_FLIT_BYTES = 16
_LINE_BYTES = 128

Algorithm = Literal["one_shot", "two_phase", "ring", "in_switch"]


class Protocol(Section):
    """Protocol by which data and the notice of its arrival travel together."""

    start_seconds: Annotated[float, Field(ge=0, le=1)]
    hop_latency: Annotated[float, Field(gt=0, le=10)]
    payload_fraction: Annotated[float, Field(gt=0, le=1)]
    header_flits: Annotated[int, Field(ge=0, le=16)]

    @property
    def wire_bytes_per_byte(self) -> float:
        """Bytes that cross the link for each byte of data."""
        return (_LINE_BYTES + self.header_flits * _FLIT_BYTES) / _LINE_BYTES / self.payload_fraction


class Library(Section):
    """Communication library: the algorithms and protocols from which it chooses."""

    description: str
    source: str
    algorithms: TomlArray[Algorithm]
    protocols: dict[str, Protocol] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _pushes_need_protocols(self) -> Library:
        if {"ring", "in_switch"} & set(self.algorithms) and not self.protocols:
            raise ValueError("algorithms that push need at least one protocol")
        return self


@dataclass(frozen=True)
class Choice:
    """An algorithm for one message, with how it uses the link and starts, and its closed-form time."""

    algorithm: Algorithm
    seconds: float
    protocol: str = ""
    link: LinkUse | None = None
    start_seconds: float | None = None
    """Seconds that the start takes; None: as long as that of any kernel."""


def library_names() -> list[str]:
    """Names of the libraries that come with the package, sorted."""
    return list(LIBRARIES.names)


def load_library(name_or_path: str) -> Library:
    """A library by name or from a TOML file; ``InputError`` for an unknown one or an invalid file."""
    return _load(name_or_path, LIBRARIES.stamp(name_or_path))


@lru_cache(maxsize=64)
def _load(name_or_path: str, stamp: str) -> Library:
    return validate(Library, read_toml(LIBRARIES.find(name_or_path)), f"collective library {name_or_path}")


def choices(library: Library, chip: Chip, size_bytes: int, ranks: int) -> Iterator[Choice]:
    """Choices that a library has for a message of ``size_bytes``, with times as it would estimate them."""
    for algorithm in library.algorithms:
        if algorithm == "one_shot":
            yield Choice(algorithm, one_shot_seconds(chip, size_bytes, ranks))
        elif algorithm == "two_phase":
            yield Choice(algorithm, two_phase_seconds(chip, size_bytes, ranks))
        elif algorithm == "ring":
            yield from (_ring(chip, size_bytes, ranks, *protocol) for protocol in library.protocols.items())
        else:
            yield _in_switch(chip, size_bytes, ranks, *next(iter(library.protocols.items())))


def payload_bytes_per_second(chip: Chip) -> float:
    """Bytes of data a second that the link carries in one direction when single lines are pulled, packet headers left out."""
    link = chip.link
    return link.bandwidth_bytes_per_second * link.payload_bytes / (link.payload_bytes + link.header_bytes)


def one_shot_seconds(chip: Chip, size_bytes: int, ranks: int) -> float:
    """Seconds of one trip with all other ranks' bytes by latency and bandwidth, without launches, which the stack knows."""
    return chip.link.latency_seconds + (ranks - 1) * size_bytes / payload_bytes_per_second(chip)


def two_phase_seconds(chip: Chip, size_bytes: int, ranks: int) -> float:
    """Seconds of two trips with ``(ranks - 1) / ranks`` of the bytes each by latency and bandwidth; launches are left out."""
    return 2 * (chip.link.latency_seconds + (ranks - 1) * size_bytes / ranks / payload_bytes_per_second(chip))


def _ring(chip: Chip, size_bytes: int, ranks: int, name: str, protocol: Protocol) -> Choice:
    """Choose a ring: 2 (ranks - 1) hops of a chunk each.

    A channel's thread block works through 2 ranks - 1 operations on chunks, one after the other (send; receive, reduce and
    send; ...; receive), of which the last does not use the link: it is idle for that part of the time.
    """
    hops = 2 * (ranks - 1)
    use = LinkUse(protocol.wire_bytes_per_byte * (hops + 1) / hops, protocol.hop_latency * chip.link.latency_seconds)
    hop = use.latency_seconds + size_bytes / ranks * use.wire_bytes_per_byte / chip.link.bandwidth_bytes_per_second
    return Choice("ring", protocol.start_seconds + hops * hop, name, use, protocol.start_seconds)


def _in_switch(chip: Chip, size_bytes: int, ranks: int, name: str, protocol: Protocol) -> Choice:
    """Choose reduction in the switch.

    Each rank reads its chunk's sum from the switch, which asks all ranks, and writes it to all through the switch. Both
    at a time, a link carries 1 + 1 / ranks of the message in each direction, instead of 2 (ranks - 1) / ranks.
    """
    saved = (1 + 1 / ranks) / (2 * (ranks - 1) / ranks)
    use = LinkUse(protocol.wire_bytes_per_byte * saved, protocol.hop_latency * chip.link.latency_seconds)
    carried = (1 + 1 / ranks) * size_bytes * protocol.wire_bytes_per_byte
    seconds = 2 * use.latency_seconds + carried / chip.link.bandwidth_bytes_per_second
    return Choice("in_switch", protocol.start_seconds + seconds, name, use, protocol.start_seconds)
