"""The bench for analytical models: suites, models, regimes, and explanations that find the mechanism that is lacking.

Exercised with it: trust_map and bench_model.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.cli import run
from uarch.errors import InputError
from workloads.bench import study as study_module
from workloads.bench.models import predictions
from workloads.bench.regimes import BOUNDS, REGIMES, intensity, quantisation, regimes
from workloads.bench.study import study
from workloads.bench.suite import SUITES, SuiteKernel, load_suite
from workloads.predictors.kernel import Kernel
from workloads.predictors.registry import PREDICTORS
from workloads.predictors.roofline import kept_fraction, roofline
from workloads.predictors.scalesim_forms import product_cycles, scalesim
from workloads.settings.mechanisms import chip_without, explaining_mechanisms, find_mechanism
from workloads.single.gemm import simulate_gemm

pytestmark = pytest.mark.once("studies of many runs")

H100 = load_chip("h100")
SMALL = load_chip(
    "h100",
    [
        "core.count=2",
        "l2.slices=4",
        "memory.packages=1",
        "memory.channels=4",
        "memory.bandwidth_bytes_per_second=8.4e10",
        "noc.multicast_cores=1",
    ],
)
SIZE = st.integers(1, 5000)


def gemm(m: int, n: int, k: int) -> Kernel:
    return Kernel("gemm", (m, n, k), "fp16")


@given(sizes=st.tuples(SIZE, SIZE, SIZE))
def test_closed_forms_are_positive_and_grow_with_k(sizes: tuple[int, int, int]) -> None:
    m, n, k = sizes
    for name in ("roofline", "scalesim", "genz"):
        seconds = [PREDICTORS[name].predict(H100, gemm(m, n, factor * k)) for factor in (1, 2, 4)]
        assert seconds[0] > 0
        assert all(shorter <= longer for shorter, longer in pairwise(seconds))


@pytest.mark.parametrize("name", sorted(PREDICTORS))
def test_every_built_in_model_knows_every_suite(name: str) -> None:
    for suite in SUITES.names:
        cases = load_suite(suite)
        kernels = cases if name != "lltile" else [cases[-1]]  # it searches tilings
        assert all(seconds > 0 for seconds in predictions(name, H100, kernels))


def test_roofline_is_the_simulators_own_bound() -> None:
    memory = SMALL.memory.model_copy(update={"bandwidth_bytes_per_second": 3e12})
    chip = SMALL.model_copy(update={"memory": memory})
    for sizes in ((128, 128, 192), (64, 256, 128)):
        run_ = simulate_gemm(chip, *sizes)
        assert roofline(chip, gemm(*sizes)) == pytest.approx(run_.roofline_seconds, rel=1e-3)
        assert roofline(chip, gemm(*sizes)) < run_.seconds


def test_scalesim_closed_form() -> None:
    # One fold of a 16 x 16 OS array: 2 x 16 + 16 + K - 2 cycles; 4 lanes x 2 cores share 9 folds: two rounds.
    chip = chip_without(SMALL, find_mechanism("limits of L2 and of the cores' ports"))
    array = chip.core.systolic.model_copy(update={"rows": 16, "cols": 16, "dataflow": "os"})
    chip = chip.model_copy(update={"core": chip.core.model_copy(update={"systolic": array, "lanes": 4})})
    assert product_cycles(chip, 16, 16, 100, 1, 8) == 146
    assert product_cycles(chip, 48, 48, 100, 1, 8) == 2 * 146
    rate = chip.macs_per_pe_per_cycle("fp16") * chip.clock.tensor_hz
    assert scalesim(chip, gemm(48, 48, 100)) == pytest.approx(2 * 146 / rate)
    with pytest.raises(InputError, match="no model of it"):
        scalesim(chip, Kernel("softmax", (4, 4), "fp16"))


@given(q=st.integers(1, 40), more=st.integers(0, 40))
def test_kept_scores_are_counted(q: int, more: int) -> None:
    kernel = Kernel("attention", (1, 1, 1, 64, q, q + more), "fp16")
    kept = sum(more + 1 + row for row in range(q))
    assert kept_fraction(kernel) * q * (q + more) == pytest.approx(kept)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((8192, 8192, 8192), ("compute", "regular")),
        ((16, 8192, 8192), ("memory", "small", "skinny")),
        ((64, 64, 64), ("latency", "small", "skinny")),
        ((5000, 5000, 5000), ("compute", "ragged")),
    ],
)
def test_regimes_of_products(sizes: tuple[int, int, int], expected: tuple[str, ...]) -> None:
    assert regimes(H100, gemm(*sizes)) == expected


def test_regimes_of_attention() -> None:
    prefill = Kernel("attention", (8, 32, 32, 128, 2048, 2048), "fp16")
    decode = Kernel("attention", (32, 32, 8, 128, 1, 8192), "fp16")
    assert regimes(H100, prefill) == ("compute", "sparse")
    assert regimes(H100, decode) == ("memory", "skinny")


@given(sizes=st.tuples(SIZE, SIZE, SIZE))
def test_places_on_the_map(sizes: tuple[int, int, int]) -> None:
    kernel = gemm(*sizes)
    assert 0 < quantisation(H100, kernel) <= 1
    assert intensity(kernel) > 0
    names = regimes(H100, kernel)
    assert names[0] in BOUNDS
    assert set(names) <= set(REGIMES)


def test_taking_a_mechanism_away_is_never_slower() -> None:
    whole = study_module.simulated_seconds(SMALL, gemm(64, 256, 128), "tile")
    for mechanism in explaining_mechanisms(SMALL)[:3]:
        assert (
            study_module.simulated_seconds(chip_without(SMALL, mechanism), gemm(64, 256, 128), "tile") <= 1.02 * whole
        )


def test_suites_from_files(tmp_path: Path) -> None:
    path = tmp_path / "suite.csv"
    path.write_text("name,M,N,K,dtype,time_us\nfirst,8,16,32,bf16,1.5\n,1,2,3,,\n")
    first, second = load_suite(str(path))
    assert first == SuiteKernel("first", Kernel("gemm", (8, 16, 32), "bf16"), 1.5e-6)
    assert second == SuiteKernel("gemm 1 x 2 x 3", gemm(1, 2, 3), None)
    path.write_text("phase,batch,q_heads,kv_heads,head_dim,q_len,kv_len,causal\ndecode,4,8,2,64,1,100,1\n")
    assert load_suite(str(path)) == [
        SuiteKernel("attention 4 x 8 x 2 x 64 x 1 x 100", Kernel("attention", (4, 8, 2, 64, 1, 100), "fp16"))
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,kind\nx,gemm\n", "line 1: columns of no suite"),
        ("M,N,K\n", "has no rows"),
        ("M,N,K\n1,0,2\n", "line 2: N = '0'"),
        ("M,N,K,time_us\n1,1,2,-3\n", "line 2: time_us = '-3'"),
        ("op,rows,cols\ngelu,2,3\n", "allowed are GEMMs and causal attention"),
        ("phase,batch,q_heads,kv_heads,head_dim,q_len,kv_len,causal\nprefill,1,8,8,64,9,9,0\n", "causal attention"),
    ],
)
def test_wrong_suites(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "suite.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        load_suite(str(tmp_path / "suite.csv"))


def test_a_preset_with_other_sizes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_text('description = "mine"\nkind = "gemm"\ndtype = "fp16"\nsizes = [[1, 2]]\n')
    with pytest.raises(InputError, match="2 sizes; a gemm has M, N, K"):
        load_suite(str(path))


def test_models_of_a_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [SuiteKernel("a", gemm(1, 2, 3)), SuiteKernel("b", gemm(4, 5, 6))]
    monkeypatch.chdir(tmp_path)
    Path("my_own_model.py").write_text(
        "def seconds(chip, kernel):\n    return kernel.macs / chip.peak_flops('fp16')\ndef none(chip, kernel): ...\n"
    )
    assert predictions("my_own_model:seconds", H100, cases) == [macs / H100.peak_flops("fp16") for macs in (6, 120)]
    Path("table.csv").write_text("name,seconds\nb,2e-6\na,1e-6\n")
    assert predictions("table.csv", H100, cases) == [1e-6, 2e-6]
    for model, words in (
        ("my_own_model:none", "returned None for a"),
        ("my_own_model:absent", "cannot be imported"),
        ("absent_module:f", "cannot be imported"),
        ("rofline", "did you mean 'roofline'"),
    ):
        with pytest.raises(InputError, match=words):
            predictions(model, H100, cases)
    Path("table.csv").write_text("name,seconds\na,1e-6\n")
    with pytest.raises(InputError, match="no prediction of 'b'"):
        predictions("table.csv", H100, cases)


def test_a_lacking_mechanism_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world in which nothing but the latency of L2 costs time beyond the roofline."""

    def simulated(chip: Chip, kernel: Kernel, fidelity: str) -> float:
        return roofline(H100, kernel) + 100 * chip.l2.latency_seconds

    monkeypatch.setattr(study_module, "simulated_seconds", simulated)
    cases = load_suite("quick")
    result = study(H100, "roofline", cases)
    assert {each.mechanism for each in result.explanations} == {"latency of L1, L2 and memory"}
    assert all(each.mape_without == pytest.approx(0.0, abs=1e-12) for each in result.explanations)
    assert result.by_regime()["all"]["rows"] == len(cases)
    assert f"of {len(cases)}; lacks the time that the first bytes take" in result._repr_html_()
    timed = [replace(case, measured_seconds=3 * roofline(H100, case.kernel)) for case in cases]
    measured = study(H100, "roofline", timed, truth="measured", explain=False)
    assert [row.error for row in measured.rows] == pytest.approx([-2 / 3] * len(cases))
    with pytest.raises(InputError, match="has no time_us"):
        study(H100, "roofline", cases, truth="measured")


def test_what_no_mechanism_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "simulated_seconds", lambda chip, kernel, fidelity: 2 * roofline(H100, kernel))
    result = study(H100, "roofline", load_suite("quick"))
    assert {each.mechanism for each in result.explanations} == {None}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "suite.csv"
    suite.write_text("M,N,K\n64,64,64\n64,128,64\n")
    overrides = [word for field in ("core.count=2", "noc.multicast_cores=1") for word in ("--set", field)]
    arguments = ["bench-model", "--model", "roofline", "--suite", str(suite), "--no-explain", *overrides]
    assert run([*arguments, "-o", str(tmp_path / "map.png"), "--json"]) == 0
    payload: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert payload["regimes"]["all"]["rows"] == 2
    assert all(-1 < kernel["error"] < 0 for kernel in payload["kernels"])
    assert run(arguments) == 0
    assert "latency" in capsys.readouterr().out
    assert run([*arguments, "-o", str(tmp_path / "map.jpg")]) == 2
    assert run(["bench-model", "--model", "absent", "--suite", str(suite)]) == 2
    assert "no built-in model" in capsys.readouterr().err
