"""``uarch dram``: the list of standards, one channel under a pattern, and its command log.

Exercised with it: load_curve.
"""

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


def test_command_lists_the_standards(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_command_prints_one_object_and_writes_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, log = tmp_path / "trace", tmp_path / "log"
    trace.write_text("0 R 0x0\n0 R 0x20\n0 W 0x40\n")
    arguments = ["dram", "--standard", "hbm3-6400", "--mapping", "ro-sid-ba-bg-co", "--json"]
    arguments += ["--trace", str(trace), "--commands", str(log)]
    assert run(arguments) == 0
    payload = json.loads(capsys.readouterr().out)
    keys = {"bandwidth_bytes_per_second", "peak_fraction", "mean_read_latency_ns", "read_latency_percentiles_ns",
            "row_hit_rate", "activates", "refreshes", "energy_joules", "ticks", "tick_ns"}  # fmt: skip
    assert keys <= set(payload)
    assert payload["activates"] == 1
    assert log.read_text().splitlines()[:2] == ["1 ACT 0 0", "65 RD 0 0"]


def test_command_draws_the_load_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "curve.png"
    arguments = ["dram", "--standard", "hbm2-2000", "--pattern", "mix", "--requests", "90", "--load-curve"]
    assert run([*arguments, "--plot", str(plot), "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert len(payload["mean_read_latency_ns"]) == len(payload["offered_bytes_per_second"])
    assert plot.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pattern", "mix"], "--standard"),
        (["--standard", "hbm3-6400"], "--trace FILE or --pattern"),
        (["--standard", "none", "--pattern", "mix"], "memory standard 'none': no such preset"),
        (["--standard", "hbm3-6400", "--pattern", "mix", "--queue", "0"], "--queue = 0: must be greater than"),
        (["--standard", "hbm3-6400", "--pattern", "mix", "--stride-bytes", "64"], "--pattern strided"),
        (["--standard", "hbm3-6400", "--pattern", "mix", "--row-hit-cap", "4"], "--page capped"),
        (["--standard", "hbm3-6400", "--pattern", "mix", "--plot", "curve.png"], "--load-curve"),
        (["--standard", "hbm3-6400", "--trace", "trace", "--requests", "4"], "--pattern"),
        (
            ["--standard", "hbm3-6400", "--pattern", "mix", "--scheduler", "dramsim3", "--page", "closed"],
            "error: scheduler dramsim3 has",
        ),
        (["--standard", "hbm3-6400", "--pattern", "mix", "--mapping", "ro"], "mapping"),
    ],
)
def test_command_refuses_wrong_options(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dram", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
