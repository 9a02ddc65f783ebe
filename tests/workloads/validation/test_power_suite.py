"""Measured power: the rows that come with the package, mistakes in files, statistics derived on paper, and the tables of
the command (power_tables)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from uarch.cli import run
from uarch.errors import InputError
from workloads.models.presets import load_model
from workloads.validation.power_prediction import PowerPrediction, chip_of, predict_power
from workloads.validation.power_rows import PHASES, POWER_ROWS, IdleRow, ServingRow, read_power_rows
from workloads.validation.power_suite import JudgedPower, power_report, select_power_rows

pytestmark = pytest.mark.once("commands and small sums")

IDLE = "phase,chip,clock_mhz,power_w\nidle,h100,1980,120\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_rows_that_come_with_the_package_can_be_asked_for() -> None:
    rows = read_power_rows()
    assert len(rows) <= 150
    assert {row.phase for row in rows} == set(PHASES)
    for row in rows:
        assert row.source
        chip_of(row)
        if isinstance(row, ServingRow):
            load_model(row.model)
            # what a token costs is what the boards draw in the time of a step, by its tokens
            boards = row.tp * row.ep
            joules = boards * row.power_w * row.step_ms * 1e-3 / row.batch
            assert row.energy_per_token_j == pytest.approx(joules, rel=0.02)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phase,chip\nrest,h100\n", "line 2: phase = 'rest': "),
        ("phase,chip,clock_mhz\nidle,h100,510\n", "line 2: power_w is missing"),
        ("phase,chip,clock_mhz,power_w\nidle,h100,510,-1\n", "line 2: power_w = '-1': must be greater than 0"),
        ("phase,chip\n", "has no rows"),
    ],
)
def test_a_wrong_row_is_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_power_rows(written(tmp_path / "mine.csv", text))


def judged(measured: float, predicted: float, low: float, high: float) -> JudgedPower:
    row = IdleRow(phase="idle", chip="h100", clock_mhz=1000, power_w=measured)
    return JudgedPower(row, PowerPrediction(predicted, low, high, 1e9, 0.0, 0.0))


def test_statistics_by_hand() -> None:
    """Errors of +10 and -20 %: 15 % on average, bias -5 %, the second row's measurement outside its range."""
    report = power_report([judged(100, 110, 90, 130), judged(100, 80, 70, 90)])
    overall = report["overall"]
    assert overall["mape"] == pytest.approx(0.15)
    assert overall["bias"] == pytest.approx(-0.05)
    assert overall["worst"] == pytest.approx(0.2)
    assert overall["in_range"] == 0.5
    assert "energy_per_token" not in overall
    assert report["phases"] == {"idle": overall}
    assert report["chips"] == {"h100": overall}


def test_a_step_is_judged_by_its_energy_as_well() -> None:
    row = ServingRow(
        phase="decode",
        chip="h100",
        model="m",
        batch=4,
        context=8,
        dtype="bf16",
        step_ms=10,
        power_w=400,
        energy_per_token_j=1,
    )
    one = JudgedPower(row, PowerPrediction(440, 300, 500, 2e9, 0.008, 0.88))
    assert one.energy_error == pytest.approx(-0.12)
    assert one.time_error == pytest.approx(-0.2)
    assert one.in_range
    report = power_report([one])
    assert report["overall"]["energy_per_token"]["bias"] == pytest.approx(-0.12)
    assert report["batches"].keys() == {"4"}


def test_the_command_shows_an_idle_chip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "mine.csv", IDLE)
    arguments = ["validate", "power", "--reference", str(path), "--workers", "1"]
    rows = tmp_path / "rows.csv"
    assert run([*arguments, "--json", "--rows", str(rows)]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["overall"]["rows"] == 1
    assert payload["worst"][0]["measured_watts"] == 120
    assert "predicted_watts" in rows.read_text().splitlines()[0]
    assert run(arguments) == 0
    assert "idle at 1980 MHz" in capsys.readouterr().out


def test_rows_are_selected_by_chip_and_mark() -> None:
    rows = select_power_rows(POWER_ROWS, chip="a100", use="A")
    assert {(row.chip, row.use) for row in rows} == {("a100", "A")}
    with pytest.raises(InputError, match="no rows are left"):
        select_power_rows(POWER_ROWS, chip="mi210")


@pytest.mark.parametrize(
    "text",
    [
        "phase,chip,set,m,n,k,dtype,power_w\ngemm,h100,core.count=4,128,128,128,bf16,200\n",
        "phase,chip,set,model,batch,context,dtype,step_ms,power_w,energy_per_token_j\n"
        "decode,h100,core.count=4,llama-68m,2,64,bf16,1,200,0.1\n",
    ],
)
def test_kernels_and_steps_are_predicted_with_their_ranges(tmp_path: Path, text: str) -> None:
    (row,) = read_power_rows(written(tmp_path / "mine.csv", text))
    (found,) = predict_power([row], workers=1)
    assert 0 < found.low_watts < found.watts < found.high_watts
    assert found.seconds > 0
    if isinstance(row, ServingRow):
        assert found.energy_per_token_joules == pytest.approx(found.watts * found.seconds / row.batch)
