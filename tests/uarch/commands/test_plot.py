"""``uarch plot``: files in, one figure out, wrong input in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from results.plots.kinds import KINDS
from tests.support.synthetic_trace import make_trace
from uarch.cli import run


@pytest.fixture
def trace_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    make_trace(n_cores=2).save(path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(trace_file: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    output = trace_file.with_name("figure.png")
    assert run(["plot", str(trace_file), "--kind", kind, "-o", str(output), "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["plot"] == str(output)
    assert payload["kind"] == kind
    assert payload["runs"][0]["chip"] == "chip-a"
    assert payload["runs"][0]["seconds"] == make_trace().rollup["seconds"]
    assert output.read_bytes().startswith(b"\x89PNG")


def test_plot_lands_beside_the_trace_by_default(trace_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plot", str(trace_file)]) == 0
    expected = trace_file.with_name("run-layers.png")
    assert capsys.readouterr().out == f"{expected}\n"
    assert expected.exists()


def test_comparison_of_several(trace_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = trace_file.with_name("other.h5")
    make_trace(chip="chip-b").save(other)
    output = trace_file.with_name("figure.svg")
    assert run(["plot", str(trace_file), str(other), "--kind", "comparison", "-o", str(output), "--json"]) == 0
    assert [entry["chip"] for entry in json.loads(capsys.readouterr().out)["runs"]] == ["chip-a", "chip-b"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.h5"], "absent.h5: no such file"),
        (["text.h5"], "text.h5: not a trace"),
        (["run.h5", "--kind", "pie"], f"allowed: {', '.join(KINDS)}"),
        (["run.h5", "-o", "figure.jpg"], "allowed: .png, .svg, .pdf"),
        (["run.h5", "-o", "absent/figure.png"], "absent: no such directory"),
        (["run.h5", "run.h5", "--kind", "layers"], "takes one trace, got 2"),
    ],
)
def test_wrong_input_is_one_line(
    trace_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(trace_file.parent)
    Path("text.h5").write_text("no trace")
    before = sorted(trace_file.parent.iterdir())
    assert run(["plot", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(trace_file.parent.iterdir()) == before
