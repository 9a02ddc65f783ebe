"""The demonstration: what it runs, and that its processes give what one process gives."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest

import uarch.cli
import workloads.experiments.demo
from results.trace.trace import Trace
from tests.support.tiny_model import write_tiny_llama
from uarch.chip_file import load_chip
from uarch.errors import InputError
from workloads.experiments.demo import JOBS, Job, run_demo, simulate_job
from workloads.models.parallel import check_parallel
from workloads.models.presets import load_model

pytestmark = pytest.mark.once("studies of many runs")


def tiny_jobs(folder: Path) -> list[Job]:
    """Both phases of a small model on two chips of a few cores."""
    model, preset = str(write_tiny_llama(folder)), Path(uarch.cli.__file__).parent / "chips" / "h100.toml"
    chips = [folder / f"{cores}.toml" for cores in (2, 4)]
    for chip in chips:
        chip.write_text(preset.read_text().replace("count = 132", f"count = {chip.stem}", 1))
    return [Job(str(chip), model, phase, 1, 32, 1) for chip in chips for phase in ("prefill", "decode")]


def test_every_model_runs_in_both_phases_on_every_chip() -> None:
    assert len(JOBS) == len(set(JOBS)) == len({job.name for job in JOBS}) == 12
    for job in JOBS:
        check_parallel(load_model(job.model), job.tp)
        assert load_chip(job.chip).name == job.chip
    prefills = {(job.batch, job.seq) for job in JOBS if job.phase == "prefill"}
    decodes = {(job.batch, job.seq) for job in JOBS if job.phase == "decode"}
    assert (prefills, decodes) == ({(2, 1024)}, {(32, 1024)})
    assert {(job.model, job.tp) for job in JOBS} == {("bloom-176b", 8), ("llama-3-70b", 4)}


def test_processes_give_the_same_traces(tmp_path: Path) -> None:
    jobs = tiny_jobs(tmp_path)
    traces = dict(run_demo(jobs))
    assert set(traces) == set(jobs)
    for job in jobs:
        alone = simulate_job(job)
        assert traces[job].rollup == alone.rollup
        assert traces[job].layers.tobytes() == alone.layers.tobytes()


def test_a_mistake_in_a_process_is_a_mistake_here(tmp_path: Path) -> None:
    first, *_ = tiny_jobs(tmp_path)
    with pytest.raises(InputError, match="did you mean 'h100'"):
        list(run_demo([first, Job("h1000", first.model, "prefill", 1, 32, 1)]))


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> tuple[Job, ...]:
    """One layer's worth of work: the command's own jobs take seconds each."""
    jobs = tuple(Job(chip, "llama-3-8b", "decode", 1, 16, 8) for chip in ("spad-h100", "spad-decode"))
    monkeypatch.setattr(workloads.experiments.demo, "JOBS", jobs)
    return jobs


@pytest.mark.compiled("a model of 8 billion parameters takes minutes in interpreted code")
@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_leaves_traces_and_a_picture(
    small_demo: tuple[Job, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    folder = tmp_path / "new" / "demo"
    assert uarch.cli.run(["demo", "-o", str(folder), *(["--json"] if as_json else [])]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    files = [folder / f"{job.name}.h5" for job in small_demo]
    assert sorted(folder.iterdir()) == sorted([folder / "comparison.png", *files])
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    for job, file in zip(small_demo, files, strict=True):
        trace = Trace.load(file)
        assert (trace.chip["name"], trace.workload["phase"]) == (job.chip, "decode")
        with h5py.File(file) as plain:
            assert len(plain["layers"]) == len(trace.layers)
    if as_json:
        payload = json.loads(captured.out)
        assert [run["trace"] for run in payload["runs"]] == [str(file) for file in files]
        assert [run["chip"] for run in payload["runs"]] == ["spad-h100", "spad-decode"]
        for key in ("latency_seconds", "tokens_per_second", "utilization", "energy_per_token_joules", "bound_by"):
            assert all(key in run for run in payload["runs"])
    else:
        for words in ("spad-h100", "spad-decode", "llama-3-8b", "Tensor cores: utilisation", "comparison.png"):
            assert words in captured.out


def test_a_place_that_is_no_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert uarch.cli.run(["demo", "-o", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"error: --output {file}: must be a folder, or a place to make one: File exists\n"
