"""Attention: what an operator computes, whatever schedule computes it, and how a streamed schedule cuts it up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from kernels.attention.padded_mask import PaddedMask
from kernels.attention.sequences import Sequences, packed, paged, uniform
from kernels.masks.score_masks import CausalMask, FullMask, ScoreMask
from uarch.arrays import IntArray
from uarch.datatypes import ACCUMULATOR_BYTES, MatrixDatatype, datatype


@dataclass(frozen=True, eq=False)
class Attention:
    """An attention operator on one chip; what is left out is that of plain causal attention on equally long sequences.

    Its new tokens, ``q_len`` of each of ``batch`` sequences, see the ``kv_len`` keys up to their own.
    """

    batch: int
    q_heads: int
    kv_heads: int
    head_dim: int
    q_len: int
    """New tokens of a sequence; of the longest one in a ragged batch."""
    kv_len: int
    """Keys of a sequence, those of its new tokens included; the most in a ragged batch."""
    causal: bool = True
    """Whether a query sees the keys up to its own; otherwise it sees all. A ``mask`` overrides this."""
    value_dim: int = 0
    """Width of a head's values; 0: as wide as its keys."""
    latent: bool = False
    """The values are the first ``value_dim`` columns of the keys (multi-head latent attention with absorbed weights)."""
    scale: float = 0.0
    """Factor of the scores; 0: one over the root of ``head_dim``."""
    dtype: MatrixDatatype = "fp16"
    """Datatype of queries and results, and of the arrays' work."""
    mask: ScoreMask | None = None
    """Scores that are kept; None: as ``causal`` says."""
    kv_dtype: str | None = None
    """Datatype of stored keys and values; None: as ``dtype``."""
    page_size: int = 0
    """Keys of a page; 0: the cache of a sequence lies together."""
    lengths: tuple[IntArray, IntArray] | None = None
    """New tokens and keys of each sequence of a ragged batch, int64 of shape ``(batch,)``; None: all are equally long."""
    padded: bool = False
    """A ragged batch is computed as if all its sequences were as long as the longest."""
    soft_capped: bool = False
    """Scores are bent to stay below a limit by a tanh (Gemma 2)."""
    row_tile: tuple[int, int] | None = None
    """Query positions and packed heads of a block, if they are not for the mapper to choose."""
    most_keys: int | None = None
    """Most keys of a step, if that is not for the mapper to choose."""
    seed: int = 0
    """Seed of the order of pages."""

    @property
    def group(self) -> int:
        """Query heads that share a K/V head."""
        return self.q_heads // self.kv_heads

    @property
    def value_width(self) -> int:
        """Width of a head's values and results."""
        return self.value_dim or self.head_dim

    @property
    def softmax_scale(self) -> float:
        """Factor of the scores before the softmax."""
        return self.scale or self.head_dim**-0.5

    @property
    def stored_dtype(self) -> str:
        """Datatype of keys and values in memory."""
        return self.kv_dtype or self.dtype

    @property
    def element_bits(self) -> int:
        """Bits of an element of queries and results."""
        return datatype(self.dtype).bits

    @property
    def stored_bits(self) -> int:
        """Bits of a stored element of keys and values."""
        return datatype(self.stored_dtype).bits

    @property
    def dequantise_ops(self) -> int:
        """Lane-operations that turn a stored element into an operand; 0: the arrays take elements as they are stored."""
        return 0 if self.stored_dtype == self.dtype else datatype(self.stored_dtype).dequantise_ops

    @property
    def is_plain(self) -> bool:
        """Whether sizes and ``dtype`` say it all: no mask, equal lengths, a cache stored as it is computed with."""
        stored_plainly = self.stored_dtype == self.dtype and not self.page_size
        return self.mask is None and self.lengths is None and stored_plainly and self.row_tile is None

    @cached_property
    def real_sequences(self) -> Sequences:
        """Sequences without padding, each in a batch entry of its own unless their lengths differ."""
        if self.lengths is None:
            return uniform(self.batch, self.q_len, self.kv_len)
        return packed(*self.lengths)

    @cached_property
    def sequences(self) -> Sequences:
        """Sequences as they lie in memory and are computed, keys on pages if there are any."""
        sequences = uniform(self.batch, self.q_len, self.kv_len) if self.padded else self.real_sequences
        return paged(sequences, self.page_size, seed=self.seed) if self.page_size else sequences

    @property
    def real_mask(self) -> ScoreMask:
        """Scores that are kept of the real sequences."""
        return self.mask or (CausalMask() if self.causal else FullMask())

    @property
    def score_mask(self) -> ScoreMask:
        """Scores that programs keep, padding included."""
        return PaddedMask(self.real_mask, self.real_sequences) if self.padded else self.real_mask

    @property
    def kept_scores(self) -> int:
        """Scores of one query head that are kept, padding apart; of drawn masks, those of the first K/V head."""
        if self.mask is not None or self.lengths is not None:
            return _kept(self.real_sequences, self.real_mask)
        hidden = self.q_len * (self.q_len - 1) // 2 if self.causal else 0
        return self.batch * (self.q_len * self.kv_len - hidden)

    @property
    def dense_scores(self) -> int:
        """Scores of one query head that a causal mask would keep."""
        return _kept(self.real_sequences, CausalMask())

    @property
    def flops(self) -> int:
        """Two per multiply-accumulate of the kept scores, in both products."""
        return self.flops_of(self.kept_scores)

    def flops_of(self, scores: int) -> int:
        """Count two per multiply-accumulate for ``scores`` of every query head, in both products."""
        return 2 * self.q_heads * scores * (self.head_dim + self.value_width)

    def of_lengths(self, q_len: IntArray, kv_len: IntArray) -> Attention:
        """Attention of a ragged batch, else as this one: new tokens and keys of each sequence, int64 of equal shape."""
        lengths = q_len, kv_len
        return replace(self, batch=len(q_len), q_len=int(q_len.max()), kv_len=int(kv_len.max()), lengths=lengths)

    def __str__(self) -> str:
        heads = f"h {self.q_heads}/{self.kv_heads} x {self.head_dim}"
        if self.value_dim:
            heads += f"+{self.value_dim}"
        return f"b {self.batch}, {heads}, q {self.q_len}, kv {self.kv_len}"


