"""Routing of tokens to experts: the table that permutation, grouped products and exchange are built from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from uarch.arrays import IntArray


@dataclass(frozen=True, eq=False)
class Routing:
    """Routing of tokens to experts.

    ``experts``: int64, shape ``(tokens, top_k)``, different ones in each row; ``n_experts`` in all.

    The copies of all tokens, sorted by expert and then by token, are the rows of the *permuted* matrix.
    """

    experts: IntArray
    n_experts: int

    @property
    def tokens(self) -> int:
        """Tokens that are routed."""
        return len(self.experts)

    @property
    def top_k(self) -> int:
        """Number of experts that each token visits."""
        return int(self.experts.shape[1])

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """Rows of every expert."""
        return tuple(np.bincount(self.experts.ravel(), minlength=self.n_experts).tolist())

    @cached_property
    def token_of_row(self) -> IntArray:
        """Token of each row of the permuted matrix; shape ``(tokens * top_k,)``."""
        return np.argsort(self.experts.ravel(), kind="stable") // self.top_k

    @cached_property
    def row_of_copy(self) -> IntArray:
        """Row of the permuted matrix that holds each token's copies; shape ``(tokens, top_k)``."""
        order = np.argsort(self.experts.ravel(), kind="stable")
        rows = np.empty(len(order), np.int64)
        rows[order] = np.arange(len(order))
        return rows.reshape(self.experts.shape)

    def part(self, first: int, tokens: int) -> Routing:
        """The routing of some consecutive tokens."""
        return Routing(self.experts[first : first + tokens], self.n_experts)


def spread_evenly(rows: npt.NDArray[np.int64], tokens: int, top_k: int) -> Routing:
    """A routing with given rows of every expert, none above ``tokens``, adding up to ``tokens * top_k``.

    Copies are dealt out to tokens in turn, expert by expert, so that no token gets an expert twice.

    Raises:
        ValueError: rows that no routing has.
    """
    if rows.sum() != tokens * top_k or rows.max(initial=0) > tokens or rows.min(initial=0) < 0:
        raise ValueError(f"{rows.tolist()} rows are no routing of {tokens} tokens to {top_k} experts each")
    dealt = np.repeat(np.arange(len(rows)), rows)
    return Routing(np.sort(dealt.reshape(top_k, tokens).T, axis=1), len(rows))
