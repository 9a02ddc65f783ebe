"""Predictions: remembered, but never longer than what they depend on stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.empty_cache import flip, keep_in
from tests.support.scaled_table import write_scaled_table
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from workloads.running.kernel_run import KernelRun
from workloads.validation import prediction
from workloads.validation.prediction import Prediction, predict
from workloads.validation.requests import GemmRequest

REQUEST = GemmRequest(512, 512, 512, 1, "fp16", "cold")
runs: list[str] = []


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the predictions; ``runs`` gets the chip of each request that is run."""
    keep_in(tmp_path, monkeypatch, prediction._PREDICTIONS)
    run = GemmRequest.run
    runs.clear()

    def counted(self: GemmRequest, chip: Chip, fidelity: str) -> KernelRun:
        runs.append(chip.name)
        return run(self, chip, fidelity)

    monkeypatch.setattr(GemmRequest, "run", counted)
    return tmp_path / "predictions"


def predicted(*overrides: str) -> Prediction:
    """Predict as another process would."""
    prediction._PREDICTIONS.known.clear()
    return predict({"it": load_chip("h100", overrides)}, [("it", REQUEST)])["it", REQUEST]


def test_a_request_is_run_once() -> None:
    assert predicted() == predicted()
    assert len(runs) == 1
    predicted("l2.slices=16")
    assert len(runs) == 2


def test_a_damaged_prediction_is_made_anew(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = predicted()
    (path,) = kept.iterdir()
    flip(path, 12)
    assert predicted() == first
    assert len(runs) == 2
    assert capsys.readouterr().err == f"note: {path}: damaged, made anew\n"


def test_an_energy_table_may_change_between_runs(tmp_path: Path) -> None:
    """At a hundred times the energy the power cap lets the clock fall."""
    table = tmp_path / "mine.toml"

    def predicted_at(factor: float) -> Prediction:
        write_scaled_table(table, factor)
        return predicted(f"energy.table={table}")

    first = predicted_at(1.0)
    assert predicted_at(100.0).seconds > 1.2 * first.seconds
    assert predicted_at(1.0) == first
    assert len(runs) == 2


def test_a_menu_may_change_between_runs(tmp_path: Path) -> None:
    menu = tmp_path / "menu.toml"
    for tile in ("[64, 64, 64, 4]", "[32, 32, 32, 4]"):
        menu.write_text(f'base = "library"\n[products]\nsource = "a test"\ntiles = [{tile}]\n')
        m, n, k, _ = tile.strip("[]").split(", ")
        assert predicted(f"menu={menu}").mapping.startswith(f"tile m {m}, tile n {n}, tile k {k}")
    assert len(runs) == 2
