"""Which stack ID, bank group, bank, row and column a byte address belongs to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.dram.standards import Standard
from uarch.errors import InputError

DEFAULT_MAPPING = "ro-sid-ba-bg-co"
_FIELDS = ("ro", "sid", "ba", "bg", "co")

IntArray = npt.NDArray[np.int64]


class Location(NamedTuple):
    """Where requests go: flat bank index (stack ID, group, bank; the last runs fastest), row and column; int64."""

    bank: IntArray
    row: IntArray
    column: IntArray


class AddressMapping:
    """Bit fields of a burst index, such as ``ro-sid-ba-bg-co``: most significant first, least significant last.

    A field may be hashed with the low bits of another one: in ``ro-sid-ba^ro-bg-co`` the bank is XORed with the row.
    Fields of width zero (no stack ID, no bank groups) may be named or left out.
    Raises :class:`InputError` if the text does not name every field of the standard exactly once.
    """

    def __init__(self, standard: Standard, text: str = DEFAULT_MAPPING) -> None:
        organisation = standard.organisation
        sizes = (
            organisation.rows,
            organisation.stack_ids,
            organisation.banks_per_group,
            organisation.bank_groups,
            organisation.bursts_per_row,
        )
        self.standard = standard
        self.bits = {name: size.bit_length() - 1 for name, size in zip(_FIELDS, sizes, strict=True)}
        self.order: list[str] = []
        self.hashes: dict[str, str] = {}
        for part in text.split("-"):
            name, *sources = part.split("^")
            if name not in _FIELDS or name in self.order or len(sources) > 1 or (sources and sources[0] not in _FIELDS):
                raise InputError(_malformed(text, part))
            self.order.append(name)
            if sources:
                self.hashes[name] = sources[0]
        missing = [name for name in _FIELDS if name not in self.order and self.bits[name]]
        if missing:
            raise InputError(
                f"mapping: {text!r} leaves out {', '.join(missing)}; allowed is {DEFAULT_MAPPING} reordered"
            )
        for name, source in self.hashes.items():
            if source in self.hashes or source == name:
                raise InputError(f"mapping: {name}^{source} in {text!r}: the second field must not be hashed itself")

    def locate(self, addresses: IntArray) -> Location:
        """Split byte addresses, shape ``(n,)`` int64 and below the capacity, into bank, row and column."""
        rest = addresses // self.standard.burst_bytes
        fields: dict[str, IntArray] = {name: np.zeros_like(rest) for name in _FIELDS}
        for name in reversed(self.order):
            fields[name] = rest & ((1 << self.bits[name]) - 1)
            rest = rest >> self.bits[name]
        for name, source in self.hashes.items():
            fields[name] = (fields[name] ^ fields[source]) & ((1 << self.bits[name]) - 1)
        group = (fields["sid"] << self.bits["bg"]) | fields["bg"]
        return Location((group << self.bits["ba"]) | fields["ba"], fields["ro"], fields["co"])


def _malformed(text: str, part: str) -> str:
    allowed = f"{', '.join(_FIELDS)}, once each, and hashes like ba^ro"
    return f"mapping: {part!r} in {text!r} is not understood; allowed are {allowed}"
