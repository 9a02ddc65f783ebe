"""Runs of decode steps in closed form against the same steps one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.small_clusters import CONTEXTS, naive_seconds, table
from uarch.jit import loop_kernel
from workloads.serving.step_times.step_grid import (
    JOULES,
    SECONDS,
    StepGrid,
    decode_value,
    run_value,
    stack_tables,
    step_value,
    steps_until,
)

GRID = stack_tables([table(1.0), table(1.7)])
RELATIVE = 1e-12
"""Both sums have at most a few hundred terms of equal sign; each rounds by 1e-16."""


@loop_kernel
def run_of(grid: StepGrid, which: int, decodes: int, context: float, steps: int, added: float, what: int) -> float:
    return run_value(grid, which, decodes, context, steps, added, what)


@loop_kernel
def until(grid: StepGrid, which: int, decodes: int, context: float, added: float, elapsed: float) -> int:
    return steps_until(grid, which, decodes, context, added, elapsed)


def one_by_one(which: int, decodes: int, context: float, steps: int, added: float, what: int = SECONDS) -> float:
    return sum(decode_value(GRID, which, decodes, context + step, what) + added for step in range(steps))


cases = st.tuples(
    st.integers(0, 1), st.integers(1, 60), st.floats(0.5, 150), st.integers(1, 150), st.sampled_from([0, 0.01])
)


@given(cases)
def test_a_run_takes_as_long_as_its_steps(case: tuple[int, int, float, int, float]) -> None:
    """The mean context grows by one a step, through all cells of the table and beyond both of its ends."""
    expected = one_by_one(*case)
    assert run_of(GRID, *case, SECONDS) == pytest.approx(expected, rel=RELATIVE)
    assert run_of(GRID, *case, JOULES) == pytest.approx(one_by_one(*case, JOULES), rel=RELATIVE)


@given(cases, st.floats(0.001, 0.999))
def test_a_run_is_cut_at_the_end_of_the_step_under_way(case: tuple[int, int, float, int, float], share: float) -> None:
    which, decodes, context, steps, added = case
    before = one_by_one(which, decodes, context, steps - 1, added)
    step = decode_value(GRID, which, decodes, context + steps - 1, SECONDS) + added
    assert until(GRID, which, decodes, context, added, before + share * step) == steps


@given(st.integers(0, 1), st.integers(0, 30), st.integers(0, 300), st.integers(1, 100), st.floats(0, 150))
def test_a_step_is_the_sum_of_its_parts(which: int, decodes: int, tokens: int, keys: int, context: float) -> None:
    """Against the table's formula in other words, which shares no code with it."""
    if not decodes and not tokens:
        return
    sequences = decodes + (tokens > 0)
    contexts, pairs = decodes * context, float(tokens * keys)
    value = step_value(GRID, which, sequences, decodes, contexts, tokens, pairs, SECONDS)
    assert value == pytest.approx(
        naive_seconds((1.0, 1.7)[which])(sequences, decodes, contexts, tokens, pairs), rel=1e-9
    )


def test_tables_of_different_extent_lie_beside_each_other() -> None:
    short = table(2.0)._replace(contexts=CONTEXTS[:2], decode=table(2.0).decode[:, :2])
    both = stack_tables([table(1.0), short])
    assert both.n_knots.tolist() == [[4, 3, 2], [2, 3, 2]]
    assert step_value(both, 1, 3, 3, 30.0, 0, 0.0, SECONDS) == pytest.approx(naive_seconds(2.0)(3, 3, 30.0, 0, 0.0))
    assert np.isinf(both.contexts[1, 2:]).all()
