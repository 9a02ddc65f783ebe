"""Reading measured times: every mistake is one line with the file and the line number."""

from __future__ import annotations

from pathlib import Path

import pytest

from uarch.errors import InputError
from workloads.measured.reader import read_measurements, required_columns
from workloads.measured.rows import SUITES, AttentionRow, ElementwiseRow, GemmRow
from workloads.validation.sources import preset_of, source_of
from workloads.validation.suite import BUILT_IN

GEMM = "chip,source,M,N,K,time_us,use,anything\n"
ATTENTION = "chip,phase,batch,q_heads,kv_heads,head_dim,q_len,kv_len,dec_n,dec_kv,time_us\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "times.csv"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, suite: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read_measurements(path, suite)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def test_rows_keep_their_order_and_unknown_columns_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, GEMM + "h100,me,1,2,3,4.5,,x\nh100,me, 7 ,8,9,1e3,B,\n")
    assert read_measurements(path) == {
        "gemm": [
            GemmRow(chip="h100", source="me", M=1, N=2, K=3, time_us=4.5),
            GemmRow(chip="h100", source="me", M=7, N=8, K=9, time_us=1000.0, use="B"),
        ]
    }


def test_the_columns_tell_the_suite(tmp_path: Path) -> None:
    assert list(read_measurements(write(tmp_path, ATTENTION + "h100,decode,4,8,2,64,1,100,,,5\n"))) == ["attention"]
    path = write(tmp_path, "op,rows,cols,time_us\ngelu,2,3,4\n")
    assert read_measurements(path) == {"elementwise": [ElementwiseRow(op="gelu", rows=2, cols=3, time_us=4.0)]}


def test_a_suite_column_mixes_suites(tmp_path: Path) -> None:
    path = write(tmp_path, "suite,op,rows,cols,M,N,K,time_us\ngemm,,,,1,2,3,4\nelementwise,gelu,2,3,,,,4\n")
    assert list(read_measurements(path)) == ["gemm", "elementwise"]
    assert list(read_measurements(path, "elementwise")) == ["elementwise"]
    assert "no rows of suite attention" in refusal(path, "attention")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ", line 1: columns of no suite"),
        ("a,b\n1,2\n", ", line 1: columns of no suite"),
        (GEMM, ": has no rows"),
        (GEMM + "h100,me,1,2,3,4,,\nh100,me,0,2,3,4,,\n", ", line 3: M = '0': must be greater than or equal to 1"),
        (GEMM + "h100,me,1,2,,4,,\n", ", line 2: K is missing"),
        (GEMM + "h100,me,1,2,3,-1,,\n", ", line 2: time_us = '-1'"),
        (GEMM + "h100,me,1,2,3,nan,,\n", ", line 2: time_us = 'nan'"),
        (GEMM + "h100,me,1,2,x,4,,\n", ", line 2: K = 'x'"),
        (GEMM + "h100,me,1,2,3,4,,,9\n", ", line 2: has more cells than the header"),
        (GEMM + 'h100,"me,1,2,3,4,,\n', "not valid CSV"),
        (ATTENTION + "h100,decode,4,8,3,64,1,100,,,5\n", "kv_heads = 3 must divide q_heads = 8"),
        (ATTENTION + "h100,decode,4,8,2,64,2,100,,,5\n", "q_len = 2 must be 1 in decode"),
        (ATTENTION + "h100,prefill,4,8,2,64,200,100,,,5\n", "q_len = 200 must be at most kv_len = 100"),
        (ATTENTION + "h100,prefill,4,8,2,64,2,100,3,50,5\n", "in phase mixed only"),
        ("op,rows,cols,time_us\ngellu,2,3,4\n", ", line 2: op = 'gellu': must be one of these: did you mean 'gelu'?"),
        ("suite,time_us\nsoup,1\n", ", line 2: suite = 'soup': allowed: gemm, attention"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(write(tmp_path, text))


def test_a_suite_that_the_columns_do_not_fit_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, GEMM + "h100,me,1,2,3,4,,\n")
    assert "line 1: lacks column phase; suite attention needs time_us, phase" in refusal(path, "attention")


def test_the_built_in_suite_is_small_and_cited() -> None:
    found = read_measurements(BUILT_IN)
    rows = [row for suite in found.values() for row in suite]
    assert set(found) == set(SUITES)
    assert len(rows) <= 200
    assert all(preset_of(row.chip) for row in rows)
    notices = (BUILT_IN.parent / "README.md").read_text(encoding="utf-8")
    for row in rows:
        assert source_of(row.source).licence.split(",")[0].split("-")[0] in notices
        assert f"`{row.source.split('(')[0].split(':')[0]}`" in notices
    assert any(isinstance(row, AttentionRow) and row.dec_n for row in rows)


def test_required_columns() -> None:
    assert required_columns("gemm") == ["time_us", "M", "N", "K"]
    assert required_columns("gemm", timed=False) == ["M", "N", "K"]


def test_times_may_be_left_out_of_a_suite_that_nobody_has_timed(tmp_path: Path) -> None:
    path = write(tmp_path, "name,M,N,K,time_us\nfirst,1,2,3,\n,4,5,6,7\n")
    first, second = read_measurements(path, timed=False)["gemm"]
    assert (first.name, first.time_us, second.measured_us) == ("first", None, 7.0)
    assert ", line 2: time_us is missing" in refusal(path)
    with pytest.raises(ValueError, match="no time_us"):
        _ = first.measured_us


@pytest.mark.parametrize(
    ("tag", "host", "kv"), [("vidur:a100_dgx", False, False), ("llmcompass", True, False), ("mine", False, False)]
)
def test_sources(tag: str, host: bool, kv: bool) -> None:
    source = source_of(tag)
    assert (source.includes_host, source.writes_kv_cache) == (host, kv)
    assert source.floor_seconds("a100", "gemm") == (2.1e-5 if host else 0.0)


def test_the_longest_name_of_a_source_counts() -> None:
    assert not source_of("llmcompass(nccl-tests literal)").includes_host
