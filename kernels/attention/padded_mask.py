"""Ragged batches padded to the longest: every sequence is computed at full length, and a mask hides what is not there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kernels.attention.sequences import Sequences
from kernels.masks.kept_keys import KeptKeys
from kernels.masks.score_masks import ScoreMask


@dataclass(frozen=True, eq=False)
class PaddedMask:
    """``mask`` on the real queries and keys of each sequence, which come first; a padding query sees what the last real
    one sees."""

    mask: ScoreMask
    sequences: Sequences
    drawn: bool = True

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of a padded sequence's queries; ``seed``: number of the sequence, then of the K/V head."""
        s = seed[0]
        real = self.mask.kept(int(self.sequences.q_len[s]), int(self.sequences.kv_len[s]), seed)
        query = np.minimum(np.arange(q_len), real.q_len - 1)
        return replace(real, kv_len=kv_len, ranges=real.ranges.of(query))
