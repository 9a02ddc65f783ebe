"""``uarch kernel``: JSON with the promised keys, tables for people, and one line for a mistake.

Exercised with it: attention_options, output, and what its commands have shared.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import uarch.cli
from results.analysis.invariants import check
from results.trace.schema import text
from results.trace.trace import Trace
from uarch.chip_file import load_chip
from workloads.single.attention import simulate_attention
from workloads.single.gemm import simulate_gemm

pytestmark = pytest.mark.once("commands: no kernel that other tests do not run")

GEMM = ["gemm", "--chip", "h100", "--set", "core.count=4", "-m", "96", "-n", "64", "-k", "128"]
ATTENTION = ["attention", "--chip", "h100", "--set", "core.count=4", "--phase", "prefill", "--batch", "1"]
ATTENTION += ["--q-heads", "4", "--kv-heads", "2", "--head-dim", "32", "--q-len", "48", "--kv-len", "64"]
KEYS = {"cycles", "seconds", "energy_joules", "flops", "dram_bytes", "l2_bytes", "utilization", "bound_by"}


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert uarch.cli.run(["kernel", *arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    payload = json.loads(captured.out)
    assert isinstance(payload, dict)
    return payload


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert uarch.cli.run(["kernel", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def changed(arguments: list[str], option: str, value: str) -> list[str]:
    """The same command line with another value of an option, or with one more option."""
    if option not in arguments:
        return [*arguments, option, value]
    position = arguments.index(option) + 1
    return [*arguments[:position], value, *arguments[position + 1 :]]


def test_a_gemm_as_json_is_what_the_function_returns(capsys: pytest.CaptureFixture[str]) -> None:
    payload = json_of(capsys, *GEMM, "--dtype", "bf16", "--fidelity", "burst")
    run = simulate_gemm(load_chip("h100", ["core.count=4"]), 96, 64, 128, dtype="bf16", fidelity="burst")
    totals = {
        "energy_joules": run.energy_joules,
        "average_power_watts": run.average_power_watts,
        "average_board_power_watts": run.average_board_power_watts,
    }
    assert payload == {**json.loads(json.dumps(asdict(run))), **totals}
    assert set(payload) > KEYS


@pytest.mark.parametrize("schedule", ["flash", "unfused"])
def test_attention_as_json_is_what_the_function_returns(capsys: pytest.CaptureFixture[str], schedule: str) -> None:
    payload = json_of(capsys, *ATTENTION, "--schedule", schedule)
    run = simulate_attention(
        load_chip("h100", ["core.count=4"]),
        "prefill",
        batch=1,
        q_heads=4,
        kv_heads=2,
        head_dim=32,
        q_len=48,
        kv_len=64,
        schedule=schedule,
    )
    totals = {
        "energy_joules": run.energy_joules,
        "average_power_watts": run.average_power_watts,
        "average_board_power_watts": run.average_board_power_watts,
    }
    assert payload == {**json.loads(json.dumps(asdict(run))), **totals}
    assert set(payload) > KEYS


def test_decode_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    payload = json_of(capsys, *changed(changed(ATTENTION, "--phase", "decode"), "--q-len", "1"))
    assert payload["flops"] == 2 * 2 * 64 * 32 * 4


MOE = ["moe", "--chip", "h100", "--set", "core.count=4", "--tokens", "8", "--experts", "4", "--top-k", "2"]
MOE += ["--hidden", "64", "--intermediate", "32"]
VERIFY = ["verify", "--chip", "h100", "--set", "core.count=4", "--batch", "2", "--q-heads", "4", "--kv-heads", "2"]
VERIFY += ["--head-dim", "32", "--draft", "chain:3", "--contexts", "uniform:20,200", "--pack", "padded"]


@pytest.mark.parametrize("arguments", [GEMM, ATTENTION, MOE, VERIFY], ids=lambda arguments: arguments[0])
def test_every_kernel_leaves_a_trace(capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]) -> None:
    payload = json_of(capsys, *arguments, "-o", str(tmp_path / "kernel.h5"), "--timeline", "100000")
    trace = Trace.load(tmp_path / "kernel.h5")
    assert check(trace) == []
    assert trace.timeline is not None
    assert (trace.workload["model"], trace.rollup["seconds"]) == (payload["kind"], payload["seconds"])
    assert [program["name"] for program in payload["programs"]] == text(trace.layers["name"])


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert uarch.cli.run(["kernel", *ATTENTION, "--schedule", "unfused"]) == 0
    out = capsys.readouterr().out
    for words in ("attention b 1, h 4/2 x 32, q 48, kv 64 on h100", "roofline", "bound by", "softmax", "tile m"):
        assert words in out


def test_large_letters_name_the_sizes_too(capsys: pytest.CaptureFixture[str]) -> None:
    capital = [argument.upper() if argument in ("-m", "-n", "-k") else argument for argument in GEMM]
    assert json_of(capsys, *capital) == json_of(capsys, *GEMM)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--chip", "h1000", "did you mean 'h100'? allowed: a100, a100-pcie, "),
        ("--chip", "absent.toml", "absent.toml: cannot be read"),
        ("-m", "0", "-m 0: must be at least 1 and at most"),
        ("-n", "-3", "-n -3: must be at least 1"),
        ("-k", "many", "'-k' / '-K': must be a valid integer"),
        ("--dtype", "fp17", "'--dtype': 'fp17' is not one of 'fp32', "),
        ("--dtype", "fp32", "--dtype fp32: h100 has no matrix rate for it; allowed: bf16, "),
        ("--fidelity", "exact", "'--fidelity': 'exact' is not one of 'analytical', 'tile', 'burst'"),
        ("--set", "core.cuont=2", "core.cuont is not a field; did you mean 'count'?"),
        ("--set", "core.count=0", "core.count = 0: must be greater than or equal to 1"),
        ("--tile", "1", "No such option: --tile"),
    ],
)
def test_a_wrong_gemm_is_one_line(capsys: pytest.CaptureFixture[str], option: str, value: str, expected: str) -> None:
    assert expected in error_of(capsys, *changed(GEMM, option, value))


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--chip", "h1000", "did you mean 'h100'?"),
        ("--phase", "train", "'--phase': 'train' is not one of 'prefill', 'decode'"),
        ("--phase", "decode", "--q-len 48: must be 1 in decode"),
        ("--batch", "0", "--batch 0: must be at least 1"),
        ("--batch", "1000000000", "--batch 1000000000: must be at least 1 and at most"),
        ("--q-heads", "-4", "--q-heads -4: must be at least 1"),
        ("--kv-heads", "3", "--kv-heads 3: must divide --q-heads 4"),
        ("--head-dim", "0", "--head-dim 0: must be at least 1"),
        ("--q-len", "65", "--q-len 65: must be at most --kv-len 64"),
        ("--kv-len", "0", "--kv-len 0: must be at least 1"),
        ("--schedule", "ring", "'--schedule': 'ring' is not one of 'flash', 'unfused'"),
        ("--dtype", "fp17", "'--dtype': 'fp17' is not one of 'fp32', "),
        ("--fidelity", "exact", "'--fidelity': 'exact' is not one of 'analytical', 'tile', 'burst'"),
        ("--set", "nonsense", "--set nonsense: must have the form dotted.field=value"),
    ],
)
def test_wrong_attention_is_one_line(
    capsys: pytest.CaptureFixture[str], option: str, value: str, expected: str
) -> None:
    assert expected in error_of(capsys, *changed(ATTENTION, option, value))


def test_missing_options_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Missing option '-k' / '-K'" in error_of(capsys, *GEMM[:-2])
    assert "uarch kernel conv: no such command; allowed: attention, gemm, moe, verify" in error_of(capsys, "conv")


def test_without_a_kernel_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert uarch.cli.run(["kernel"]) == 0
    captured = capsys.readouterr()
    assert "attention" in captured.out
    assert captured.err == ""
