"""``uarch requests``: statistics, generators and conversion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import uarch.cli

pytestmark = pytest.mark.once("commands: no kernel that other tests do not run")


def test_requests_that_were_generated_are_shown_and_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, converted = str(tmp_path / "a.csv"), str(tmp_path / "b.csv")
    options = ["--lengths", "azure2023-coding", "--rate", "5", "--count", "40", "--seed", "3"]
    assert uarch.cli.run(["requests", "generate", *options, "-o", made]) == 0
    assert uarch.cli.run(["requests", "convert", made, "--rate", "10", "--count", "20", "-o", converted]) == 0
    assert "20 requests" in capsys.readouterr().err
    assert uarch.cli.run(["requests", "show", converted, "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["requests"] == 20
    assert set(payload["input_tokens"]) == {"mean", "p50", "p90", "p99", "max"}


def test_generated_requests_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert uarch.cli.run(["requests", "generate", "--count", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "arrival_s,input_tokens,output_tokens"
    assert len(lines) == 6


def test_layouts_and_distributions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert uarch.cli.run(["requests", "show", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert {"generic", "azure", "mooncake", "apex"} <= set(known["formats"])
    assert "azure2023-conversation" in known["lengths"]
    assert uarch.cli.run(["requests", "show"]) == 0
    assert "TIMESTAMP" in capsys.readouterr().out


def test_a_source_without_an_end_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert uarch.cli.run(["requests", "generate"]) == 2
    assert "must have count or duration_seconds" in capsys.readouterr().err
