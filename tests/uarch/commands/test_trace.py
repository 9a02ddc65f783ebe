"""``uarch trace``: sound files pass, damaged ones are named, differences are sorted.

Exercised with it: recording.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.synthetic_trace import make_trace
from uarch.cli import run


def save(folder: Path, name: str, **arguments: object) -> str:
    path = folder / name
    make_trace(**arguments).save(path)  # type: ignore[arg-type]
    return str(path)


def test_a_sound_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path, "run.h5", n_cores=2)
    assert run(["trace", "check", path]) == 0
    assert "sound" in capsys.readouterr().out
    assert run(["trace", "check", path, "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["problems"] == []
    assert payload["intervals"] > payload["ops"] > 0


@pytest.mark.parametrize(("field", "words"), [("seconds", "seconds differ"), ("dram_joules", "rollup: energy")])
def test_an_unsound_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str, words: str) -> None:
    trace = make_trace()
    layers = trace.layers.copy()
    layers[field][1] *= 2
    replace(trace, layers=layers).save(tmp_path / "run.h5")
    assert run(["trace", "check", str(tmp_path / "run.h5")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert run(["trace", "check", str(tmp_path / "run.h5"), "--json"]) == 2
    assert any(words in problem for problem in json.loads(capsys.readouterr().out)["problems"])


def test_an_unsound_timeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = make_trace(n_cores=2)
    assert trace.timeline is not None
    timeline = trace.timeline.copy()
    timeline["end_ps"][5] = -1
    replace(trace, timeline=timeline).save(tmp_path / "run.h5")
    assert run(["trace", "check", str(tmp_path / "run.h5")]) == 2
    assert "timeline: end before start in row 5" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "show"])
def test_foreign_files_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "run.h5").write_text("no trace")
    assert run(["trace", command, str(tmp_path / "run.h5")]) == 2
    captured = capsys.readouterr()
    assert "not a trace" in captured.err
    assert captured.err.count("\n") == 1


def test_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = save(tmp_path, "a.h5"), save(tmp_path, "b.h5", chip="chip-b")
    assert run(["trace", "diff", first, second]) == 0
    assert "a.h5 -> b.h5" in capsys.readouterr().out
    assert run(["trace", "diff", first, second, "--by-layer", "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert {row["layer"] for row in payload["ops"]} == {-1, 0, 1, 2}


def test_help_without_a_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace"]) == 0
    assert "diff" in capsys.readouterr().out
