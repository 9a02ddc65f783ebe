"""Generators of requests: arrival processes and lengths have the moments that were asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import spearmanr

from uarch.errors import InputError
from workloads.requests.length_distribution import length_distribution_names, load_length_distribution
from workloads.requests.reading import read_requests
from workloads.requests.records import Requests
from workloads.requests.source import RequestSource, make_requests

pytestmark = pytest.mark.once("no kernel")

REFERENCE = os.environ.get("UARCH_REFERENCE")
TRACES = {
    "azure2023-coding": "AzureLLMInferenceTrace_code.csv",
    "azure2023-conversation": "AzureLLMInferenceTrace_conv.csv",
    "mooncake-conversation": "mooncake_conversation.csv",
    "mooncake-synthetic": "mooncake_synthetic.csv",
    "apex-creation": "apex_creation_05.csv",
    "apex-lmsys": "apex_lmsys_05.csv",
}


def made(seed: int = 0, **fields: Any) -> Requests:
    return make_requests(RequestSource(**fields), seed)


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Eight requests in 14 s whose outputs are twice their prompts."""
    lines = [f"{2 * i},{i + 1},{2 * i + 2},{i}" for i in range(8)]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens,prefix_blocks", *lines]))
    return str(path)


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0, 3.0])
def test_gaps_have_the_rate_and_variation_asked_for(cv: float) -> None:
    """200,000 gaps: the standard error of the mean is cv / 447; that of the CV of a skewed Gamma below 2 %."""
    requests = made(input_tokens=1, output_tokens=1, arrivals="gamma", cv=cv, requests_per_second=5.0, count=200_000)
    assert requests.mean_rate_per_second == pytest.approx(5, rel=5 * cv / 447 + 1e-9)
    assert requests.arrival_cv == pytest.approx(cv, rel=0.05, abs=1e-9)


def test_poisson_arrivals_end_with_the_duration() -> None:
    requests = made(input_tokens=1, output_tokens=1, requests_per_second=50.0, duration_seconds=100.0)
    assert 99 < requests.arrival_seconds[-1] <= 100
    assert len(requests) == pytest.approx(5000, abs=5 * 5000**0.5)


def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    first, second, other = (made(seed, lengths="azure2023-coding", count=500) for seed in (3, 3, 4))
    for name in ("arrival_seconds", "input_tokens", "output_tokens"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
        assert getattr(first, name).tobytes() != getattr(other, name).tobytes()


def test_a_trace_is_played_back_at_another_rate(trace: str) -> None:
    np.testing.assert_allclose(made(file=trace, rate_scale=2.0).arrival_seconds, np.arange(8.0))
    np.testing.assert_allclose(made(file=trace, requests_per_second=1.0).arrival_seconds, np.arange(8.0))
    assert len(made(file=trace, duration_seconds=6.0)) == 4
    assert len(made(file=trace, count=3)) == 3


def test_lengths_of_a_trace_are_drawn_in_pairs_or_independently(trace: str) -> None:
    joint = made(file=trace, arrivals="poisson", requests_per_second=10.0, count=400)
    np.testing.assert_array_equal(joint.output_tokens, 2 * joint.input_tokens)
    assert [joint.prefix_of(i).tolist() for i in range(400)] == [[n - 1] for n in joint.input_tokens]
    apart = made(file=trace, arrivals="poisson", requests_per_second=10.0, count=400, draw="independent")
    assert abs(spearmanr(apart.input_tokens, apart.output_tokens)[0]) < 0.2
    in_order = made(file=trace, arrivals="poisson", requests_per_second=10.0, count=10, draw="in-order")
    assert in_order.input_tokens.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 1, 2]


def test_drawn_arrivals_last_as_long_as_the_trace(trace: str) -> None:
    assert made(file=trace, arrivals="poisson", requests_per_second=100.0).arrival_seconds[-1] == pytest.approx(
        14, abs=1
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "exactly one of file"),
        ({"file": "a", "lengths": "b"}, "exactly one of file"),
        ({"input_tokens": 5, "count": 1}, "output_tokens together"),
        ({"lengths": "apex-lmsys"}, "count or duration_seconds"),
        ({"lengths": "apex-lmsys", "count": 1, "arrivals": "trace"}, "must have a file"),
        ({"lengths": "apex-lmsys", "count": 1, "cv": 2.0}, "arrivals = 'gamma'"),
        ({"lengths": "apex-lmsys", "count": 0}, "greater than or equal to 1"),
        ({"input_tokens": 5, "output_tokens": 5, "count": 1}, "requests_per_second"),
    ],
)
def test_a_contradictory_source_is_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        RequestSource(**fields)


def test_an_unknown_distribution_is_refused() -> None:
    with pytest.raises(InputError, match="azure2023-coding"):
        load_length_distribution("azure2023-codin")


def test_shipped_distributions_have_the_published_medians() -> None:
    """Splitwise (ISCA 2024): coding 1500 / 13 tokens, conversation 1020 / 129."""
    medians = {name: np.median(made(lengths=name, count=50_000).input_tokens) for name in length_distribution_names()}
    assert medians["azure2023-coding"] == pytest.approx(1500, rel=0.03)
    assert medians["azure2023-conversation"] == pytest.approx(1020, rel=0.03)


@pytest.mark.skipif(REFERENCE is None, reason="UARCH_REFERENCE does not name the folder of the reference material")
@pytest.mark.parametrize("name", TRACES)
def test_a_shipped_distribution_draws_lengths_like_those_of_its_trace(name: str) -> None:
    """Means within 3 %, quantiles within 6 % or 3 tokens, rank correlation within 0.07 (of Azure's conversations the two
    measures of dependence differ by 0.06: 0.073 and, of normal scores, 0.014)."""
    assert REFERENCE is not None
    measured = read_requests(Path(REFERENCE).parent / "traces" / TRACES[name])
    drawn = made(lengths=name, count=200_000)
    for column in ("input_tokens", "output_tokens"):
        real, synthetic = getattr(measured, column), getattr(drawn, column)
        assert synthetic.mean() == pytest.approx(real.mean(), rel=0.03)
        for level in (10, 25, 50, 75, 90, 95, 99):
            expected = np.percentile(real, level)
            assert np.percentile(synthetic, level) == pytest.approx(expected, rel=0.06, abs=3)
    correlations = [spearmanr(part.input_tokens, part.output_tokens)[0] for part in (measured, drawn)]
    assert correlations[1] == pytest.approx(correlations[0], abs=0.07)
    assert drawn.mean_rate_per_second == pytest.approx(measured.mean_rate_per_second, rel=0.02)
