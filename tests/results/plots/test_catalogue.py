"""Plots: what is drawn, not only that something is.

Exercised with it: bars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch

from results.plots.of_traces import (
    bandwidth,
    comparison,
    energy,
    gantt,
    l2,
    layers,
    pareto,
    power,
    roofline,
    stalls,
    sweep,
    utilization,
)
from results.plots.selection import representative_layer, run_setting, seconds_by_cause
from results.plots.style import KIND_COLOURS, PlotError
from results.trace.schema import ENERGY_COMPONENTS, ENERGY_FIELDS, STALL_CAUSES, matrix
from results.trace.trace import Trace
from tests.support.plotted import all_traces, bar_widths, legend_texts
from tests.support.synthetic_trace import CHIPS, TOKENS, make_trace

PLOTS_OF_ONE = {
    "layers": layers.plot,
    "roofline": roofline.plot,
    "energy": energy.plot,
    "stalls": stalls.plot,
    "bandwidth": bandwidth.plot,
    "l2": l2.plot,
}
UNITS = ("(s)", "(ms)", "(µs)", "(J)", "(mJ)", "(%)", "FLOP/s", "FLOP per byte")


@pytest.mark.parametrize("kind", PLOTS_OF_ONE)
@pytest.mark.parametrize("phase", TOKENS)
def test_axes_are_labelled_with_units(kind: str, phase: str) -> None:
    trace = make_trace(phase=phase, model="model-fused")
    fig = PLOTS_OF_ONE[kind](trace)
    assert "chip-a" in fig.get_suptitle()
    assert f"model-fused {phase}" in fig.get_suptitle()
    for ax in fig.axes:
        assert any(unit in ax.get_xlabel() for unit in UNITS)
        named = ax.get_ylabel() or [label.get_text() for label in ax.get_yticklabels()] or not ax.get_yticks().size
        assert named
    assert "TP 4" in fig.axes[0].get_title(loc="left")


def test_layers_shows_every_op_in_order_with_its_time() -> None:
    trace = make_trace()
    sequence, causes = layers.plot(trace).axes
    layer = representative_layer(trace)
    assert layer["layer"].tolist() == [1] * 12
    assert [label.get_text() for label in causes.get_yticklabels()][:3] == ["norm 1", "qkv", "qk"]
    assert causes.yaxis.get_inverted()
    np.testing.assert_allclose(bar_widths(causes) * 1e-6, layer["seconds"])
    assert "(µs)" in causes.get_xlabel()
    segments = [patch.get_width() for patch in sequence.patches if isinstance(patch, Rectangle)]
    np.testing.assert_allclose(np.array(segments) * 1e-3, layer["seconds"])
    assert "(ms)" in sequence.get_xlabel()
    colours = [mpl.colors.to_hex(patch.get_facecolor()).upper() for patch in sequence.patches]
    assert colours[1] == KIND_COLOURS["gemm"].upper()


def test_run_without_layers_shows_all_ops() -> None:
    trace = make_trace(n_layers=0)
    assert len(representative_layer(trace)) == 2
    assert "all ops" in layers.plot(trace).get_suptitle()


def test_seconds_by_cause_keep_each_ops_time() -> None:
    table = make_trace().layers
    np.testing.assert_allclose(seconds_by_cause(table).sum(axis=1), table["seconds"])


def test_stalls_are_shares_of_the_whole() -> None:
    trace = make_trace()
    (ax,) = stalls.plot(trace).axes
    assert [label.get_text() for label in ax.get_yticklabels()][-2:] == ["layer 1", "whole run"]
    np.testing.assert_allclose(bar_widths(ax), 100.0)
    matrix_share = float(trace.rollup["cause_matrix_seconds"]) / float(trace.rollup["seconds"]) * 100
    assert ax.containers[0][-1].get_width() == pytest.approx(matrix_share, rel=1e-6)
    assert len(ax.containers) == len(STALL_CAUSES)


def test_energy_adds_up_to_the_run() -> None:
    trace = make_trace()
    fig = energy.plot(trace)
    (ax,) = fig.axes
    assert "(J)" in ax.get_xlabel()
    assert bar_widths(ax).sum() == pytest.approx(float(trace.rollup["energy_joules"]))
    assert next(label.get_text() for label in ax.get_yticklabels()) == "gemm"
    of_dram = ax.containers[ENERGY_COMPONENTS.index("dram")]
    assert sum(bar.get_width() for bar in of_dram) == pytest.approx(float(trace.rollup["energy_dram_joules"]))
    assert len(legend_texts(fig)) == len(ENERGY_COMPONENTS)


def test_the_setting_names_the_attention() -> None:
    trace = make_trace()
    workload = {**trace.workload, "attention": "unfused", "stack": "eager"}
    assert "unfused attention, eager stack" in run_setting(replace(trace, workload=workload))


def test_utilization_has_a_row_per_op_and_a_column_per_resource() -> None:
    trace = make_trace()
    ax = utilization.plot(trace).axes[0]
    cells = np.asarray(ax.images[0].get_array())
    assert cells.shape == (12 + 2, 6)
    assert cells[-1, 0] == pytest.approx(float(trace.rollup["utilization"]), rel=2e-3)
    assert cells[-1, 4] == pytest.approx(float(trace.rollup["dram_use_fraction"]))
    assert ax.get_yticklabels()[1].get_text().startswith("qkv  (")


def test_bandwidth_moves_the_bytes_of_the_run() -> None:
    trace = make_trace()
    run, one = bandwidth.plot(trace).axes
    for ax, rows in ((run, trace.layers), (one, representative_layer(trace))):
        dram, edges, _ = ax.patches[0].get_data()
        share_seconds = (dram / 100 * np.diff(edges)).sum() * 1e-3
        moved = (rows["dram_read_bytes"] + rows["dram_write_bytes"]).sum()
        assert share_seconds * CHIPS["chip-a"][1] == pytest.approx(moved)
    assert len(run.patches[0].get_data().values) == 2 + 3


def test_l2_hit_rates() -> None:
    trace = make_trace()
    (ax,) = l2.plot(trace).axes
    assert bar_widths(ax)[-1] == pytest.approx(100 * float(trace.rollup["l2_hit_rate"]))
    assert len(bar_widths(ax)) == 12 + 2


def test_power_over_a_layer_is_that_of_its_components_and_of_the_board() -> None:
    """The stack ends at joules over seconds, the line at 1 / 0.9 of it; the clock is the trace's."""
    trace = make_trace()
    layer = representative_layer(trace)
    watts = matrix(layer, ENERGY_FIELDS).sum(axis=1) / layer["seconds"]
    drawn, clock = power.plot(trace).axes
    *components, board = [patch.get_data() for patch in drawn.patches if isinstance(patch, StepPatch)]
    assert len(components) == len(ENERGY_COMPONENTS)
    assert components[-1].values == pytest.approx(watts)
    assert board.values == pytest.approx(watts / 0.9)
    (line,) = [patch.get_data() for patch in clock.patches if isinstance(patch, StepPatch)]
    assert line.values == pytest.approx(layer["sustained_hz"] / 1e9)


