"""A streamed attention with all that makes it special: mask, ragged lengths, pages, stored datatype. From this its tensors,
its program and what the mapper needs to know are made."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kernels.attention.kv_storage import KvStorage, kv_storage
from kernels.attention.padded_mask import PaddedMask
from kernels.attention.page_selection import PageBounds, page_bounds, select_pages
from kernels.attention.sequences import Sequences, packed, paged, uniform
from kernels.attention.shape import AttentionShape, FlashMapping
from kernels.attention.streamed import flash_attention
from kernels.mapping.attention_load import AttentionLoad
from kernels.masks.key_ranges import IntArray
from kernels.masks.score_masks import CausalMask, FullMask, PagesMask, ScoreMask
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import TileProgram
from uarch.datatypes import datatype

PACKINGS = ("packed", "padded")


@dataclass(frozen=True, eq=False)
class JobTensors:
    """Where the operands of an attention lie."""

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    storage: KvStorage
    sequences: Sequences
    stats: Tensor | None = None
    """Where (maximum, sum) of each query and head go, if somebody needs them."""


@dataclass(frozen=True, eq=False)
class AttentionJob:
    """An attention operator; options that are left out are those of plain causal attention on equal sequences."""

    shape: AttentionShape
    dtype: str = "fp16"
    mask: ScoreMask | None = None
    kv_dtype: str | None = None
    """Of stored keys and values; None: as ``dtype``."""
    page_size: int = 0
    """Keys of a page; 0: the cache of a sequence lies together."""
    lengths: tuple[IntArray, IntArray] | None = None
    """``q_len`` and ``kv_len`` of each sequence of a ragged batch."""
    padded: bool = False
    """A ragged batch is computed as if all its sequences were as long as the longest."""
    row_tile: tuple[int, int] | None = None
    """Query positions and packed heads of a block, if they are not for the mapper to choose."""
    most_keys: int | None = None
    """Keys of a step at most."""
    seed: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether ``shape`` and ``dtype`` say it all."""
        stored_plainly = self.stored_dtype == self.dtype and not self.page_size
        return self.mask is None and self.lengths is None and stored_plainly and self.row_tile is None

    @property
    def stored_dtype(self) -> str:
        """Datatype of keys and values in memory."""
        return self.kv_dtype or self.dtype

    @property
    def real_sequences(self) -> Sequences:
        """Lengths without padding."""
        if self.lengths is None:
            return uniform(self.shape.batch, self.shape.q_len, self.shape.kv_len)
        return packed(*self.lengths)

    @property
    def sequences(self) -> Sequences:
        """Sequences as they lie in memory and are computed, keys on pages if there are any."""
        sequences = self.real_sequences
        if self.padded:
            sequences = uniform(self.shape.batch, self.shape.q_len, self.shape.kv_len)
        return paged(sequences, self.page_size, seed=self.seed) if self.page_size else sequences

    @property
    def score_mask(self) -> ScoreMask:
        """The mask that programs are built with."""
        mask = self.mask or (CausalMask() if self.shape.causal else FullMask())
        return PaddedMask(mask, self.real_sequences) if self.padded else mask

    def kept_scores(self) -> int:
        """Scores of one query head that the mask keeps, padding apart; of drawn masks, the first K/V head's."""
        return _scores(self.real_sequences, self.mask or (CausalMask() if self.shape.causal else FullMask()))

    def dense_scores(self) -> int:
        """The same for a causal mask."""
        return _scores(self.real_sequences, CausalMask())

    def load(self) -> AttentionLoad:
        """What the mapper looks at."""
        if self.is_plain:
            return AttentionLoad(self.shape, self.dtype)
        return AttentionLoad(
            self.shape,
            self.dtype,
            kv_bits=datatype(self.stored_dtype).bits,
            dequantise_ops=0 if self.stored_dtype == self.dtype else datatype(self.stored_dtype).dequantise_ops,
            sequences=self.sequences,
            mask=self.score_mask,
            visit_all=self.padded,
            row_tile=self.row_tile,
            most_keys=self.most_keys,
        )

    def allocate(self, space: AddressSpace) -> JobTensors:
        """Queries, cache and output, in this order."""
        shape, sequences, bits = self.shape, self.sequences, datatype(self.dtype).bits
        batch = shape.batch if self.lengths is None or self.padded else 1
        q_rows = int(sequences.q_len.sum()) // batch
        q = space.allocate("q", q_rows, shape.q_heads * shape.head_dim, bits, batch=batch)
        k, v, storage = self.allocate_cache(space, "", sequences)
        out = space.allocate("out", q_rows, shape.q_heads * shape.value_width, bits, batch=batch)
        return JobTensors(q, k, v, out, storage, sequences)

    def allocate_cache(
        self, space: AddressSpace, suffix: str, sequences: Sequences
    ) -> tuple[Tensor, Tensor, KvStorage]:
        """Keys, values and what belongs to them; names end in ``suffix``."""
        shape, bits, heads = self.shape, datatype(self.stored_dtype).bits, self.shape.kv_heads
        entries, rows = sequences.count, int(sequences.kv_len.max())
        granule_rows = {}
        if self.page_size:
            entries, rows = sum(map(len, sequences.pages)), self.page_size
            granule_rows = {"granule_rows": min(64, self.page_size)}
        elif self.lengths is not None and not self.padded:
            entries, rows = 1, int(sequences.kv_len.sum())

        def tensor(name: str, width: int) -> Tensor:
            return space.allocate(name + suffix, rows, heads * width, bits, batch=entries, **granule_rows)

        k = tensor("k", shape.head_dim)
        v = k if shape.latent else tensor("v", shape.value_width)
        table = (sequences.count, max(map(len, sequences.pages))) if self.page_size else None
        storage = kv_storage(
            f"kv{suffix}",
            space,
            entries * rows,
            heads,
            kv_dtype=self.stored_dtype,
            dtype=self.dtype,
            table_shape=table,
            latent=shape.latent,
        )
        return k, v, storage

    def page_metadata(self, space: AddressSpace, suffix: str = "") -> PageBounds | None:
        """Metadata of the pages that the mask selects from; None if it selects none."""
        if not isinstance(self.mask, PagesMask):
            return None
        return page_bounds(space, self.shape, self.mask.page, self.dtype, suffix=suffix)

    def selection(self, q: Tensor, metadata: PageBounds | None, space: AddressSpace) -> tuple[TileProgram, ...]:
        """Programs that select the pages which attention reads; none for other masks."""
        if metadata is None or not isinstance(self.mask, PagesMask):
            return ()
        pages = self.mask.budget // self.mask.page
        return select_pages(self.shape, q, metadata, self.sequences, space, pages=pages, dtype=self.dtype)

    def program(self, name: str, tensors: JobTensors, mapping: FlashMapping, space: AddressSpace) -> TileProgram:
        """The tile program; useful work is that of the real sequences."""
        program = flash_attention(
            name,
            self.shape,
            tensors.q,
            tensors.k,
            tensors.v,
            tensors.out,
            mapping,
            space,
            dtype=self.dtype,
            sequences=tensors.sequences,
            mask=self.score_mask,
            storage=tensors.storage,
            visit_all=self.padded,
            stats=tensors.stats,
        )
        if not self.padded:
            return program
        return replace(program, useful_flops=self.shape.flops_of(self.kept_scores()))


def _scores(sequences: Sequences, mask: ScoreMask) -> int:
    lengths = zip(sequences.q_len.tolist(), sequences.kv_len.tolist(), strict=True)
    return sum(mask.kept(q_len, kv_len, (s, 0)).scores() for s, (q_len, kv_len) in enumerate(lengths))
