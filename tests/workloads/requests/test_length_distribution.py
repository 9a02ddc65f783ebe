"""Correlated lengths: the copula keeps both marginal distributions and has the rank correlation of theory."""

from __future__ import annotations

from math import asin, pi

import numpy as np
import pytest
from scipy.stats import spearmanr

from workloads.requests.length_distribution import LengthDistribution

pytestmark = pytest.mark.once("no kernel")

UNIFORM = {
    "description": "uniform",
    "source": "made up",
    "requests_per_second": 1.0,
    "arrival_cv": 1.0,
    "probability": (0.0, 1.0),
    "input_tokens": (1, 100_001),
    "output_tokens": (1, 1001),
}


@pytest.mark.parametrize("correlation", [-0.8, 0.0, 0.5])
def test_rank_correlation_of_a_gaussian_copula(correlation: float) -> None:
    """Spearman's rho is 6 / pi asin(r / 2); the standard error of 100,000 pairs is 0.003."""
    lengths = LengthDistribution(**UNIFORM, correlation=correlation)
    prompts, outputs = lengths.draw(100_000, np.random.default_rng(1))
    assert spearmanr(prompts, outputs)[0] == pytest.approx(6 / pi * asin(correlation / 2), abs=0.015)
    assert prompts.mean() == pytest.approx(50_001, rel=0.01)
    assert outputs.mean() == pytest.approx(501, rel=0.01)
    apart = lengths.draw(100_000, np.random.default_rng(1), joint=False)
    assert spearmanr(*apart)[0] == pytest.approx(0, abs=0.015)
