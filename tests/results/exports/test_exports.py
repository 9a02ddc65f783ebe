"""Exports: valid trace events whose times are those of the run; tables that read back equal.

Exercised with it: writing.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from results.exports import chrome
from results.exports.tables import columns, in_parts, write_csv
from results.trace.schema import LAYER_DTYPE, STALL_CAUSES, TIMELINE_TRACKS, text
from results.trace.trace import Trace
from tests.support.synthetic_trace import CLOCK_HZ, make_trace
from tests.support.trace_events import check_trace_events
from uarch.cli import run


def exported(*traces: Trace) -> dict[str, Any]:
    file = io.StringIO()
    timelines = [lambda trace=trace: [] if trace.timeline is None else in_parts(trace.timeline) for trace in traces]
    count = chrome.write(file, traces, timelines)
    check_trace_events(file.getvalue())
    content: dict[str, Any] = json.loads(file.getvalue())
    assert len(content["traceEvents"]) == count
    return content


def spans(content: dict[str, Any]) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """(process, name of the thread) -> its complete events."""
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in content["traceEvents"]
        if event["name"] == "thread_name"
    }
    found = defaultdict(list)
    for event in content["traceEvents"]:
        if event["ph"] == "X":
            found[event["pid"], names[event["pid"], event["tid"]]].append(event)
    return found


def test_structure_of_trace_events() -> None:
    content = exported(make_trace(n_cores=3), make_trace(chip="chip-b"))
    assert content["otherData"]["microseconds_per_cycle"] == [1e6 / CLOCK_HZ] * 2
    processes = {event["args"]["name"] for event in content["traceEvents"] if event["name"] == "process_name"}
    assert processes == {"model-unfused prefill on chip-a", "model-unfused prefill on chip-b"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda events: events[0].update(ph="Y"),
        lambda events: events[-1].pop("ts"),
        lambda events: events[-1].update(ts=float("nan")),
        lambda events: events[-1].update(colour="red"),
        lambda events: events[-1].update(pid=7),
        lambda events: next(event for event in events if event["ph"] == "X").update(tid=99),
        lambda events: next(event for event in events if event["ph"] == "X").update(dur=-1.0),
        lambda events: next(event for event in events if event["ph"] == "C").update(args={"read": "much"}),
    ],
)
def test_the_check_of_the_structure_sees_what_is_wrong(spoil: Callable[[list[dict[str, Any]]], None]) -> None:
    content = exported(make_trace(n_cores=1))
    spoil(content["traceEvents"])
    with pytest.raises((ValidationError, AssertionError)):
        check_trace_events(json.dumps(content))


def test_times_of_ops_are_cycles_of_the_mapping() -> None:
    trace = make_trace()
    content = exported(trace)
    ops = spans(content)[0, "ops"]
    assert [op["name"] for op in ops] == text(trace.layers["name"])
    per_cycle = content["otherData"]["microseconds_per_cycle"][0]
    np.testing.assert_allclose([op["ts"] for op in ops], trace.layers["start_cycle"] * per_cycle, atol=1e-3)
    np.testing.assert_allclose([op["dur"] for op in ops], trace.layers["seconds"] * 1e6, atol=2e-6)
    assert ops[1]["args"]["dram_read_bytes"] == trace.layers["dram_read_bytes"][1]
    layers = spans(content)[0, "layers"]
    assert [span["name"] for span in layers] == [
        "outside the layers", "layer 0", "layer 1", "layer 2", "outside the layers",
    ]  # fmt: skip
    assert sum(span["dur"] for span in layers) == pytest.approx(float(trace.rollup["seconds"]) * 1e6)


def test_no_thread_does_two_things_at_once() -> None:
    trace = make_trace(n_cores=2)
    assert trace.timeline is not None
    loads = trace.timeline[trace.timeline["track"] == TIMELINE_TRACKS.index("load")]
    later = loads.copy()
    later["start_ps"] += 10
    both = np.concatenate((trace.timeline, later))
    both = both[np.argsort(both["op"], kind="stable")]
    content = exported(Trace(**{**vars(trace), "timeline": both}))
    threads = spans(content)
    assert (0, "core 1 load 1") in threads
    shown = sum(len(events) for (_, name), events in threads.items() if name.startswith("core"))
    assert shown == len(both)
    for events in threads.values():
        ordered = sorted(events, key=lambda event: event["ts"])
        for before, after in itertools.pairwise(ordered):
            assert before["ts"] + before["dur"] <= after["ts"] + 2e-6


def test_core_time_by_cause_is_that_of_the_trace() -> None:
    trace = make_trace(n_cores=2)
    by_cause: dict[str, float] = defaultdict(float)
    for event in spans(exported(trace))[0, "core 1"]:
        by_cause[event["name"]] += event["dur"] * 1e-6
    for cause in STALL_CAUSES:
        assert by_cause[cause] == pytest.approx(float(trace.rollup[f"cause_{cause}_seconds"]), rel=1e-3, abs=1e-10)


def test_counters_integrate_to_the_bytes() -> None:
    trace = make_trace()
    counters = [event for event in exported(trace)["traceEvents"] if event["name"] == "DRAM (GB/s)"]
    moved = sum(
        (now["args"]["read"] + now["args"]["write"]) * 1e9 * (after["ts"] - now["ts"]) * 1e-6
        for now, after in itertools.pairwise(counters)
    )
    assert moved == pytest.approx(float(trace.rollup["dram_bytes"]), rel=1e-6)
    assert counters[-1]["args"] == {"read": 0.0, "write": 0.0}


def test_csv_reads_back_equal() -> None:
    trace = make_trace()
    file = io.StringIO()
    assert write_csv(file, map(columns, in_parts(trace.layers))) == len(trace.layers)
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    for name in LAYER_DTYPE.names or ():
        if LAYER_DTYPE[name].kind == "S":
            assert [row[name] for row in rows] == text(trace.layers[name])
        else:
            assert [float(row[name]) for row in rows] == trace.layers[name].tolist()


@pytest.mark.parametrize(
    ("table", "first"), [("layers", "layer,name"), ("timeline", "op,core"), ("rollup", "name,value,unit")]
)
def test_csv_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, first: str) -> None:
    make_trace(n_cores=2).save(tmp_path / "run.h5")
    assert run(["export", str(tmp_path / "run.h5"), "--format", "csv", "--table", table, "--json"]) == 0
    lines = (tmp_path / "run.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(first)
    assert len(lines) == json.loads(capsys.readouterr().out)["rows"] + 1


def test_chrome_command(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_trace(n_cores=1).save(tmp_path / f"{name}.h5")
    assert run(["export", *(str(tmp_path / f"{name}.h5") for name in "ab"), "-o", str(tmp_path / "both.json")]) == 0
    content = json.loads((tmp_path / "both.json").read_text(encoding="utf-8"))
    assert {pid for pid, _ in spans(content)} == {0, 1}
    assert (1, "core 0") in spans(content)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run.h5", "run.h5", "--format", "csv"], "takes one trace"),
        (["run.h5", "--format", "csv", "--table", "timeline"], "record one with --timeline"),
        (["text.h5"], "not a trace"),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_trace().save("run.h5")
    Path("text.h5").write_text("no trace")
    before = sorted(tmp_path.iterdir())
    assert run(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_parquet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = make_trace()
    trace.save(tmp_path / "run.h5")
    code = run(["export", str(tmp_path / "run.h5"), "--format", "parquet"])
    if find_spec("pyarrow") is None:
        assert code == 2
        assert "needs pyarrow" in capsys.readouterr().err
        assert not (tmp_path / "run.parquet").exists()
        return
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "run.parquet")
    assert table.column("seconds").to_pylist() == trace.layers["seconds"].tolist()
