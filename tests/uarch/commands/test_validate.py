"""``uarch validate`` from the outside: small files, on chips with few cores.

Exercised with it: validation_page.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from uarch.cli import run
from workloads.single.gemm import simulate_gemm

pytestmark = pytest.mark.once("commands: no kernel that other tests do not run")

SMALL = ("--set", "core.count=4", "--workers", "1")


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(
        "chip,M,N,K,time_us,use\nanything,64,256,256,10,A\nh100,64,256,256,20,A\nh100,256,256,256,5,B\n",
        encoding="utf-8",
    )
    return path


def result_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["validate", *arguments, "--json"]) == 0, capsys.readouterr().err
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_one_chip_for_all_rows(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from uarch.chip_file import load_chip

    result = result_of(capsys, "gemm", "--reference", str(reference), "--chip", "h100", *SMALL)
    chip = load_chip("h100", ["core.count=4"])
    small, large = (
        simulate_gemm(chip, m, 256, 256).seconds / measured - 1 for m, measured in ((64, 10e-6), (256, 5e-6))
    )
    errors = [small, (small + 1) / 2 - 1, large]
    assert list(result["chips"]) == ["h100"]
    assert result["overall"]["rows"] == result["chips"]["h100"]["rows"] == 3
    assert result["overall"]["mape"] == pytest.approx(sum(map(abs, errors)) / 3)
    assert result["overall"]["bias"] == pytest.approx(sum(errors) / 3)
    assert {name: table["rows"] for name, table in result["overall"]["classes"].items()} == {
        "M <= 128": 2,
        "M 129 to 512": 1,
    }
    assert result["overall"]["roofline"]["bias"] < result["overall"]["bias"]
    assert [abs(row["error"]) for row in result["worst"]] == pytest.approx(sorted(map(abs, errors), reverse=True))


def test_selection_and_rows_file(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--reference", str(reference), "--chip", "h100", "--rows", str(tmp_path / "rows.csv"), *SMALL)
    assert result_of(capsys, *options, "--use", "A", "--min-us", "15")["overall"]["rows"] == 1
    result = result_of(capsys, *options, "--sample", "2", "--summary", str(tmp_path / "summary.json"))
    assert result["overall"]["rows"] == 2
    (summary,) = json.loads((tmp_path / "summary.json").read_text("utf-8")).values()
    assert summary == {"gpus": 1, "rows": 2, **{name: result["overall"][name] for name in ("mape", "p90_ape")}}
    with (tmp_path / "rows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert {row["kernel"] for row in rows} <= {"64 x 256 x 256", "256 x 256 x 256"}
    for row in rows:
        assert sum(float(value) for name, value in row.items() if name.endswith("_share")) == pytest.approx(1)


def test_the_text_names_chips_and_the_worst_rows(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "--reference", str(reference), "--chip", "h100", *SMALL]) == 0
    text = capsys.readouterr().out
    assert "MAPE" in text
    assert "64 x 256 x 256" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "chip = 'anything': there is no preset; give one with --chip"),
        (("--chip", "nothing"), "no such preset"),
        (("--chip", "h100", "--min-us", "1000"), "no rows are left"),
        (("--set", "core.count=4"), "needs --chip"),
        (("attention",), "lacks column phase"),
    ],
)
def test_mistakes_are_one_line(
    reference: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["validate", *arguments, "--reference", str(reference)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_the_page_is_self_contained(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    result_of(capsys, "--reference", str(reference), "--chip", "h100", "-o", str(page), *SMALL)
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert text.count("<svg ") == 1
    assert "src=" not in text
    assert text.count("64 x 256 x 256") >= 2
    assert "wait for DRAM" in text


def test_a_page_that_cannot_be_written_is_refused_before_the_work(reference: Path, tmp_path: Path) -> None:
    assert (
        run(["validate", "--reference", str(reference), "--chip", "h100", "-o", str(tmp_path / "no" / "r.html")]) == 2
    )
