"""Differences between two runs add up to the difference of their times, and the largest comes first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.analysis.diff import difference
from tests.support.synthetic_trace import CHIPS, make_trace


@settings(max_examples=15, deadline=None)
@given(
    chips=st.tuples(st.sampled_from(sorted(CHIPS)), st.sampled_from(sorted(CHIPS))),
    models=st.tuples(*[st.sampled_from(["model-fused", "model-unfused"])] * 2),
    by_layer=st.booleans(),
)
def test_changes_add_up(chips: tuple[str, str], models: tuple[str, str], by_layer: bool) -> None:
    first, second = (make_trace(chip=chip, model=model) for chip, model in zip(chips, models, strict=True))
    rows = difference(first, second, by_layer)
    total = sum(row["seconds_change"] for row in rows)
    assert total == pytest.approx(second.rollup["seconds"] - first.rollup["seconds"], rel=1e-9, abs=1e-15)
    joules = sum(row["energy_joules_change"] for row in rows)
    assert joules == pytest.approx(second.rollup["energy_joules"] - first.rollup["energy_joules"], rel=1e-9, abs=1e-12)
    changes = [abs(row["seconds_change"]) for row in rows]
    assert changes == sorted(changes, reverse=True)


def test_the_op_and_the_cause_that_changed() -> None:
    before = make_trace()
    layers = before.layers.copy()
    chosen = (layers["name"] == b"qkv") & (layers["layer"] == 1)
    layers["seconds"][chosen] += 1.0
    layers["dram_cycles"][chosen] *= 100
    after = replace(before, layers=layers)
    summed, single = difference(before, after)[0], difference(before, after, by_layer=True)[0]
    assert (summed["op"], summed["layer"], summed["cause"]) == ("qkv", None, "dram")
    assert (single["op"], single["layer"]) == ("qkv", 1)
    assert single["seconds_change"] == pytest.approx(1.0)
    assert single["seconds_before"] < summed["seconds_before"]


def test_no_difference() -> None:
    assert all(row["seconds_change"] == 0 for row in difference(make_trace(), make_trace(), by_layer=True))


def test_an_op_of_one_run_only() -> None:
    rows = {row["op"]: row for row in difference(make_trace(model="model-fused"), make_trace(model="model-unfused"))}
    assert rows["rope"]["seconds_after"] == 0 < rows["rope"]["seconds_before"]
    assert rows["softmax"]["seconds_before"] == 0 < rows["softmax"]["seconds_after"]
