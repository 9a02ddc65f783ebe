"""The invariants hold for sound traces and catch every deliberate corruption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.invariants import check
from results.schema import CAUSE_FIELDS, ENERGY_FIELDS, LAYER_DTYPE, TEXT_FIELDS, Table
from results.trace import Trace
from tests.results.synthetic import CHIPS, MODELS, TOKENS, make_trace

NUMBERS = [name for name in LAYER_DTYPE.names or () if name not in TEXT_FIELDS]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    chip=st.sampled_from(sorted(CHIPS)),
    model=st.sampled_from(sorted(MODELS)),
    phase=st.sampled_from(sorted(TOKENS)),
    n_cores=st.integers(0, 3),
)
def test_sound_traces_pass(seed: int, chip: str, model: str, phase: str, n_cores: int) -> None:
    assert check(make_trace(seed, chip=chip, model=model, phase=phase, n_cores=n_cores)) == []


def corrupted(change: Callable[[Table], None], trace: Trace) -> Trace:
    layers = trace.layers.copy()
    change(layers)
    return replace(trace, layers=layers)


@pytest.mark.parametrize("field", NUMBERS)
def test_negative_numbers(field: str) -> None:
    def change(layers: Table) -> None:
        layers[field][3] = -2

    assert check(corrupted(change, make_trace())) == [f"layers: {field} negative or not finite in row 3"]


@pytest.mark.parametrize("field", [name for name in NUMBERS if LAYER_DTYPE[name].kind == "f"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none(field: str, value: float) -> None:
    def change(layers: Table) -> None:
        layers[field][[2, 5]] = value

    assert check(corrupted(change, make_trace())) == [f"layers: {field} negative or not finite in row 2 and 1 more"]


@pytest.mark.parametrize("field", CAUSE_FIELDS)
def test_causes_that_do_not_add_up(field: str) -> None:
    def change(layers: Table) -> None:
        layers[field][1] += 2.0

    problems = check(corrupted(change, make_trace()))
    assert any("do not add up" in problem and "row 1" in problem for problem in problems)


def _gap(layers: Table) -> None:
    layers["start_cycle"][4:] += 100
    layers["end_cycle"][4:] += 100


def _overlap(layers: Table) -> None:
    layers["start_cycle"][4] -= 100


def _late_start(layers: Table) -> None:
    layers["start_cycle"] += 5
    layers["end_cycle"] += 5


def _backwards(layers: Table) -> None:
    layers["end_cycle"][4] = layers["start_cycle"][4] - 1


def _slow_clock(layers: Table) -> None:
    layers["seconds"][4] *= 1.1


def _over_full(layers: Table) -> None:
    layers["utilization"][4] = 1.01


def _unknown_bound(layers: Table) -> None:
    layers["bound_by"][4] = b"matrix"


def _wrong_bound(layers: Table) -> None:
    layers["bound_by"][4] = b"idle"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_gap, "previous op's end_cycle"),
        (_overlap, "previous op's end_cycle"),
        (_late_start, "previous op's end_cycle"),
        (_backwards, "end_cycle before start_cycle"),
        (_slow_clock, "seconds differ"),
        (_over_full, "utilization above 1"),
        (_unknown_bound, "bound_by is none of compute"),
        (_wrong_bound, "bound_by is not what"),
    ],
)
def test_corrupted_rows(change: Callable[[Table], None], words: str) -> None:
    assert any(words in problem for problem in check(corrupted(change, make_trace())))


@pytest.mark.parametrize("field", [*ENERGY_FIELDS, "flops", "dram_read_bytes", "dram_write_bytes", "link_bytes"])
def test_rows_that_the_rollup_does_not_count(field: str) -> None:
    def change(layers: Table) -> None:
        layers[field][2] += layers[field].sum() + 1

    assert any(problem.startswith("rollup: ") for problem in check(corrupted(change, make_trace())))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seconds", 1.0),
        ("cycles", 1),
        ("energy_joules", 1.0),
        ("energy_dram_joules", 0.0),
        ("cause_idle_seconds", 1.0),
        ("utilization", 1.1),
        ("dram_bandwidth_fraction", 1.1),
        ("l2_hit_rate", float("nan")),
        ("bound_by", "link"),
    ],
)
def test_corrupted_rollup(name: str, value: float | str) -> None:
    trace = make_trace()
    problems = check(replace(trace, rollup={**trace.rollup, name: value}))
    assert any(problem.startswith(f"rollup: {name} is") for problem in problems)


def test_missing_numbers_and_rows() -> None:
    trace = make_trace()
    without = {name: value for name, value in trace.rollup.items() if name != "clock_hz"}
    assert check(replace(trace, rollup=without)) == ["rollup: no number clock_hz"]
    assert check(replace(trace, layers=trace.layers[:0])) == ["layers: no rows"]


@pytest.mark.parametrize(
    ("field", "change", "words"),
    [
        ("op", 10_000, "unknown op"),
        ("core", -5, "unknown op"),
        ("cause", 100, "unknown op"),
        ("start_cycle", -1, "outside its op"),
        ("end_cycle", 10**9, "outside its op"),
    ],
)
def test_corrupted_timeline(field: str, change: int, words: str) -> None:
    trace = make_trace(n_cores=2)
    assert trace.timeline is not None
    timeline = trace.timeline.copy()
    timeline[field][0] += change
    assert any(words in problem for problem in check(replace(trace, timeline=timeline)))


def test_overlap_on_one_core_only() -> None:
    trace = make_trace(n_cores=2)
    assert trace.timeline is not None
    twice = np.concatenate((trace.timeline, trace.timeline[:1]))
    assert any("overlaps" in problem for problem in check(replace(trace, timeline=twice)))
    twice["core"][-1] = 7
    assert check(replace(trace, timeline=twice)) == []
