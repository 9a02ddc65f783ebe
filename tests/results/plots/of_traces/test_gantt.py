"""What each core does when: times are kept, and a timeline is needed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.plots.of_traces import gantt
from results.plots.style import PlotError
from results.trace.schema import CAUSE_FIELDS, STALL_CAUSES, matrix
from tests.support.synthetic_trace import make_trace


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
