"""Plots of several traces: comparison, sweep and Pareto front."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from results.plots.of_traces import comparison, pareto, sweep
from results.plots.quantities import quantity
from results.plots.selection import representative_layer
from tests.support.plotted import all_traces, bar_widths, legend_texts
from tests.support.synthetic_trace import CHIPS, TOKENS, make_trace


def test_comparison_has_a_panel_per_model_and_phase() -> None:
    traces = all_traces()
    fig = comparison.plot(traces)
    assert len(fig.axes) == 2 * 4
    titles = [ax.get_title(loc="left") for ax in fig.axes[::2]]
    assert [title.split("  ")[0] for title in titles] == [
        "model-unfused prefill",
        "model-unfused decode",
        "model-fused prefill",
        "model-fused decode",
    ]
    for ops, causes, group in zip(fig.axes[::2], fig.axes[1::2], np.split(np.arange(12), 4), strict=True):
        assert [label.get_text() for label in ops.get_yticklabels()] == list(CHIPS)
        seconds = [representative_layer(traces[index])["seconds"].sum() for index in group]
        factor = {"(ms)": 1e-3, "(µs)": 1e-6}[ops.get_xlabel().split()[-1]]
        np.testing.assert_allclose(bar_widths(ops) * factor, seconds)
        np.testing.assert_allclose(bar_widths(causes) * factor, seconds)
        assert ops.get_xlim() == causes.get_xlim()
        shown = [text.get_text() for text in ops.texts]
        assert all(quantity(value, "s") in shown for value in seconds)
    assert {"gemm", "all reduce", "rope", "softmax", "wait for DRAM", "kernel launch"} <= set(legend_texts(fig))


def test_sweep_joins_runs_of_one_model_phase_and_chip() -> None:
    traces = [make_trace(chip=chip, phase=phase) for chip in ("chip-a", "chip-b") for phase in TOKENS]
    traces += [make_trace(chip="chip-a", n_layers=6)]
    (ax,) = sweep.plot(traces, "cycles", "seconds").axes
    lines = {line.get_label(): np.asarray(line.get_data()) for line in ax.get_lines()}
    assert len(lines) == 4
    assert lines["model-unfused prefill on chip-a"].shape == (2, 2)
    assert np.all(np.diff(lines["model-unfused prefill on chip-a"][0]) > 0)


@given(costs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_pareto_front_is_what_nothing_dominates(costs: list[tuple[int, int]]) -> None:
    on_front = pareto.front(np.array(costs, dtype=float))
    for (x, y), best in zip(costs, on_front, strict=True):
        beaten = any(a <= x and b <= y and (a, b) != (x, y) for a, b in costs)
        assert best == (not beaten)


def test_pareto_knows_which_way_is_better() -> None:
    assert pareto.more_is_better("tokens_per_second")
    assert not pareto.more_is_better("seconds")
    traces = all_traces()[:3]
    (ax,) = pareto.plot(traces, "seconds", "tokens_per_second").axes
    assert "lower is better" in ax.get_xlabel()
    assert "higher is better" in ax.get_ylabel()
