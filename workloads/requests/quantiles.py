"""A distribution of lengths by its quantiles."""

from __future__ import annotations

import numpy as np
from pydantic import model_validator

from uarch.arrays import FloatArray, IntArray
from uarch.files.section import Section, TomlArray


class Quantiles(Section):
    """A distribution of lengths by its quantiles, linear in between."""

    probability: TomlArray[float]
    tokens: TomlArray[int]

    @model_validator(mode="after")
    def _check(self) -> Quantiles:
        p, tokens = self.probability, self.tokens
        if len(p) != len(tokens) or len(p) < 2 or (p[0], p[-1]) != (0, 1):
            raise ValueError("probability and tokens must have equally many entries, the probabilities from 0 to 1")
        if sorted(p) != list(p) or sorted(tokens) != list(tokens) or tokens[0] < 1:
            raise ValueError("probability and tokens must not decrease, and tokens must be at least 1")
        return self

    def at(self, probability: FloatArray) -> IntArray:
        """Return the lengths (int64) below which a draw falls with these probabilities (float64, any shape)."""
        return np.interp(probability, self.probability, self.tokens).round().astype(np.int64)

    def draw(self, count: int, seed: int) -> IntArray:
        """Draw ``count`` lengths; int64."""
        return self.at(np.random.default_rng(seed).random(count))