def _kept(sequences: Sequences, mask: ScoreMask) -> int:
    lengths = zip(sequences.q_len.tolist(), sequences.kv_len.tolist(), strict=True)
    return sum(mask.kept(q_len, kv_len, (s, 0)).scores() for s, (q_len, kv_len) in enumerate(lengths))


@dataclass(frozen=True)
class FlashMapping:
    """How a streamed attention is cut up."""

    tile_q: int
    """Query positions of a block."""
    tile_k: int
    """Keys of a step."""
    stages: int
    """Key tiles that a block holds at a time."""
    pack: int = 1
    """Query heads of a group that a block handles together, as rows of one matrix; they share the loads of K and V."""
    splits: int = 1
    """Parts of the longest list of key tiles that go to different blocks, whose results are merged; shorter lists are cut
    into fewer parts, about as long."""
    array_rows: int = 0
    """If not 0, the arrays and vector units compute whole tiles of at least so many rows, as kernels of libraries do."""
    copy_ops: int = 0
    """Lane-operations with which the vector units copy 16 bytes of keys or values to L1; 0 if a unit of its own does."""
    as_grid: bool = False
    """Dispatch order of a library's launch grid: query tiles upwards, all sequences of one head before the next head, and a
    block for each query tile of the longest sequence, empty for shorter ones. Otherwise long sequences come first, one after
    the other, with the last query tiles of each head first."""


MERGE_STAGES = 4


def merge_l1_bytes(attention: Attention, mapping: FlashMapping) -> int:
    """L1 bytes of a block that merges the parts of a unit."""
    return MERGE_STAGES * mapping.tile_q * mapping.pack * (attention.value_width + 2) * ACCUMULATOR_BYTES
