"""Loads of experts: drawn, balanced and given; how they are read and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uarch.errors import InputError
from workloads.settings.expert_load import ExpertLoad, parse_load


@given(
    st.sampled_from(["balanced", "uniform", "zipf:0.5", "zipf:3"]),
    st.integers(1, 300),
    st.integers(1, 40),
    st.integers(1, 8),
    st.integers(0, 99),
)
def test_every_token_visits_different_experts(text: str, tokens: int, experts: int, k: int, seed: int) -> None:
    k = min(k, experts)
    routing = parse_load(text).routing(tokens, experts, k, seed)
    assert routing.experts.shape == (tokens, k)
    assert all(len(set(row)) == k for row in routing.experts.tolist())
    assert sum(routing.rows) == tokens * k
    assert np.array_equal(routing.experts, parse_load(text).routing(tokens, experts, k, seed).experts)
    if text == "balanced":
        assert max(routing.rows) - min(routing.rows) <= 1


def test_popularity_follows_zipf() -> None:
    """One expert a token: shares of 1, 1/2, 1/3, ... of their sum, within the noise of 40,000 draws."""
    rows = np.sort(ExpertLoad("zipf", 1.0).routing(40_000, 6, 1, 0).rows)[::-1]
    expected = 1 / np.arange(1, 7)
    np.testing.assert_allclose(rows / rows.sum(), expected / expected.sum(), atol=0.01)


@pytest.mark.parametrize("content", ["[4, 2, 1, 1]", "4 2 1 1\n", "4,2\n1,1", "[40, 20, 10, 10]"])
def test_shares_from_a_file(tmp_path: Path, content: str) -> None:
    """64 tokens to one expert each: exactly 32, 16, 8, 8."""
    path = tmp_path / "load.txt"
    path.write_text(content)
    assert parse_load(str(path)).routing(64, 4, 1, 0).rows == (32, 16, 8, 8)
    # of two experts each, no token visits the first twice: 64 rows, and 64 more in the ratio 2 : 1 : 1
    assert parse_load(str(path)).routing(64, 4, 2, 0).rows == (64, 32, 16, 16)


@pytest.mark.parametrize(
    ("text", "content", "expected"),
    [
        ("even", None, "expert_load = 'even': not known; allowed: balanced, uniform, zipf:S"),
        ("zipf:x", None, "expert_load = 'zipf:x': not known"),
        ("zipf:9", None, "expert_load = 'zipf:9': not known"),
        ("load.csv", None, "load.csv: cannot be read"),
        ("load.csv", "1, two, 3", "must hold one number for each expert, none below 0"),
        ("load.csv", "[1, -1]", "must hold one number for each expert, none below 0"),
        ("load.csv", "", "must hold one number for each expert"),
        ("load.csv", "1 2 3", "expert_load: the file has 3 numbers, 3 above 0; needed are 4"),
        ("load.csv", "1 0 0 0", "1 above 0; needed are 4, at least 2 above 0"),
    ],
)
def test_what_is_refused(
    text: str, content: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / text).write_text(content)
    with pytest.raises(InputError) as caught:
        parse_load(text).routing(8, 4, 2, 0)
    assert expected in str(caught.value)
