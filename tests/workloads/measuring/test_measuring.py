"""The timing loop on a device that exists in the test alone, and the CSV that comes of it.

Exercised with it: torch_backend.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uarch.cli import run
from workloads.measured.reader import read_measurements
from workloads.measured.rows import SUITES, GemmRow
from workloads.measuring.plan import Job, measurement_plan
from workloads.measuring.timing import REPEATS, WARM_UPS, Backend, Device, measure, write_rows
from workloads.validation.suite import Selection, plan_validation

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")

SMALL = Job("gemm", {"M": 64, "N": 64, "K": 64})
LARGE = Job("gemm", {"M": 1 << 16, "N": 1 << 16, "K": 1 << 16})


class FakeDevice:
    """Takes 3 us for a kernel with a cold L2 and 1 us with a warm one; the clock ticks with each launch.

    Draws ``watts`` while it works, if it counts its joules.
    """

    def __init__(self, jitter: float = 0.0, watts: float | None = None) -> None:
        self.warm = False
        self.launches = 0
        self.prepared: list[Job] = []
        self.jitter = jitter
        self.watts = watts

    def device(self) -> Device:
        return Device("Fake 9000", 4, 1 << 30, "driver 1, fake 2")

    def prepare(self, job: Job) -> Callable[[], None]:
        self.prepared.append(job)
        return self._launch

    def _launch(self) -> None:
        self.launches += 1

    def flush_l2(self) -> None:
        self.warm = False

    def hold(self) -> None:
        pass

    def seconds(self, launch: Callable[[], None]) -> float:
        before = self.launches
        launch()
        taken = (1e-6 if self.warm else 3e-6) * (self.launches - before)
        self.warm = True
        return taken * (1 + self.jitter * (self.launches % 2))

    def joules(self) -> float | None:
        return None if self.watts is None else self.watts * self.launches * 1e-6

    def state(self) -> str:
        return "SM 1 MHz"


def rows_of(backend: Backend, *jobs: Job) -> list[dict[str, Any]]:
    return list(measure(backend, jobs))


def test_each_job_gives_a_cold_and_a_warm_row() -> None:
    device = FakeDevice()
    cold, warm = rows_of(device, SMALL)
    assert (cold["l2"], cold["time_us"], cold["use"]) == ("cold", 3.0, "A")
    assert (warm["l2"], warm["time_us"]) == ("warm", 1.0)
    assert cold["note"] == "driver 1, fake 2; SM 1 MHz"
    assert device.launches == WARM_UPS + 2 * REPEATS


def test_a_board_that_counts_its_joules_gives_power_and_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """250 W for 1 us are 250 uJ; with a cold L2 the flush would be counted too."""
    monkeypatch.setattr("workloads.measuring.timing.POWER_SECONDS", 1e-3)
    cold, warm = rows_of(FakeDevice(watts=250.0), SMALL)
    assert (warm["power_w"], warm["energy_j"]) == (pytest.approx(250), pytest.approx(250e-6))
    assert "power_w" not in cold


def test_unsteady_times_are_marked() -> None:
    assert {row["use"] for row in rows_of(FakeDevice(jitter=1.0), SMALL)} == {"B"}


def test_jobs_that_do_not_fit_are_left_out() -> None:
    device = FakeDevice()
    heard: list[int] = []
    assert len(list(measure(device, [LARGE, SMALL], progress=heard.append))) == 2
    assert device.prepared == [SMALL]
    assert heard == [1, 2]


def test_what_is_written_can_be_validated(tmp_path: Path) -> None:
    path = tmp_path / "fake.csv"
    write_rows(path, rows_of(FakeDevice(), *measurement_plan(devices=4)))
    found = read_measurements(path)
    assert set(found) == set(SUITES) - {"transformer"}
    assert found["gemm"][0] == GemmRow(
        chip="Fake 9000", source="measure", M=1, N=4096, K=4096, time_us=3.0, l2="cold", use="A"
    )
    from uarch.chip_file import load_chip

    plan = plan_validation(path, Selection(), chip=load_chip("h100"))
    assert {case.request.residency for case in plan.cases} == {"cold", "warm"}  # type: ignore[attr-defined]
    assert all(case.floor_seconds == 0 for case in plan.cases)


def test_collectives_need_several_devices() -> None:
    assert "collective" not in {job.suite for job in measurement_plan()}
    groups = {job.columns["devices"] for job in measurement_plan(8) if job.suite == "collective"}
    assert groups == {2, 4, 8}


def test_without_a_gpu_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert run(["measure", "-o", str(tmp_path / "times.csv")]) == 2
    error = capsys.readouterr().err
    assert error == "error: measure: needs PyTorch with CUDA, which is not installed: pip install 'uarch[measure]'\n"
    assert not (tmp_path / "times.csv").exists()
