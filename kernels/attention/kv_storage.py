"""How the KV cache is stored: datatype, scales, and the work of turning stored elements into operands."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.program.address_space import AddressSpace, Tensor
from uarch.datatypes import datatype

PAGE_ENTRY_BITS = 32


@dataclass(frozen=True)
class KvStorage:
    """What a cache of keys and values has besides its two tensors."""

    k_scales: Tensor | None = None
    """Rows as the keys', a column for each K/V head; None: no scales."""
    v_scales: Tensor | None = None
    page_table: Tensor | None = None
    """A row for each sequence, an entry for each page; None: not paged."""


PLAIN = KvStorage()


def kv_storage(
    name: str,
    space: AddressSpace,
    kv_rows: int,
    kv_heads: int,
    *,
    kv_dtype: str,
    table_shape: tuple[int, int] | None = None,
    latent: bool = False,
) -> KvStorage:
    """Allocate scales and page table of a cache of ``kv_rows`` rows.

    ``table_shape``: sequences and pages of the longest one, if the cache is paged.
    """

    stored = datatype(kv_dtype)

    def scales(what: str) -> Tensor | None:
        return space.allocate(f"{name}.{what}", kv_rows, kv_heads, stored.scale_bits) if stored.has_kv_scales else None

    table = None
    if table_shape is not None:
        table = space.allocate(f"{name}.page_table", *table_shape, PAGE_ENTRY_BITS, granule_rows=1)
    return KvStorage(scales("k_scales"), None if latent else scales("v_scales"), table)
