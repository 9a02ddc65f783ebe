"""Placement: the channel on which a byte of device memory lies, and where in it (jitted).

Consecutive *pieces* of ``interleave_bytes`` go to the channels of a *group*, over which a granule is spread; consecutive
*stripes*, a piece from each channel of a group, go round all groups. Each round of stripes is rotated among the groups
and its pieces are permuted by XOR within the group, both by a hash of the round's number, so that no stride of
addresses meets one channel only. Every channel receives one piece a round: its own address is the round's number.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

from uarch.arrays import IntArray
from uarch.jit import inline
from uarch.program.records import GRANULE_BYTES


class Placement(NamedTuple):
    """How addresses are spread; plain integers."""

    channels: int
    width: int
    """Number of channels of a group, a power of two."""
    piece_bytes: int
    hashed: int
    """Whether rounds are rotated and permuted, 0 or 1."""


def placement(channels: int, interleave_bytes: int, hashed: bool) -> Placement:
    """Spread over ``channels``, in groups as wide as a granule has pieces, if that many divide the channels."""
    return Placement(channels, gcd(channels, max(1, GRANULE_BYTES // interleave_bytes)), interleave_bytes, int(hashed))


@inline
def hashed_index(number: int, modulus: int) -> int:
    """A hash of ``number`` to 0 ... ``modulus`` - 1 in which all bits count: a product alone clusters equal strides."""
    mixed = ((number ^ (number >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return ((mixed ^ (mixed >> 16)) * modulus) >> 32


@inline
def stripe_of(place: Placement, address: int) -> tuple[int, int, int]:
    """Stripe of a byte address: first channel of its group, the XOR of its round's pieces, and the round's number."""
    groups = place.channels // place.width
    stripe = address // (place.piece_bytes * place.width)
    number = stripe // groups
    turn = place.hashed * hashed_index(number, groups)
    return (stripe + turn) % groups * place.width, place.hashed * hashed_index(number, place.width), number


@inline
def location_of(tables: IntArray, burst: int) -> int:
    """Row, bank and column of a burst of a channel, packed.

    ``tables`` are those of :meth:`uarch.dram.controller.addresses.AddressMapping.tables`: the location that each byte of a
    burst's number contributes by XOR.
    """
    location = 0
    for i in range(len(tables)):
        location ^= tables[i, (burst >> (8 * i)) & 0xFF]
    return location


@inline
def channel_of(place: Placement, address: int) -> tuple[int, int]:
    """Channel of a byte address, and the byte address within the channel."""
    first, permutation, number = stripe_of(place, address)
    piece = (address // place.piece_bytes) % place.width
    return first + (piece ^ permutation), number * place.piece_bytes + address % place.piece_bytes
