"""The batch of a serving engine's step: any mix of prompts, chunks of prompts, and sequences with a single new token."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from uarch.arrays import IntArray
from uarch.errors import InputError
from uarch.files.reading import one_line, read_text

COLUMNS = ("new_tokens", "context_tokens")
MOST_TOKENS = 1 << 24
"""Most tokens of one sequence, and most new tokens of a step."""


@dataclass(frozen=True)
class StepBatch:
    """Sequences of a step, each ``(new_tokens, context_tokens)``.

    A sequence computes its ``new_tokens`` and attends to ``context_tokens``, the new ones included: a whole prompt of 512
    tokens is (512, 512), its second half (256, 512), and a decode step at a context of 1024 tokens (1, 1024).
    """

    sequences: tuple[tuple[int, int], ...]

    @staticmethod
    def of(sequences: Iterable[tuple[int, int]]) -> StepBatch:
        """A step of pairs of whole numbers; :class:`uarch.InputError` names the first that is not allowed.

        >>> StepBatch.of([(512, 512), (1, 1024), (1, 1024)]).tokens
        514
        """
        batch = StepBatch(tuple((int(new), int(context)) for new, context in sequences))
        for number, (new, context) in enumerate(batch.sequences):
            if not 1 <= new <= context <= MOST_TOKENS:
                raise InputError(f"step: sequence {number} = ({new}, {context}): {_RULE}")
        if not 1 <= batch.tokens <= MOST_TOKENS:
            raise InputError(f"step: has {batch.tokens} new tokens; must be at least 1 and at most {MOST_TOKENS}")
        return batch

    @cached_property
    def new_tokens(self) -> IntArray:
        """New tokens of each sequence, int64 of shape ``(batch,)``."""
        return np.array([new for new, _ in self.sequences], np.int64)

    @cached_property
    def context_tokens(self) -> IntArray:
        """Tokens that the last of them sees, itself included, int64 of shape ``(batch,)``."""
        return np.array([context for _, context in self.sequences], np.int64)

    @property
    def tokens(self) -> int:
        """New tokens of all sequences together."""
        return sum(new for new, _ in self.sequences)

    @property
    def is_uniform(self) -> bool:
        """Whether all sequences are alike."""
        return len(set(self.sequences)) == 1

    def share(self, parts: int) -> StepBatch:
        """The largest of ``parts`` shares of the sequences: dealt out in turn, those with most new tokens first.

        All shares have equally many sequences, or one less.
        """
        order = sorted(range(len(self.sequences)), key=lambda i: (-self.sequences[i][0], -self.sequences[i][1], i))
        return StepBatch(tuple(self.sequences[i] for i in sorted(order[::parts])))

    def ordered(self, order: IntArray) -> StepBatch:
        """Batch with its sequences in another order."""
        return StepBatch(tuple(self.sequences[i] for i in order.tolist()))

    def __str__(self) -> str:
        runs = ((pair, sum(1 for _ in group)) for pair, group in groupby(self.sequences))
        return ", ".join((f"{times} x " if times > 1 else "") + f"{new}/{context}" for (new, context), times in runs)


_RULE = f"must be 1 <= new_tokens <= context_tokens <= {MOST_TOKENS}; the context includes the new tokens"


def read_step(path: str | Path) -> StepBatch:
    """The step in a CSV file with a line ``new_tokens,context_tokens`` for each sequence.

    The context includes the new tokens. A first line with these names, and empty lines, are passed over.

    Raises :class:`uarch.InputError` with the number of a line that is not of this form.
    """
    sequences: list[tuple[int, int]] = []
    for number, line in enumerate(read_text(Path(path)).splitlines(), 1):
        parts = tuple(part.strip() for part in line.split(","))
        if parts in (("",), COLUMNS):
            if parts == COLUMNS and sequences:
                raise InputError(f"{path}: line {number}: names of columns are allowed in the first line only")
            continue
        whole = len(parts) == 2 and all(part.isdecimal() for part in parts)
        if not whole or not 1 <= int(parts[0]) <= int(parts[1]) <= MOST_TOKENS:
            raise InputError(f"{path}: line {number} = {one_line(line)[:40]!r}: {_RULE}")
        sequences.append((int(parts[0]), int(parts[1])))
    if not sequences:
        raise InputError(f"{path}: has no sequences; a step needs at least one line {','.join(COLUMNS)}")
    return StepBatch.of(sequences)
