"""The invariants hold for sound traces and catch every deliberate corruption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.analysis.invariants import check
from results.trace.schema import CAUSE_FIELDS, ENERGY_FIELDS, LAYER_DTYPE, TEXT_FIELDS, TIMELINE_TRACKS, Table
from results.trace.timeline import check_intervals
from results.trace.trace import Trace
from tests.support.synthetic_trace import CHIPS, CLOCK_HZ, MODELS, TOKENS, make_trace

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
        ("op", 1, "op before that"),
        ("core", -5, "unknown op"),
        ("track", 100, "unknown op"),
        ("cause", 100, "unknown op"),
        ("start_ps", -1, "outside its op"),
        ("end_ps", 10**15, "outside its op"),
        ("end_ps", -(10**15), "end before start"),
        ("cause", 1, "core time of op 0"),
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
    last = trace.timeline[(trace.timeline["op"] == len(trace.layers) - 1) & (trace.timeline["track"] == 0)][:1]
    twice = np.concatenate((trace.timeline, last))
    assert any("overlaps" in problem for problem in check(replace(trace, timeline=twice)))
    other_track = twice.copy()
    other_track["track"][-1] = TIMELINE_TRACKS.index("load")
    assert check(replace(trace, timeline=other_track)) == []


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 100), rows=st.integers(1, 200), damaged=st.booleans())
def test_timeline_in_parts_is_checked_like_a_whole(seed: int, rows: int, damaged: bool) -> None:
    trace = make_trace(seed, n_cores=3)
    assert trace.timeline is not None
    timeline = trace.timeline.copy()
    if damaged:
        timeline["start_ps"][seed * 3 % len(timeline)] -= 5
    parts = [timeline[first : first + rows] for first in range(0, len(timeline), rows)]
    whole = check_intervals([timeline], trace.layers, CLOCK_HZ)
    assert bool(check_intervals(parts, trace.layers, CLOCK_HZ)) == bool(whole)


def test_an_op_at_which_recording_stopped_is_incomplete() -> None:
    trace = make_trace(n_cores=2)
    assert trace.timeline is not None
    rows = len(trace.timeline) // 2
    assert check_intervals([trace.timeline[:rows]], trace.layers, CLOCK_HZ) != []
    assert check_intervals([trace.timeline[:rows]], trace.layers, CLOCK_HZ, rows) == []


def test_no_resource_beats_its_peak() -> None:
    trace = make_trace()
    rollup = {**trace.rollup, "peak_l2_bytes_per_second": 1e9}
    assert any("l2 is used at" in problem for problem in check(replace(trace, rollup=rollup)))
