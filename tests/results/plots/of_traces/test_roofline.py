"""The roofline: where ops and roofs lie, and what it says about ops that do not fit the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from results.plots.of_traces import roofline
from results.plots.style import PlotError
from tests.support.plotted import legend_texts
from tests.support.synthetic_trace import make_trace


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
