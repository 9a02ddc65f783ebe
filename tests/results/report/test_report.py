"""The HTML report: complete in itself, right in its numbers and words, and alive in a browser.

Exercised with it: figures.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import results.report
from results.plots.style import PlotError
from results.report import report_html
from results.report.accuracy import applicable, statements, validation
from results.report.explain import explain
from results.report.tables import op_rows
from results.trace.schema import BOUND_NAMES, STALL_CAUSES
from results.trace.trace import Trace
from tests.support.synthetic_trace import make_trace
from uarch.cli import run

FOLDER = Path(results.report.__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Checks that elements nest, and collects identifiers, references and the text of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.sources: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            text = value or ""
            if name == "id":
                self.ids.append(text)
            if name in ("href", "xlink:href", "src"):
                (self.references if text.startswith("#") else self.sources).append(text)
            self.references += [f"#{target}" for target in re.findall(r"url\(#([^)]+)\)", text)]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    return [make_trace(n_cores=2), make_trace(chip="chip-b", phase="decode", model="model-fused")]


@pytest.fixture(scope="module")
def page(traces: list[Trace]) -> str:
    return report_html(traces)


def test_the_page_needs_nothing_else(page: str) -> None:
    parsed = Page(page)
    assert all(source.startswith("data:") for source in parsed.sources)
    assert "default-src 'none'" in page
    assert not re.search(r"@import|fetch\(|XMLHttp", page)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert {reference[1:] for reference in parsed.references} <= set(parsed.ids)


def test_equal_runs_give_equal_pages() -> None:
    assert report_html([make_trace()]) == report_html([make_trace()])


def test_sections(page: str, traces: list[Trace]) -> None:
    assert page.count("<svg ") == 1 + 7 + 1 + 7  # the comparison, seven plots of each run, the timeline of one
    assert page.count("class='sortable'") == 3
    for trace in traces:
        assert f"<h1>{trace.workload['model']} {trace.workload['phase']} on {trace.chip['name']}</h1>" in page
    assert "<summary>Chip</summary>" in page
    assert "memory.bandwidth_bytes_per_second" in page


def test_names_cannot_break_out_of_the_page() -> None:
    trace = make_trace()
    odd = replace(trace, workload={**trace.workload, "model": "<script>alert('1')</script>\"&"})
    text = report_html([odd])
    Page(text)
    assert "<script>alert" not in text


def test_no_traces() -> None:
    with pytest.raises(PlotError, match="no traces"):
        report_html([])


def test_op_rows_add_up_to_the_run(traces: list[Trace]) -> None:
    for trace in traces:
        rows = list(op_rows(trace))
        assert sum(float(row[6].value) for row in rows) == pytest.approx(float(trace.rollup["seconds"]))
        assert sum(float(row[7].value) for row in rows) == pytest.approx(1.0)
        assert sum(float(row[12].value) for row in rows) == pytest.approx(float(trace.rollup["energy_joules"]))


def test_op_rows_join_layers_that_did_the_same() -> None:
    trace = make_trace(n_layers=1)
    layer = trace.layers[trace.layers["layer"] == 0]
    second, third = layer.copy(), layer.copy()
    second["layer"], third["layer"] = 1, 2
    third["dram_read_bytes"][0] += 1
    joined = replace(trace, layers=np.concatenate((layer, second, third)))
    shown = [(row[0].shown, row[1].shown) for row in op_rows(joined)]
    assert shown[0] == ("norm 1", "0 to 1")
    assert ("norm 1", "2") in shown
    assert len(shown) == len(layer) + 1


@pytest.mark.parametrize("bound", sorted(BOUND_NAMES.values()))
def test_words_for_every_bound(bound: str) -> None:
    trace = make_trace()
    busy = {
        f"{name}_use_fraction": 0.9 if name == bound else 0.1 for name in ("compute", "vector", "l2", "dram", "link")
    }
    sentences = explain(replace(trace, rollup={**trace.rollup, "bound_by": bound, **busy}))
    expected = "90%" if f"{bound}_use_fraction" in busy else "No resource is in use at half its peak"
    assert expected in sentences[0]
    assert all(sentence.endswith(".") for sentence in sentences)


def test_words_name_the_largest_ops_and_causes() -> None:
    trace = make_trace()
    _, floor, ops, causes, energy = explain(trace)
    names, seconds = np.unique(trace.layers["name"]), trace.layers["seconds"]
    largest = max(names, key=lambda name: seconds[trace.layers["name"] == name].sum())
    assert ops.startswith(f"The largest ops are {largest.decode().replace('_', ' ')} (")
    share = float(trace.rollup["cause_matrix_seconds"]) / float(trace.rollup["seconds"])
    assert f"in {share:.0%} the arrays compute" in causes
    assert "on average" in energy
    assert "without a pause" in floor


def test_accuracy_that_applies() -> None:
    trace = make_trace()
    model = replace(trace, chip={**trace.chip, "kind": "model"})
    silicon = replace(trace, chip={**trace.chip, "kind": "silicon"})
    papers = {one["what"] for one in applicable(model)} - {one["what"] for one in applicable(silicon)}
    assert any("prefill" in what for what in papers)
    assert not any("decode" in what for what in papers)
    analytical = replace(trace, workload={**trace.workload, "fidelity": "analytical"})
    assert any("closed forms" in one["what"] for one in applicable(analytical))
    assert all(set(one) == {"chip", "kinds", "phases", "fidelities", "what", "error", "source"} for one in statements())


def test_accuracy_is_that_of_the_suites() -> None:
    """The file that validation writes is about all rows that there are, and statements cite it."""
    rows = (FOLDER.parent / "reference" / "measured.csv").read_text("utf-8").splitlines()[1:]
    counts = Counter(row.partition(",")[0] for row in rows)
    assert {suite: errors["rows"] for suite, errors in validation().items()} == dict(counts)
    errors = [one["error"] for one in statements() if one["source"] == "uarch validate"]
    assert len(errors) == 4
    assert errors[0].startswith(f"{100 * validation()['gemm']['mape']:.0f} % mean absolute error")


def test_every_cause_has_a_meaning(page: str) -> None:
    for cause in STALL_CAUSES:
        assert f"<th scope='row'>{cause.replace('_', ' ')}</th>" in page


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_trace().save(tmp_path / "run.h5")
    assert run(["report", str(tmp_path / "run.h5")]) == 0
    assert (tmp_path / "run.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    capsys.readouterr()
    assert run(["report", str(tmp_path / "run.h5"), "-o", str(tmp_path / "run.pdf")]) == 2
    assert "allowed: .html" in capsys.readouterr().err
    (tmp_path / "text.h5").write_text("no trace")
    assert run(["report", str(tmp_path / "run.h5"), str(tmp_path / "text.h5"), "-o", str(tmp_path / "x.html")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "x.html").exists()


def test_sorting_script() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node: the sorting script is not run outside a browser")
    rows = [["b", 2.0], ["a10", 30.0], ["a9", 1e-3]]
    task = {
        "script": (FOLDER / "report.js").read_text("utf-8"),
        "columns": ["x", "y"],
        "rows": rows,
        "clicks": [1, 1, 0, 0],
    }
    fake = Path(__file__).with_name("fake_dom.js")
    done = subprocess.run([node, str(fake)], input=json.dumps(task), capture_output=True, text=True, check=True)
    down, up, a_to_z, z_to_a = json.loads(done.stdout)
    assert [row[1] for row in down["rows"]] == [30.0, 2.0, 1e-3]
    assert [row[1] for row in up["rows"]] == [1e-3, 2.0, 30.0]
    assert [row[0] for row in a_to_z["rows"]] == ["a9", "a10", "b"]
    assert [row[0] for row in z_to_a["rows"]] == ["b", "a10", "a9"]
    assert down["sort"] == [None, "descending"]
    assert a_to_z["sort"] == ["ascending", None]


def browse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a headless browser; the test is skipped where there is none."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser (looked for {', '.join(BROWSERS)}): the report is not opened in one")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'user'}",
    ]
    return subprocess.run([browser, *options, *arguments], capture_output=True, text=True, timeout=120, check=True)


def test_a_browser_shows_it_without_errors_and_sorts(tmp_path: Path, page: str) -> None:
    click = "<script>document.querySelectorAll('table.sortable')[1].tHead.rows[0].cells[6].firstChild.click()</script>"
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{click}</body>"), encoding="utf-8")
    shown = browse(tmp_path, "--dump-dom", (tmp_path / "page.html").as_uri())
    assert "CONSOLE" not in shown.stderr
    table = re.findall(r'<table class="sortable">.*?</table>', shown.stdout, flags=re.DOTALL)[1].partition("<tbody>")[2]
    values = [re.findall(r'data-value="([^"]+)"', row) for row in re.findall(r"<tr>.*?</tr>", table, flags=re.DOTALL)]
    seconds = [float(row[2]) for row in values]
    assert len(seconds) > 10
    assert seconds == sorted(seconds, reverse=True)


def test_a_browser_prints_it_to_one_pdf(tmp_path: Path, page: str) -> None:
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    browse(tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}", (tmp_path / "page.html").as_uri())
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")