def test_nothing_to_plot_is_refused() -> None:
    trace = make_trace()
    empty = replace(trace, layers=trace.layers[:0])
    for plot in PLOTS_OF_ONE.values():
        with pytest.raises(PlotError, match="no rows"):
            plot(empty)
    for draw in (comparison.plot, lambda none: sweep.plot(none, "x", "y"), lambda none: pareto.plot(none, "x", "y")):
        with pytest.raises(PlotError, match="no traces"):
            draw([])


@pytest.mark.parametrize("plot", PLOTS_OF_ONE.values(), ids=PLOTS_OF_ONE)
def test_global_settings_of_matplotlib_are_left_alone(plot: Callable[[Trace], Figure]) -> None:
    before = dict(mpl.rcParams)
    with mpl.rc_context({"font.size": 30.0, "axes.facecolor": "red"}):
        fig = plot(make_trace())
        assert mpl.rcParams["font.size"] == 30.0
    assert dict(mpl.rcParams) == before
    assert mpl.colors.to_hex(fig.axes[0].get_facecolor()) == "#ffffff"


def test_text_stays_inside_the_figure() -> None:
    trace, traces = make_trace(n_cores=3), all_traces()
    of_one = [*(plot(trace) for plot in PLOTS_OF_ONE.values()), utilization.plot(trace), gantt.plot(trace)]
    of_many = [
        comparison.plot(traces),
        sweep.plot(traces, "tokens", "seconds"),
        pareto.plot(traces, "seconds", "cycles"),
    ]
    for fig in of_one + of_many:
        fig.draw_without_rendering()
        box = fig.get_tightbbox()
        width, height = fig.get_size_inches()
        assert box.x0 >= -0.02
        assert box.y0 >= -0.02
        assert box.x1 <= width + 0.02
        assert box.y1 <= height + 0.02


def test_energy_by_kind_matches_the_rows() -> None:
    trace = make_trace()
    (ax,) = energy.plot(trace).axes
    names = [label.get_text().replace(" ", "_").encode() for label in ax.get_yticklabels()]
    expected = [matrix(trace.layers[trace.layers["kind"] == name], ENERGY_FIELDS).sum() for name in names]
    np.testing.assert_allclose(bar_widths(ax), expected)
    assert expected == sorted(expected, reverse=True)
