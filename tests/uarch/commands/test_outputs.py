"""What commands leave on the disk: whole files where they were asked for, and caches that may be missing or full."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kernels.mapping.mapper import _SEARCHES
from tests.support.empty_cache import keep_in
from tests.support.full_disk import largest_file
from tests.support.scaled_table import write_scaled_table
from uarch.cli import run
from uarch.dram.channels.measured_service import _SERVICE, _service_ticks
from uarch.engine.machine import _lower_dram, lower

GEMM = ["kernel", "gemm", "--chip", "spad-decode", "-m", "64", "-n", "64", "-k", "64", "--json"]
DRAM = ["dram", "--standard", "hbm3-5200", "--pattern", "random", "--requests", "500", "--commands"]

pytestmark = pytest.mark.compiled("service times of DRAM take minutes")


def printed(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert run(arguments) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def forget(directory: Path | None, patch: pytest.MonkeyPatch) -> None:
    """Go on as a new process does whose cache is ``directory``."""
    keep_in(directory, patch, *_SEARCHES.values(), _SERVICE)
    for kept_in_memory in (lower, _lower_dram, _service_ticks):
        kept_in_memory.cache_clear()


def test_a_missing_and_a_full_cache_only_cost_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forget(tmp_path, monkeypatch)
    expected = printed(capsys, GEMM)
    kept = list(tmp_path.rglob("*"))
    assert {path.parent.name for path in kept if path.is_file()} == {"dram-service", "gemm-mappings"}
    forget(None, monkeypatch)
    assert printed(capsys, GEMM) == expected
    (tmp_path / "full").mkdir()
    forget(tmp_path / "full", monkeypatch)
    with largest_file(100):
        assert printed(capsys, GEMM) == expected
    assert [path for path in (tmp_path / "full").rglob("*") if path.is_file()] == []


def test_a_table_that_is_edited_between_two_runs_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "mine.toml"
    joules = []
    for factor in (1.0, 2.0, 1.0):
        write_scaled_table(table, factor)
        joules.append(printed(capsys, [*GEMM, "--set", f"energy.table={table}"])["energy_joules"])
    assert joules[0] == joules[2] < joules[1]


def test_a_full_disk_leaves_the_old_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "commands.txt"
    assert run([*DRAM, str(path)]) == 0
    whole = path.read_bytes()
    assert len(whole) > 10_000
    path.write_text("old")
    capsys.readouterr()
    with largest_file(5000):
        assert run([*DRAM, str(path)]) == 2
    assert "File too large" in capsys.readouterr().err
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_commands_go_through_a_link_and_into_a_device(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("commands.txt")
    assert run([*DRAM, str(tmp_path / "link")]) == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "commands.txt").stat().st_size > 10_000
    assert run([*DRAM, os.devnull]) == 0
    assert Path(os.devnull).is_char_device()
