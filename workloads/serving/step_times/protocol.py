"""What gives step times: anything that says how long steps take, tabulated once for the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from uarch.arrays import FloatArray
from workloads.serving.step_times.step_grid import StepTable


class Steps(NamedTuple):
    """Steps by what their time depends on; each field float64 of shape ``(n,)``."""

    sequences: FloatArray
    """Decodes and prefills together."""
    decodes: FloatArray
    """Sequences that compute the token that they generated last."""
    decode_contexts: FloatArray
    """Sum over the decodes of the keys that they see, that of the new token included."""
    prefill_tokens: FloatArray
    """New tokens of all prefills."""
    prefill_pairs: FloatArray
    """Pairs of a new token and a key that it sees: a chunk of m tokens behind p others has m p + m (m + 1) / 2."""


class StepTimes(Protocol):
    """A source of step times."""

    def seconds_and_joules(self, steps: Steps) -> FloatArray:
        """Return ``(n, 2)``: seconds of each step without host time, and joules of all chips of the machine."""


class Extent(NamedTuple):
    """How far a table has to reach."""

    max_sequences: int
    """Decodes of a step."""
    max_tokens: int
    """New tokens of a step."""
    max_context: int
    """Tokens of a sequence."""


class FunctionStepTimes:
    """Step times of a user's function of five numbers, the fields of :class:`Steps`; it returns seconds, or (seconds, joules).

    >>> times = FunctionStepTimes(lambda sequences, decodes, contexts, tokens, pairs: 0.01 + 1e-5 * tokens)
    >>> times.seconds_and_joules(Steps(*np.array([[1.0], [0.0], [0.0], [1000.0], [500500.0]]))).tolist()
    [[0.02, 0.0]]
    """

    def __init__(self, function: Callable[[float, float, float, float, float], float | tuple[float, float]]) -> None:
        self._function = function

    def seconds_and_joules(self, steps: Steps) -> FloatArray:
        """Call the function once for each step."""
        values = np.zeros((len(steps.sequences), 2))
        for row, step in zip(values, np.stack(steps, axis=1).tolist(), strict=True):
            answer = self._function(*step)
            row[:] = answer if isinstance(answer, tuple) else (answer, 0.0)
        return values


_EVERY_ROW_UP_TO = 512
_FEW_ROWS = 64
_BIT = 2.0


def tabulate(times: StepTimes, extent: Extent) -> StepTable:
    """Tabulate step times for the event loop.

    Steps of decodes alone, or of prefills alone, are exact at the table's knots: each number of sequences, each number of
    tokens up to 512 and multiples of 64 beyond (with the one after), powers of two of contexts; between them linear, which
    is exact for times that are linear in the sums. A step with both takes the dense work of all its tokens and both
    attentions.
    """
    tokens = np.arange(extent.max_tokens + 1, dtype=np.float64)
    contexts = _powers_of_two(extent.max_context)
    lengths = _powers_of_two(extent.max_tokens)
    per_sequence = _per_sequence(times)
    dense = _dense(times, tokens, per_sequence)
    rows = np.arange(extent.max_sequences + 1, dtype=np.float64)
    return StepTable(
        dense,
        _decode(times, rows, contexts, dense, per_sequence),
        contexts,
        _prefill(times, lengths, contexts, dense, per_sequence),
        lengths,
        contexts,
        per_sequence,
    )


def _powers_of_two(most: int) -> FloatArray:
    """Return 1, 2, 4, ... up to ``most``, which is the last."""
    powers = _BIT ** np.arange(max(1, int(most - 1).bit_length()))
    return np.append(powers[powers < most], float(max(most, 2)))


def _per_sequence(times: StepTimes) -> FloatArray:
    """Return what one sequence more costs, the new tokens staying the same; ``(2,)``."""
    two, one = times.seconds_and_joules(_prefills(np.array([2.0, 1.0]), np.full(2, _FEW_ROWS), np.full(2, _FEW_ROWS)))
    return np.asarray(np.maximum(two - one, 0.0), np.float64)


def _prefills(sequences: FloatArray, tokens: FloatArray, pairs: FloatArray) -> Steps:
    none = np.zeros(len(tokens))
    return Steps(sequences, none, none, tokens, pairs)


def _dense(times: StepTimes, tokens: FloatArray, per_sequence: FloatArray) -> FloatArray:
    """Return the time of tokens that see only themselves, by their number; ``(T + 1, 2)``."""
    most = len(tokens) - 1
    multiples = np.arange(_EVERY_ROW_UP_TO, most + 1, _FEW_ROWS)
    known = np.unique(np.concatenate([np.arange(1, min(most, _EVERY_ROW_UP_TO) + 1), multiples, multiples + 1, [most]]))
    known = known[known <= most].astype(np.float64)
    values = times.seconds_and_joules(_prefills(np.ones(len(known)), known, known)) - per_sequence
    return np.stack([np.interp(tokens, known, values[:, what]) for what in range(2)], axis=1)


def _decode(
    times: StepTimes, rows: FloatArray, contexts: FloatArray, dense: FloatArray, per_sequence: FloatArray
) -> FloatArray:
    """Return what decodes take beyond dense work; ``(N + 1, C, 2)``."""
    n, c = (axis.ravel() for axis in np.meshgrid(rows[1:], contexts, indexing="ij"))
    none = np.zeros(len(n))
    values = times.seconds_and_joules(Steps(n, n, n * c, none, none)).reshape(len(rows) - 1, len(contexts), 2)
    beyond = values - (dense[1 : len(rows)] + rows[1:, None] * per_sequence)[:, None]
    return np.concatenate([np.zeros((1, *beyond.shape[1:])), beyond])


def _prefill(
    times: StepTimes, lengths: FloatArray, keys: FloatArray, dense: FloatArray, per_sequence: FloatArray
) -> FloatArray:
    """Return what prefills take beyond dense work; ``(P, X, 2)``."""
    p, x = (axis.ravel() for axis in np.meshgrid(lengths, keys, indexing="ij"))
    values = times.seconds_and_joules(_prefills(np.ones(len(p)), p, p * x)).reshape(len(lengths), len(keys), 2)
    return values - (dense[lengths.astype(np.int64)] + per_sequence)[:, None]
