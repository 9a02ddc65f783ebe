"""Mappings that are shared between similar shapes: of many ragged batches few pairs are alike, but most nearly so."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from kernels.attention.attention import Attention
from kernels.gemm.tiles import ProductShape

SIGNIFICANT_BITS = 4
"""Leading bits in which similar sizes agree: they differ by less than an eighth."""


def coarse(size: int) -> int:
    """A size with all but its leading bits cleared.

    >>> [coarse(size) for size in (7, 15, 16, 17, 552)]
    [7, 15, 16, 16, 512]
    """
    shift = max(0, size.bit_length() - SIGNIFICANT_BITS)
    return size >> shift << shift


def likeness_of_product(shape: ProductShape, *details: Hashable) -> Hashable:
    """What similar products have in common: rows roughly, columns and depth exactly."""
    rows = shape.entry_rows
    return "product", len(rows), int((rows > 0).sum()), coarse(int(rows.sum())), shape.n, shape.k, details


def likeness_of_attention(attention: Attention) -> Hashable:
    """What similar attentions have in common: new tokens and keys roughly, all else exactly."""
    sequences = attention.sequences
    sizes = [size for lengths in (sequences.q_len, sequences.kv_len) for size in (lengths.sum(), lengths.max())]
    heads = attention.q_heads, attention.kv_heads, attention.head_dim, attention.value_dim, attention.latent
    stored = attention.dtype, attention.kv_dtype, attention.page_size
    options = attention.padded, attention.row_tile, attention.most_keys
    return "attention", heads, stored, options, repr(attention.mask), tuple(coarse(int(size)) for size in sizes)


class SimilarMappings:
    """Mappings found so far; the first shape of its kind decides for all that are similar."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}

    def recall(self, likeness: Hashable) -> Any:
        """The mapping of a similar shape; None if there is none yet."""
        return self._found.get(likeness)

    def remember(self, likeness: Hashable, mapping: Any) -> None:
        """Keep a mapping for similar shapes."""
        self._found.setdefault(likeness, mapping)
