"""The pruned search against one that tries every mapping on the engine."""

from __future__ import annotations

import numpy as np
import pytest

from uarch.errors import InputError
from workloads.single.gemm import simulate_gemm

_DRAWN = np.random.default_rng(0)
SHAPES = [
    tuple(int(2**x) for x in (_DRAWN.uniform(0, 9), _DRAWN.uniform(6, 11), _DRAWN.uniform(6, 11))) for _ in range(5)
]


@pytest.mark.compiled("thousands of executions")
@pytest.mark.parametrize("chip", ["spad-h100", "spad-decode", "a100"])
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_the_pruned_search_is_within_2_percent_of_the_best(chip: str, m: int, n: int, k: int) -> None:
    pruned, best = (simulate_gemm(chip, m, n, k, exhaustive=exhaustive) for exhaustive in (False, True))
    assert best.programs[0].trials == best.programs[0].candidates == pruned.programs[0].candidates
    assert best.seconds <= pruned.seconds * 1.005 <= best.seconds * 1.025


def test_a_space_too_large_to_try_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"exhaustive search: \d+ candidates of \d+ steps in all; at most 20000000 steps"
    ):
        simulate_gemm("spad-h100", 4096, 8192, 8192, exhaustive=True)
