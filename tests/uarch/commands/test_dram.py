"""``uarch dram``: the list of standards, one channel under a pattern, and its command log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uarch.cli import run
from uarch.dram.standards.standard import load_standard, standard_names

pytestmark = pytest.mark.once("commands: no kernel that other tests do not run")


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["dram", *arguments, "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert isinstance(payload, dict)
    return payload


def test_the_list_has_every_standard_with_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json_of(capsys, "--list")["standards"]
    assert [memory["name"] for memory in listed] == list(standard_names())
    for memory in listed:
        assert memory["bytes_per_second"] == load_standard(memory["name"]).bytes_per_second
        assert memory["source"]


def test_a_sequential_stream_comes_near_the_peak_and_its_commands_are_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refresh takes 9 % of HBM3's time; rows of 32 bursts leave 31 of them hits."""
    log = tmp_path / "commands.txt"
    pattern = ("--standard", "hbm3-6400", "--pattern", "sequential", "--requests", "4000")
    payload = json_of(capsys, *pattern, "--commands", str(log))
    memory = load_standard("hbm3-6400")
    assert payload["requests"] == 4000
    assert 0.8 * memory.bytes_per_second <= payload["bandwidth_bytes_per_second"] <= memory.bytes_per_second
    assert payload["row_hit_rate"] == pytest.approx(31 / 32, abs=0.01)
    lines = log.read_text("utf-8").splitlines()
    assert sum(" RD" in line for line in lines) == 4000
    assert sum(" ACT" in line for line in lines) == payload["activates"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--standard is missing"),
        (["--standard", "hbm3-6400"], "--trace FILE or --pattern NAME; give one of them"),
        (["--standard", "hbm3-6400", "--pattern", "mix", "--stride-bytes", "64"], "needs --pattern strided"),
        (["--standard", "hbm3-6400", "--trace", "x", "--requests", "4"], "--requests needs --pattern"),
        (["--standard", "hbm3-6400", "--pattern", "mix", "--queue", "0"], "--queue = 0: must be"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(["dram", *arguments]) == 2
    assert message in capsys.readouterr().err
