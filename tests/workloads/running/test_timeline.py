"""Timelines of runs and kernels: their traces are sound, and recording changes no other number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from results.analysis.invariants import check
from results.plots.of_traces import gantt
from results.report.explain import explain
from results.report.tables import trace_html
from results.trace.schema import TIMELINE_TRACKS
from results.trace.trace import Trace
from tests.support.tiny_model import write_tiny_llama
from uarch.chip_file import load_chip
from uarch.cli import run
from uarch.errors import InputError
from workloads.running.kernel_trace import tracing_kernel
from workloads.running.runner import simulate
from workloads.single.gemm import simulate_gemm

FEW_CORES = ["core.count=4", "l2.slices=32", "memory.packages=1", "memory.channels=16", "noc.multicast_cores=1"]
CHIP = load_chip("a100", FEW_CORES)
EVERYTHING = 1 << 30


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_llama(tmp_path_factory.mktemp("model")))


def test_a_run_with_its_timeline_is_sound(model: str) -> None:
    plain = simulate(CHIP, model, "decode", batch=2, seq=64)
    trace = simulate(CHIP, model, "decode", batch=2, seq=64, timeline_limit=EVERYTHING)
    assert check(trace) == []
    assert trace.layers.tobytes() == plain.layers.tobytes()
    assert trace.rollup == plain.rollup
    assert trace.timeline is not None
    ops = np.unique(trace.timeline["op"])
    assert set(trace.layers["layer"][ops]) == {-1, 0, 1}  # the layers that are simulated
    assert len(ops) == (trace.layers["layer"] < 2).sum()
    assert set(trace.timeline["track"]) == set(range(len(TIMELINE_TRACKS)))


def test_a_limit_cuts_the_timeline_off(model: str) -> None:
    trace = simulate(CHIP, model, "decode", batch=2, seq=64, timeline_limit=100)
    assert trace.timeline is not None
    assert len(trace.timeline) == 100
    assert trace.workload["timeline_limit"] == 100
    assert simulate(CHIP, model, "decode", batch=2, seq=64).timeline is None


def test_what_has_no_timeline() -> None:
    with pytest.raises(InputError, match="'analytical': has no timeline; allowed: tile, burst"), tracing_kernel(5):
        simulate_gemm(CHIP, 64, 64, 64, fidelity="analytical")
    with pytest.raises(InputError, match="timeline_limit = -1"), tracing_kernel(-1):
        simulate_gemm(CHIP, 64, 64, 64)


def test_a_kernel_under_the_power_cap() -> None:
    chip = load_chip("a100", [*FEW_CORES, "power.tdp_watts=80"])
    plain = simulate_gemm(chip, 256, 256, 128)
    assert plain.tensor_hz < chip.clock.tensor_hz
    with tracing_kernel(EVERYTHING) as seen:
        traced = simulate_gemm(chip, 256, 256, 128)
    assert traced == plain
    assert check(seen.trace) == []
    assert seen.trace.workload["phase"] == "kernel"


def test_commands_write_timelines(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    few = [word for field in FEW_CORES for word in ("--set", field)]
    gemm = ["kernel", "gemm", "--chip", "a100", "-m", "128", "-n", "128", "-k", "64", *few]
    decode = ["run", "--chip", "a100", "--model", model, "--phase", "decode", "--batch", "1", "--seq", "32", *few]
    for name, command in (("gemm", gemm), ("decode", decode)):
        path = str(tmp_path / f"{name}.h5")
        assert run([*command, "-o", path, "--timeline", "1000000"]) == 0
        capsys.readouterr()
        assert run(["trace", "check", path, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["intervals"] > 20
        assert Trace.load(path).timeline is not None
        assert run([*command, "--timeline", "10"]) == 2
        assert "needs --output" in capsys.readouterr().err


def test_kernels_are_plotted_and_explained() -> None:
    with tracing_kernel(EVERYTHING) as seen:
        kernel = simulate_gemm(CHIP, 128, 128, 64)
    assert "<th scope='row'>joules_by_component.dram</th>" in kernel._repr_html_()
    cores, _, blocks = gantt.plot(seen.trace).axes
    assert np.asarray(cores.images[0].get_array()).shape[0] == 4
    assert blocks.get_ylabel() == "blocks"
    assert "The kernel takes" in explain(seen.trace)[0]
    assert "gemm" in trace_html(seen.trace)
