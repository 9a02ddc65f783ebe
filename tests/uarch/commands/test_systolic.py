"""``uarch systolic`` and ``uarch scalesim`` as a user runs them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from uarch.commands import scalesim, systolic
from uarch.errors import InputError

pytestmark = pytest.mark.once("commands: no kernel that other tests do not run")

SHAPE = ["--rows", "32", "--cols", "32", "-m", "128", "-n", "128", "-k", "128"]
CONFIG = """[architecture_presets]
ArrayHeight: 8
ArrayWidth: 8
IfmapSramSzkB: 1
FilterSramSzkB: 1
OfmapSramSzkB: 1
Bandwidth: 1
Dataflow: os
[run_presets]
InterfaceBandwidth: USER
"""


def _app() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    systolic.register(app)
    scalesim.register(app)
    return app


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(_app(), list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def _json(*arguments: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(_run(*arguments, "--json"))
    return made


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    config, topology = tmp_path / "a.cfg", tmp_path / "t.csv"
    config.write_text(CONFIG, encoding="utf-8")
    topology.write_text("Layer,M,N,K,\nfirst,64,64,64,\nsecond,8,8,8,2:4,\n", encoding="utf-8")
    return config, topology


def test_systolic_json_has_the_counts_of_scalesim() -> None:
    """128^3 on 32 x 32 WS is 16 folds of 2 * 32 + 32 + 128 - 2 cycles; A is read for each of 4 column folds."""
    made = _json("systolic", *SHAPE, "--dataflow", "ws", "--overlap", "none")
    assert made["cycles"] == 16 * (2 * 32 + 32 + 128 - 2)
    assert made["last_cycle_index"] == made["cycles"] - 1
    assert made["folds"] == 16
    assert made["mapping_efficiency"] == 1
    assert made["utilization"] == 128**3 / (made["last_cycle_index"] * 32 * 32)
    assert made["sram_reads"] == 4 * 128**2 + 128**2
    assert made["sram_writes"] == 128**2


def test_options_change_what_they_say() -> None:
    base = _json("systolic", *SHAPE)
    assert base["cycles"] == 32 + 16 * 128 + 32 + 32 - 2
    assert _json("systolic", *SHAPE, "--mac-stages", "4")["cycles"] == base["cycles"] + 3
    assert _json("systolic", *SHAPE, "--feed", "broadcast")["cycles"] == base["cycles"] - 31
    assert _json("systolic", *SHAPE, "--dtype", "fp32")["cycles"] == 4 * base["cycles"]
    assert _json("systolic", *SHAPE, "--dtype", "int8")["folds"] == 8
    assert _json("systolic", *SHAPE, "--macs-per-pe-cycle", "1/2")["cycles"] == 2 * base["cycles"]
    assert _json("systolic", *SHAPE, "--sparsity", "2:4")["folds"] == 8
    spilled = _json("systolic", *SHAPE, "--accumulator-rows", "100")
    assert spilled["sram_reads_by_operand"]["partial"] == 3 * 128 * 28
    shifted = _json("systolic", *SHAPE, "--dataflow", "os", "--drain", "shift")
    assert shifted["cycles"] == _json("systolic", *SHAPE, "--dataflow", "os")["cycles"] + 32
    conflicts = _json("systolic", *SHAPE, "--dataflow", "os", "--dtype", "fp32", "--banks", "32")
    assert conflicts["l1_bank_conflict_cycles"] == {"a": 31 * 4 * 128, "b": 0}


def test_text_output_names_array_and_cycles() -> None:
    text = _run("systolic", *SHAPE, "--overlap", "none")
    assert "GEMM 128 x 128 x 128 on a 32 x 32 array, ws, overlap none" in text
    assert "3,552" in text


@pytest.mark.parametrize("over", ["shapes", "arrays"])
def test_heatmap_is_written(tmp_path: Path, over: str) -> None:
    target = tmp_path / "map.png"
    made = _json("systolic", *SHAPE, "--heatmap", str(target), "--heatmap-over", over)
    assert made["heatmap"] == str(target)
    assert target.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--macs-per-pe-cycle", "fast"], "macs_per_pe_cycle = 'fast': must be"),
        (["--macs-per-pe-cycle", "-1"], "must be positive"),
        (["--sparsity", "4:2"], "sparsity = '4:2': must be N:M"),
        (["--banks", "0"], "banks = 0: must be"),
        (["--heatmap", "map.jpg"], "--heatmap map.jpg: unknown ending"),
        (["--accumulator-rows", "-1"], "accumulator_rows = -1: must be"),
        (["-m", "0"], "m = 0: must be"),
        (["-k", "100000000000000000000"], "k = 100000000000000000000: must be at most 16777216"),
        (["-m", "16777216", "-n", "16777216"], "MACs: must be at most"),
        (["--macs-per-pe-cycle", "1e30"], "macs_per_pe_cycle .*: must be at most"),
        (["--sparsity", "1:100000000000000000000"], "sparsity .*: must be at most"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _run("systolic", *SHAPE, *arguments)


def test_the_largest_gemm_is_counted() -> None:
    made = _json(
        "systolic", "--rows", "1", "--cols", "1", "-m", "2097152", "-n", "65536", "-k", "65536", "--dtype", "fp32"
    )
    assert made["macs"] == systolic.MOST_MACS
    assert made["cycles"] >= systolic.MOST_MACS
    assert made["sram_read_bytes"] >= 2 * 4 * systolic.MOST_MACS // 65536


def test_scalesim_writes_report_and_json(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    config, topology = inputs
    made = _json("scalesim", "-c", str(config), "-t", str(topology), "-i", "gemm", "-p", str(tmp_path / "out"))
    first, second = made["layers"]
    assert first["name"] == "first"
    assert first["cycles"] == 64 * (8 + 8 + 64 - 2) - 1 + first["stall_cycles"]
    assert first["stall_cycles"] > 0
    assert (second["sparsity"], second["cycles"]) == ("2:4", 8 + 8 + 4 - 2 - 1)
    assert made["total_cycles"] == first["cycles"] + second["cycles"]
    with Path(made["compute_report"]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    assert Path(made["compute_report"]).name == "COMPUTE_REPORT.csv"
    assert [row["LayerID"] for row in rows] == ["0", "1"]
    assert [int(row["Total Cycles"]) for row in rows] == [first["cycles"], second["cycles"]]
    assert [int(row["Stall Cycles"]) for row in rows] == [first["stall_cycles"], second["stall_cycles"]]
    assert float(rows[0]["Overall Util %"]) == pytest.approx(100 * first["utilization"])
    assert float(rows[0]["Mapping Efficiency %"]) == 100 * first["mapping_efficiency"]


def test_scalesim_text_output_is_a_table(
    inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = _run("scalesim", "-c", str(inputs[0]), "-t", str(inputs[1]))
    assert "2 layers, report in COMPUTE_REPORT.csv" in text
    assert "64 x 64 x 64" in text
    assert (tmp_path / "COMPUTE_REPORT.csv").is_file()


def test_scalesim_says_that_it_uses_sparsity_columns(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ["scalesim", "-c", str(inputs[0]), "-t", str(inputs[1]), "-p", str(tmp_path), "--json"]
    result = CliRunner().invoke(_app(), arguments, catch_exceptions=False)
    assert "SparsitySupport is false" in result.stderr
    json.loads(result.stdout)
