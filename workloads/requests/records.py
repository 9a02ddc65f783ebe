"""The requests of a workload as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from uarch.arrays import FloatArray, IntArray

LONGEST_TOKENS = 1 << 24
"""Largest prompt or output of a request."""


def _no_blocks() -> IntArray:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests in the order of their arrival.

    Hashes of the prompts' blocks are kept as compressed rows: those of request ``i`` are
    ``prefix_blocks[prefix_starts[i]:prefix_starts[i + 1]]``. Equal hashes mean equal text up to the block's end.

    >>> Requests(np.array([0.0, 1.5]), np.array([100, 20]), np.array([8, 4])).mean_rate_per_second
    0.6666666666666666
    """

    arrival_seconds: FloatArray
    """float64, shape ``(n,)``, since the start of the workload; never falling."""
    input_tokens: IntArray
    """int64, shape ``(n,)``: tokens of the prompt, at least 1."""
    output_tokens: IntArray
    """int64, shape ``(n,)``: tokens that are generated, the first included, at least 1."""
    prefix_blocks: IntArray = field(default_factory=_no_blocks)
    """int64: hashes of the prompts' blocks, request after request; empty where nothing is shared."""
    prefix_starts: IntArray = field(default_factory=_no_blocks)
    """int64, shape ``(n + 1,)``, or empty where there are no hashes."""
    prefix_block_tokens: int = 0
    """Tokens of a block that is hashed; 0 where there are no hashes."""

    def __len__(self) -> int:
        return len(self.arrival_seconds)

    @property
    def span_seconds(self) -> float:
        """Seconds from the first arrival to the last."""
        return float(self.arrival_seconds[-1] - self.arrival_seconds[0]) if len(self) else 0.0

    @property
    def mean_rate_per_second(self) -> float:
        """Arrivals a second between the first and the last; 0 for fewer than two."""
        return (len(self) - 1) / self.span_seconds if self.span_seconds > 0 else 0.0

    @property
    def arrival_cv(self) -> float:
        """Standard deviation of the times between arrivals over their mean: 1 for a Poisson process."""
        gaps = np.diff(self.arrival_seconds)
        return float(gaps.std() / gaps.mean()) if len(gaps) and gaps.mean() > 0 else 0.0

    def prefix_of(self, request: int) -> IntArray:
        """Return the hashes of one prompt's blocks; int64."""
        if not self.prefix_block_tokens:
            return _no_blocks()
        return self.prefix_blocks[self.prefix_starts[request] : self.prefix_starts[request + 1]]

    def at_rate(self, scale: float) -> Requests:
        """Return the same requests arriving ``scale`` times as fast."""
        return replace(self, arrival_seconds=self.arrival_seconds / scale)

    def first(self, count: int) -> Requests:
        """Return the ``count`` earliest requests."""
        hashed = bool(self.prefix_block_tokens)
        starts = self.prefix_starts[: count + 1] if hashed else self.prefix_starts
        return Requests(
            self.arrival_seconds[:count],
            self.input_tokens[:count],
            self.output_tokens[:count],
            self.prefix_blocks[: starts[-1]] if hashed else self.prefix_blocks,
            starts,
            self.prefix_block_tokens,
        )

    def hit_share(self) -> float:
        """Return the share of the prompts' hashed blocks that an unlimited prefix cache has seen before; 0 without hashes."""
        seen_first = len(np.unique(self.prefix_blocks))
        return 1 - seen_first / len(self.prefix_blocks) if len(self.prefix_blocks) else 0.0
