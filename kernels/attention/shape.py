"""Sizes of an attention operator, and how a streamed schedule cuts it up."""

from __future__ import annotations

from dataclasses import dataclass

from uarch.datatypes import ACCUMULATOR_BYTES


@dataclass(frozen=True)
class AttentionShape:
    """Sizes of an attention operator on one chip; of a ragged batch ``q_len`` and ``kv_len`` are the largest."""

    batch: int
    q_heads: int
    kv_heads: int
    head_dim: int
    q_len: int
    kv_len: int
    causal: bool = True
    value_dim: int = 0
    """Width of a head's values; 0: as wide as its keys."""
    latent: bool = False
    """The values are the first ``value_dim`` columns of the keys (multi-head latent attention with absorbed weights)."""
    scale: float = 0.0
    """What scores are multiplied with; 0: one over the root of ``head_dim``."""

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
        """What scores are multiplied with."""
        return self.scale or self.head_dim**-0.5

    @property
    def kept_scores(self) -> int:
        """Scores of one head and sequence that a causal mask, or none, keeps."""
        if not self.causal:
            return self.q_len * self.kv_len
        return self.q_len * (self.kv_len - self.q_len) + self.q_len * (self.q_len + 1) // 2

    @property
    def flops(self) -> int:
        """Two per multiply-accumulate of the kept scores, in both products."""
        return self.flops_of(self.batch * self.kept_scores)

    def flops_of(self, scores: int) -> int:
        """The same for the kept ``scores`` of one query head, all sequences together."""
        return 2 * self.q_heads * scores * (self.head_dim + self.value_width)

    def __str__(self) -> str:
        heads = f"h {self.q_heads}/{self.kv_heads} x {self.head_dim}"
        if self.value_dim:
            heads += f"+{self.value_dim}"
        return f"b {self.batch}, {heads}, q {self.q_len}, kv {self.kv_len}"


@dataclass(frozen=True)
class FlashMapping:
    """How a streamed attention is cut up."""

    tile_q: int
    """Query positions of a block."""
    tile_k: int
    """Keys of a step."""
    stages: int
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


def merge_l1_bytes(shape: AttentionShape, mapping: FlashMapping) -> int:
    """L1 bytes of a block that merges the parts of a unit."""
    return MERGE_STAGES * mapping.tile_q * mapping.pack * (shape.value_width + 2) * ACCUMULATOR_BYTES
