"""Plots: what is drawn, not only that something is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from results.fields import number
from results.plots import bandwidth, comparison, energy, gantt, l2, layers, pareto, roofline, stalls, sweep, utilization
from results.plots.quantities import quantity, scale_of
from results.plots.selection import representative_layer, run_setting, seconds_by_cause
from results.plots.style import (
    CAUSE_COLOURS,
    ENERGY_COLOURS,
    KIND_COLOURS,
    PlotError,
    figure,
    kind_colours,
    on_colour,
    save,
)
from results.schema import CAUSE_FIELDS, ENERGY_COMPONENTS, ENERGY_FIELDS, STALL_CAUSES, matrix
from results.trace import Trace, TraceError
from tests.results.synthetic import CHIPS, MODELS, TOKENS, make_trace

PLOTS_OF_ONE = {
    "layers": layers.plot,
    "roofline": roofline.plot,
    "energy": energy.plot,
    "stalls": stalls.plot,
    "bandwidth": bandwidth.plot,
    "l2": l2.plot,
}
UNITS = ("(s)", "(ms)", "(µs)", "(J)", "(mJ)", "(%)", "FLOP/s", "FLOP per byte")


def all_traces() -> list[Trace]:
    return [make_trace(chip=chip, model=model, phase=phase) for model in MODELS for phase in TOKENS for chip in CHIPS]


def legend_texts(fig: Figure) -> list[str]:
    legends = [ax.get_legend() for ax in fig.axes] + fig.legends
    return [text.get_text() for legend in legends if legend is not None for text in legend.get_texts()]


def bar_widths(ax: Axes) -> np.ndarray:
    """Length of the bar at each position: sum over its segments."""
    totals: dict[int, float] = {}
    for patch in ax.patches:
        assert isinstance(patch, Rectangle)
        position = round(patch.get_y() + patch.get_height() / 2)
        totals[position] = totals.get(position, 0.0) + patch.get_width()
    return np.array([totals[position] for position in sorted(totals)])


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


def test_roofline_places_every_op_with_flops() -> None:
    trace = make_trace()
    fig = roofline.plot(trace)
    (ax,) = fig.axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    rows = trace.layers[trace.layers["name"] == b"ffn_up"]
    flops = rows["flops"].sum()
    expected = (flops / (rows["dram_read_bytes"] + rows["dram_write_bytes"]).sum(), flops / rows["seconds"].sum())
    offsets = [tuple(np.asarray(points.get_offsets())[0]) for points in ax.collections]
    assert any(offset == pytest.approx(expected) for offset in offsets)
    assert len(offsets) == 2 * 11  # filled and hollow: all ops of a layer but two all-reduces, and the LM head
    assert "all reduce" in ax.get_xlabel()
    assert "embedding" in ax.get_xlabel()
    assert any(text.startswith("1  ffn up: ") and text.endswith("% of time") for text in legend_texts(fig))
    assert {str(number) for number in range(1, 12)} <= {text.get_text() for text in ax.texts}


def test_roofline_places_vector_work_by_its_lane_operations() -> None:
    trace = make_trace()
    table = trace.layers.copy()
    softmax = table["name"] == b"softmax"
    table["flops"][softmax] = 0
    (ax,) = roofline.plot(replace(trace, layers=table)).axes
    expected = 2 * table["vector_ops"][softmax].sum() / table["seconds"][softmax].sum()
    assert any(np.asarray(points.get_offsets())[0][1] == pytest.approx(expected) for points in ax.collections)


def test_roofline_draws_the_chips_roofs() -> None:
    trace = make_trace()
    (ax,) = roofline.plot(trace).axes
    texts = [text.get_text() for text in ax.texts]
    assert texts[:4] == ["tensor peak 1.00 PFLOP/s", "vector peak 60.0 TFLOP/s", "L2 7.00 TB/s", "DRAM 3.30 TB/s"]
    ends = [tuple(np.asarray(line.get_data())[:, 1]) for line in ax.get_lines()]
    assert (pytest.approx(1000e12 / 3.3e12), 1000e12) in ends  # DRAM meets the tensor peak at the ridge


def test_roofline_marks_kinds_that_never_go_to_dram_at_the_edge() -> None:
    trace = make_trace()
    table = trace.layers.copy()
    softmax = table["kind"] == b"softmax"
    table["dram_read_bytes"][softmax] = 0
    table["dram_write_bytes"][softmax] = 0
    fig = roofline.plot(replace(trace, layers=table))
    (ax,) = fig.axes
    assert any(np.asarray(points.get_offsets())[0][0] == ax.get_xlim()[1] for points in ax.collections)
    assert any("softmax" in text and "no DRAM traffic" in text for text in legend_texts(fig))


def test_roofline_note_of_many_kinds_stays_inside_the_figure() -> None:
    trace = make_trace()
    table = trace.layers.copy()
    for field in ("flops", "vector_ops"):
        table[field][table["kind"] != b"gemm"] = 0
    fig = roofline.plot(replace(trace, layers=table))
    fig.draw_without_rendering()
    box = fig.axes[0].xaxis.label.get_window_extent()
    assert fig.axes[0].get_xlabel().count("%") >= 6
    assert box.x0 >= 0
    assert box.x1 <= fig.bbox.x1


@pytest.mark.parametrize("value", [None, 0.0, float("nan"), "fast"])
def test_roofline_needs_the_peaks(value: float | str | None) -> None:
    trace = make_trace()
    peaks = {name: number for name, number in trace.rollup.items() if name != "peak_l2_bytes_per_second"}
    if value is not None:
        peaks["peak_l2_bytes_per_second"] = value
    with pytest.raises(PlotError, match=r"rollup\.peak_l2_bytes_per_second: a roofline needs a positive number"):
        roofline.plot(replace(trace, rollup=peaks))


def test_the_setting_names_the_attention() -> None:
    trace = make_trace()
    workload = {**trace.workload, "attention": "unfused", "stack": "eager"}
    assert "unfused attention, eager stack" in run_setting(replace(trace, workload=workload))


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


def test_gantt_shows_the_longest_op_and_keeps_its_times() -> None:
    trace = make_trace(n_cores=4)
    assert trace.timeline is not None
    fig = gantt.plot(trace)
    cores, moved, blocks = fig.axes
    longest = int(np.argmax(trace.layers["seconds"]))
    assert trace.layers["name"][longest].decode() in fig.get_suptitle()
    image = np.asarray(cores.images[0].get_array())
    assert image.shape[0] == 4
    shares = np.bincount(image.ravel(), minlength=len(STALL_CAUSES)) / image.size
    cycles = matrix(trace.layers[longest : longest + 1], CAUSE_FIELDS)[0]
    np.testing.assert_allclose(shares[: len(STALL_CAUSES)], cycles / cycles.sum(), atol=0.005)
    loads, edges, _ = moved.patches[0].get_data()
    factor = {"GB/s": 1e9, "MB/s": 1e6, "kB/s": 1e3}[moved.get_ylabel()]
    seconds = {"(ms)": 1e-3, "(µs)": 1e-6}[blocks.get_xlabel().split()[-1]]
    assert (loads * factor * np.diff(edges) * seconds).sum() == pytest.approx(4 * 4096)
    np.testing.assert_allclose(blocks.patches[0].get_data().values, 4)


def test_gantt_needs_a_timeline() -> None:
    with pytest.raises(PlotError, match="record one with --timeline"):
        gantt.plot(make_trace())
    with pytest.raises(PlotError, match="no intervals of op 99"):
        gantt.plot(make_trace(n_cores=1), op=99)


@given(data=st.data())
def test_overlap_is_the_sum_over_intervals(data: st.DataObject) -> None:
    length, bins = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 20))
    ends = data.draw(st.lists(st.tuples(st.integers(0, length), st.integers(0, length)), max_size=8))
    start = np.array([min(pair) for pair in ends], dtype=np.int64)
    end = np.array([max(pair) for pair in ends], dtype=np.int64)
    weight = np.arange(1.0, len(ends) + 1)
    edges = [length * i / bins for i in range(bins + 1)]
    expected = [
        sum(w * max(0, min(e, high) - max(s, low)) for s, e, w in zip(start, end, weight, strict=True))
        for low, high in pairwise(edges)
    ]
    np.testing.assert_allclose(gantt.overlap(start, end, weight, length, bins), expected, atol=1e-9)


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


@pytest.mark.parametrize(
    ("field", "words"),
    [("second", "near it: seconds"), ("chip.memory.x", "of chip.memory"), ("bound_by", "must be a number")],
)
def test_fields_that_are_no_numbers(field: str, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        number(make_trace(), field)


def test_fields_of_chip_and_workload() -> None:
    assert number(make_trace(), "chip.memory.bandwidth_bytes_per_second") == CHIPS["chip-a"][1]
    assert number(make_trace(), "workload.batch") == 2


def test_nothing_to_plot_is_refused() -> None:
    trace = make_trace()
    empty = replace(trace, layers=trace.layers[:0])
    for plot in PLOTS_OF_ONE.values():
        with pytest.raises(PlotError, match="no rows"):
            plot(empty)
    for draw in (comparison.plot, lambda none: sweep.plot(none, "x", "y"), lambda none: pareto.plot(none, "x", "y")):
        with pytest.raises(PlotError, match="no traces"):
            draw([])


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG\r\n"), ("PNG", b"\x89PNG\r\n"), ("svg", b"<?xml"), ("pdf", b"%PDF-")]
)
def test_file_follows_its_ending_and_is_reproducible(tmp_path: Path, ending: str, start: bytes) -> None:
    trace = make_trace()
    save(stalls.plot(trace), tmp_path / f"first.{ending}")
    save(stalls.plot(trace), tmp_path / f"second.{ending}")
    content = (tmp_path / f"first.{ending}").read_bytes()
    assert content.startswith(start)
    assert content == (tmp_path / f"second.{ending}").read_bytes()


@pytest.mark.parametrize("name", ["plot.jpg", "plot", "png"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PlotError, match=r"allowed: \.png, \.svg, \.pdf"):
        save(figure(2, 2), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        save(figure(2, 2), tmp_path / "absent" / "plot.png")
    assert caught.value.filename == str(tmp_path / "absent")


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


def test_colours_cover_the_schema_and_differ() -> None:
    assert set(CAUSE_COLOURS) == set(STALL_CAUSES)
    assert set(ENERGY_COLOURS) == set(ENERGY_COMPONENTS)
    for table in (CAUSE_COLOURS, ENERGY_COLOURS, KIND_COLOURS):
        assert len(set(table.values())) == len(table)


def test_unknown_kinds_get_colours_of_their_own_whatever_their_order() -> None:
    colours = kind_colours(["zeta", "gemm", "alpha", "gemm"])
    assert list(colours) == ["zeta", "gemm", "alpha"]
    assert len(set(colours.values())) == 3
    assert colours == kind_colours(["alpha", "gemm", "zeta"])


def test_text_on_colours_is_legible() -> None:
    assert on_colour("#000000") == "white"
    assert on_colour("#332288") == "white"
    assert on_colour("#F0E442") == "black"


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.0, "s", "0 s"),
        (0.00123456, "s", "1.23 ms"),
        (0.99996, "s", "1.00 s"),
        (12.34, "J", "12.3 J"),
        (999.6, "J", "1.00 kJ"),
        (3.35e12, "B/s", "3.35 TB/s"),
        (4.5e-10, "s", "450 ps"),
        (5e-13, "J", "0.50 pJ"),
    ],
)
def test_quantities(value: float, unit: str, expected: str) -> None:
    assert quantity(value, unit) == expected


def test_scale_is_at_most_the_value() -> None:
    for value in (1e-12, 3e-7, 0.5, 1.0, 999.0, 1e3, 7e15):
        factor, _ = scale_of(value, "s")
        assert 1 <= value / factor < 1000
    assert scale_of(0.0, "s") == (1.0, "s")


def test_energy_by_kind_matches_the_rows() -> None:
    trace = make_trace()
    (ax,) = energy.plot(trace).axes
    names = [label.get_text().replace(" ", "_").encode() for label in ax.get_yticklabels()]
    expected = [matrix(trace.layers[trace.layers["kind"] == name], ENERGY_FIELDS).sum() for name in names]
    np.testing.assert_allclose(bar_widths(ax), expected)
    assert expected == sorted(expected, reverse=True)
