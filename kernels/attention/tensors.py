"""Where the operands of an attention lie in memory."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.attention.attention import Attention
from kernels.attention.kv_storage import PLAIN, KvStorage, kv_storage
from kernels.attention.sequences import Sequences
from kernels.program.address_space import AddressSpace, Tensor


@dataclass(frozen=True, eq=False)
class KvCache:
    """Keys and values of all sequences."""

    k: Tensor
    v: Tensor
    """Values; the tensor of the keys if they are columns of those."""
    sequences: Sequences
    """Where the keys of each sequence lie."""
    storage: KvStorage = PLAIN
    """Scales and page table."""


@dataclass(frozen=True, eq=False)
class AttentionTensors:
    """Queries, keys, values and results of an attention."""

    q: Tensor
    cache: KvCache
    out: Tensor
    stats: Tensor | None = None
    """Rows as of ``out``: where (maximum, sum) of each query and head go, if somebody needs them."""


def allocate_attention(attention: Attention, space: AddressSpace) -> AttentionTensors:
    """Allocate queries, cache and output, in this order."""
    bits, sequences = attention.element_bits, attention.sequences
    batch = attention.batch if attention.lengths is None or attention.padded else 1
    q_rows = int(sequences.q_len.sum()) // batch
    q = space.allocate("q", q_rows, attention.q_heads * attention.head_dim, bits, batch=batch)
    cache = allocate_cache(attention, space)
    out = space.allocate("out", q_rows, attention.q_heads * attention.value_width, bits, batch=batch)
    return AttentionTensors(q, cache, out)


def allocate_cache(attention: Attention, space: AddressSpace, suffix: str = "") -> KvCache:
    """Allocate keys, values and what belongs to them; names end in ``suffix``.

    Equal sequences have a batch entry each, ragged ones follow each other, and pages are batch entries.
    """
    sequences, heads = attention.sequences, attention.kv_heads
    entries, rows = sequences.count, int(sequences.kv_len.max())
    granule_rows = {}
    if attention.page_size:
        entries, rows = sum(map(len, sequences.pages)), attention.page_size
        granule_rows = {"granule_rows": min(64, attention.page_size)}
    elif attention.lengths is not None and not attention.padded:
        entries, rows = 1, int(sequences.kv_len.sum())

    def tensor(name: str, width: int) -> Tensor:
        bits = attention.stored_bits
        return space.allocate(name + suffix, rows, heads * width, bits, batch=entries, **granule_rows)

    k = tensor("k", attention.head_dim)
    v = k if attention.latent else tensor("v", attention.value_width)
    table = (sequences.count, max(map(len, sequences.pages))) if attention.page_size else None
    storage = kv_storage(
        f"kv{suffix}",
        space,
        entries * rows,
        heads,
        kv_dtype=attention.stored_dtype,
        table_shape=table,
        latent=attention.latent,
    )
    return KvCache(k, v, sequences, storage)
