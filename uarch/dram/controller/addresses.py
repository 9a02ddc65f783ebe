"""Address mappings: the stack ID, bank group, bank, row and column of a byte address."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from uarch.arrays import IntArray
from uarch.dram.standards.standard import Standard
from uarch.errors import InputError

INTERLEAVED = "interleaved"
"""Name of a standard's own mapping."""
_FIELDS = ("ro", "sid", "ba", "bg", "co")
_PART = re.compile(r"(ro|sid|ba|bg|co)([1-9][0-9]?)?(?:\^(ro|sid|ba|bg|co))?")
ROW_SHIFT, BANK_SHIFT = 32, 16
_TABLE_BITS = 8


class Location(NamedTuple):
    """Where requests go: flat bank index (stack ID, group, bank; the last runs fastest), row and column; int64."""

    bank: IntArray
    row: IntArray
    column: IntArray


class AddressMapping:
    """Bit fields of a burst index, such as ``ro-sid-ba-bg-co``: most significant first, least significant last.

    A number after a field takes only that many of its low bits, the rest standing farther left: in ``ro-ba-co-ba1``
    consecutive bursts alternate between two banks. A field may be hashed with the low bits of another one: in
    ``ro-sid-ba^ro-bg-co`` the bank is XORed with the row. Fields of width zero (no stack ID, no bank groups) may be
    named or left out. ``interleaved`` is the standard's own mapping.

    Raises :class:`InputError` if the text does not place every bit of the standard exactly once.
    """

    def __init__(self, standard: Standard, text: str = INTERLEAVED) -> None:
        organisation = standard.organisation
        sizes = (
            organisation.rows,
            organisation.stack_ids,
            organisation.banks_per_group,
            organisation.bank_groups,
            organisation.bursts_per_row,
        )
        text = standard.mapping if text == INTERLEAVED else text
        self.standard = standard
        self.bits = {name: size.bit_length() - 1 for name, size in zip(_FIELDS, sizes, strict=True)}
        self.parts: list[tuple[str, int, int]] = []
        """Field, lowest bit in it and number of bits; least significant part first."""
        self.hashes: dict[str, str] = {}
        taken = dict.fromkeys(_FIELDS, 0)
        closed: set[str] = set()
        for part in reversed(text.split("-")):
            match = _PART.fullmatch(part)
            name = match[1] if match else ""
            left = self.bits.get(name, 0) - taken.get(name, 0)
            width = int(match[2]) if match and match[2] else left
            if match is None or name in closed or width > left:
                raise InputError(_malformed(text, part))
            self.parts.append((name, taken[name], width))
            taken[name] += width
            if not match[2]:
                closed.add(name)
            if match[3]:
                self.hashes[name] = match[3]
        missing = [name for name in _FIELDS if taken[name] < self.bits[name]]
        if missing:
            raise InputError(f"mapping: {text!r} leaves out {', '.join(missing)}; allowed is ro-sid-ba-bg-co reordered")
        for name, source in self.hashes.items():
            if source in self.hashes or source == name:
                raise InputError(f"mapping: {name}^{source} in {text!r}: the second field must not be hashed itself")

    def locate(self, addresses: IntArray) -> Location:
        """Split byte addresses, shape ``(n,)`` int64 and below the capacity, into bank, row and column."""
        rest = addresses // self.standard.burst_bytes
        fields: dict[str, IntArray] = {name: np.zeros_like(rest) for name in _FIELDS}
        for name, lowest, width in self.parts:
            fields[name] |= (rest & ((1 << width) - 1)) << lowest
            rest = rest >> width
        for name, source in self.hashes.items():
            fields[name] = (fields[name] ^ fields[source]) & ((1 << self.bits[name]) - 1)
        group = (fields["sid"] << self.bits["bg"]) | fields["bg"]
        return Location((group << self.bits["ba"]) | fields["ba"], fields["ro"], fields["co"])

    def tables(self) -> IntArray:
        """The mapping for kernels: shape ``(bytes, 256)`` int64, one table for each byte of the burst index.

        The location, packed as ``row << ROW_SHIFT | bank << BANK_SHIFT | column``, is the XOR of one entry from each.
        """
        index_bits = sum(self.bits.values())
        count = -(-index_bits // _TABLE_BITS)
        shifts = _TABLE_BITS * np.arange(count, dtype=np.int64)[:, np.newaxis]
        index = (np.arange(1 << _TABLE_BITS, dtype=np.int64) << shifts) & ((1 << index_bits) - 1)
        location = self.locate(index * self.standard.burst_bytes)
        return (location.row << ROW_SHIFT) | (location.bank << BANK_SHIFT) | location.column

    def row_sets(self, most_bursts: int) -> tuple[int, IntArray]:
        """Sets of rows that consecutive bursts share: the number of address bits within a set, and the set of each bank.

        The bits up to the highest column bit address a set: one row, or one in each of the banks among which
        bursts alternate; at most ``most_bursts``. Shape of the second: ``(banks,)``, int64, numbered from 0.
        """
        ends = np.cumsum([width for _, _, width in self.parts])
        highest = max(end for end, (name, _, _) in zip(ends, self.parts, strict=True) if name == "co")
        bits = min(int(highest), most_bursts.bit_length() - 1)
        within = np.unique(self.locate(np.arange(1 << bits, dtype=np.int64) * self.standard.burst_bytes).bank)
        first = (np.arange(self.standard.banks, dtype=np.int64)[:, np.newaxis] ^ within).min(axis=1)
        return bits, np.unique(first, return_inverse=True)[1].astype(np.int64)


def _malformed(text: str, part: str) -> str:
    allowed = f"{', '.join(_FIELDS)}, once each, some low bits of one elsewhere like ba1, and hashes like ba^ro"
    return f"mapping: {part!r} in {text!r} is not understood; allowed are {allowed}"
