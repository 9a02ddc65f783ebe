"""``uarch sweep``: run, show, pareto, sensitivity, plot, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.small_sweep import run_sweep_file
from uarch.cli import run

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a sweep file and its table."""
    path = tmp_path_factory.mktemp("sweep")
    file = run_sweep_file(path, objective=[{"minimise": "decode.seconds"}, {"minimise": "die_area_mm2"}])
    assert run(["sweep", str(file), "-o", str(path / "a.h5"), "--workers", "1"]) == 0
    return path


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run(["sweep", *arguments, "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert isinstance(payload, dict)
    return payload


def test_running_again_runs_nothing_and_says_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload = found(capsys, "run", str(folder / "tiny.toml"), "-o", str(folder / "a.h5"), "--workers", "1")
    assert (payload["points"], payload["done"], payload["new_points"]) == (6, 6, 0)
    assert run(["sweep", str(folder / "tiny.toml"), "-o", str(folder / "a.h5")]) == 0
    assert "6 points (6 done, 0 excluded, 0 failed)" in capsys.readouterr().out


def test_show_and_pareto_list_points_with_their_fields(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = found(capsys, "show", str(folder / "a.h5"))["best"]
    front = found(capsys, "pareto", str(folder / "a.h5"))["front"]
    assert isinstance(best, list)
    assert isinstance(front, list)
    assert len(best) == 6
    assert best[0] == front[0], "the best of the first objective is on the front"
    assert {"point", "core.count", "decode.seconds"} <= set(best[0])
    assert run(["sweep", "show", str(folder / "a.h5")]) == 0
    assert run(["sweep", "pareto", str(folder / "a.h5")]) == 0
    assert "decode.seconds" in capsys.readouterr().out


def test_sensitivity_names_each_parameter(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parameters = found(capsys, "sensitivity", str(folder / "a.h5"), "--result", "die_area_mm2")["parameters"]
    assert isinstance(parameters, dict)
    assert set(parameters) == {"core.count", "memory.bandwidth_bytes_per_second"}
    assert run(["sweep", "sensitivity", str(folder / "a.h5")]) == 0


@pytest.mark.parametrize("kind", ["pareto", "parallel", "heatmap", "sensitivity"])
def test_every_plot_is_written(folder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sweep", "plot", str(folder / "a.h5"), "--kind", kind]) == 0
    assert capsys.readouterr().out.strip() == str(folder / f"a-{kind}.png")
    assert (folder / f"a-{kind}.png").stat().st_size > 5000


def test_a_table_is_exported_as_csv(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload = found(capsys, "export", str(folder / "a.h5"), "-o", str(folder / "a.csv"))
    assert payload["rows"] == 6
    assert len((folder / "a.csv").read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml"], "none.toml: cannot be read"),
        (["nothing"], "sweep 'nothing': no such preset or TOML file"),
        (["show", "none.h5"], "none.h5: no such file"),
        (["decode-bandwidth", "--scheduler", "tcp://"], "scheduler"),
        (["decode-bandwidth", "-o", "none/a.h5"], "none: no such directory"),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["sweep", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
