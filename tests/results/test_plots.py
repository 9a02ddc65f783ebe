"""Plots: what is drawn, not only that something is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from results.plots import comparison, energy, layers, roofline, stalls
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
from results.schema import ENERGY_COMPONENTS, ENERGY_FIELDS, STALL_CAUSES, matrix
from results.trace import Trace
from tests.results.synthetic import CHIPS, MODELS, TOKENS, make_trace

PLOTS_OF_ONE = {"layers": layers.plot, "roofline": roofline.plot, "energy": energy.plot, "stalls": stalls.plot}
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
        assert any(unit in ax.get_xlabel() for unit in UNITS), ax.get_xlabel()
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


def test_roofline_places_every_kind_with_flops() -> None:
    trace = make_trace()
    fig = roofline.plot(trace)
    (ax,) = fig.axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    rows = trace.layers[trace.layers["kind"] == b"gemm"]
    flops = rows["flops"].sum()
    expected = (flops / (rows["dram_read_bytes"] + rows["dram_write_bytes"]).sum(), flops / rows["seconds"].sum())
    offsets = [tuple(np.asarray(points.get_offsets())[0]) for points in ax.collections]
    assert any(offset == pytest.approx(expected) for offset in offsets)
    assert len(offsets) == 2 * 6  # filled and hollow: norm, gemm, attention, softmax, activation, LM head
    assert "all reduce" in ax.get_xlabel()
    assert "embedding" in ax.get_xlabel()
    assert any(text.startswith("gemm: ") and text.endswith("% of time") for text in legend_texts(fig))


def test_roofline_draws_the_chips_roofs() -> None:
    trace = make_trace()
    (ax,) = roofline.plot(trace).axes
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["tensor peak 1.00 PFLOP/s", "vector peak 60.0 TFLOP/s", "L2 7.00 TB/s", "DRAM 3.30 TB/s"]
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
    table["flops"][table["kind"] != b"gemm"] = 0
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


def test_nothing_to_plot_is_refused() -> None:
    trace = make_trace()
    empty = replace(trace, layers=trace.layers[:0])
    for plot in PLOTS_OF_ONE.values():
        with pytest.raises(PlotError, match="no rows"):
            plot(empty)
    with pytest.raises(PlotError, match="no traces"):
        comparison.plot([])


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
    for fig in [*(plot(make_trace()) for plot in PLOTS_OF_ONE.values()), comparison.plot(all_traces())]:
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
