"""Joint distributions of prompt and output lengths: quantile tables and the correlation between the two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field, model_validator
from scipy.special import ndtr

from uarch.arrays import IntArray
from uarch.files.presets import Presets
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section, TomlArray
from workloads.requests.quantiles import Quantiles

LENGTHS = Presets("lengths", Path(__file__).parent / "lengths")
"""Distributions of lengths that come with the package."""


class LengthDistribution(Section):
    """Quantiles of prompt and output lengths, joined by a Gaussian copula; the schema of ``lengths/*.toml``."""

    description: str
    source: str
    requests_per_second: float = Field(gt=0)
    """Mean rate of the trace that was measured."""
    arrival_cv: float = Field(ge=0)
    """Standard deviation over mean of its times between arrivals."""
    correlation: float = Field(gt=-1, lt=1)
    """Correlation of the two lengths' normal scores: ranks mapped to a standard normal distribution."""
    probability: TomlArray[float]
    input_tokens: TomlArray[int]
    output_tokens: TomlArray[int]

    @model_validator(mode="after")
    def _check(self) -> LengthDistribution:
        self.inputs, self.outputs  # noqa: B018 (their own checks)
        return self

    @property
    def inputs(self) -> Quantiles:
        """Distribution of prompt lengths."""
        return Quantiles(probability=self.probability, tokens=self.input_tokens)

    @property
    def outputs(self) -> Quantiles:
        """Distribution of output lengths."""
        return Quantiles(probability=self.probability, tokens=self.output_tokens)

    def draw(self, count: int, random: np.random.Generator, joint: bool = True) -> tuple[IntArray, IntArray]:
        """Draw prompt and output lengths (int64, shape ``(count,)`` each), correlated or, if not ``joint``, independent."""
        first, second = random.standard_normal((2, count))
        r = self.correlation if joint else 0.0
        mixed = r * first + np.sqrt(1 - r * r) * second
        return self.inputs.at(ndtr(first)), self.outputs.at(ndtr(mixed))


def length_distribution_names() -> list[str]:
    """Return the names of the shipped distributions, sorted."""
    return list(LENGTHS.names)


def load_length_distribution(name_or_path: str) -> LengthDistribution:
    """Load a shipped distribution or a TOML file of the same layout; ``InputError`` for anything else."""
    return validate(LengthDistribution, read_toml(LENGTHS.find(name_or_path)), f"lengths {name_or_path}")
