"""``uarch run``: JSON, tables and traces, and one line without a trace for a mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import uarch.cli
import workloads.running.runner
from results.trace.trace import Trace
from tests.support.full_disk import largest_file
from tests.support.tiny_model import LAYERS, write_tiny_llama
from uarch.chip_file import load_chip
from workloads.running.runner import simulate

pytestmark = pytest.mark.once("commands: no kernel that other tests do not run")

KEYS = {"cycles", "seconds", "energy_joules", "flops", "dram_bytes", "l2_bytes", "utilization", "bound_by"}
KEYS_OF_A_RUN = KEYS | {"tokens_per_second", "layers", "trace"}
KEYS_OF_AN_OPERATOR = KEYS | {"name", "kind", "shape", "layer"}


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A small run, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    model = str(write_tiny_llama(tmp_path))
    options = ["--chip", "h100", "--set", "core.count=4", "--model", model, "--phase", "prefill"]
    return ["run", *options, "--batch", "1", "--seq", "48", "--tp", "2"]


def changed(arguments: list[str], option: str, value: str) -> list[str]:
    """The same command line with another value of an option, or with one more option."""
    if option not in arguments:
        return [*arguments, option, value]
    position = arguments.index(option) + 1
    return [*arguments[:position], value, *arguments[position + 1 :]]


def json_of(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> dict[str, Any]:
    assert uarch.cli.run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    payload = json.loads(captured.out)
    assert isinstance(payload, dict)
    return payload


def error_of(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    before = sorted(Path.cwd().rglob("*"))
    assert uarch.cli.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert sorted(Path.cwd().rglob("*")) == before
    return captured.err


def test_the_sequences_of_a_step_come_from_a_file(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Neither batch nor length is needed; a wrong line is named."""
    step = Path("step.csv")
    step.write_text("new_tokens,context_tokens\n1,40\n16,16\n")
    model = arguments[arguments.index("--model") + 1]
    command = ["run", "--chip", "h100", "--model", model, "--phase", "step", "--step-file", "step.csv"]
    found = json_of(capsys, [*command, "--fidelity", "analytical"])
    assert found["workload"]["step"] == "1/40, 16/16"
    assert (found["workload"]["batch"], found["tokens"]) == (2, 17)
    step.write_text("1,40\n16\n")
    assert "step.csv: line 2 = '16': must be 1 <= new_tokens <= context_tokens" in error_of(capsys, command)


def test_json_is_the_trace(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    payload = json_of(capsys, [*arguments, "--seed", "5", "-o", "run.h5"])
    trace = Trace.load("run.h5")
    assert set(payload) > KEYS_OF_A_RUN
    assert payload["trace"] == "run.h5"
    assert {key: payload[key] for key in trace.rollup} == trace.rollup
    assert (payload["chip"], payload["seed"], payload["workload"]["batch"]) == ("h100", 5, 1)
    chip, model = load_chip("h100", ["core.count=4"]), arguments[arguments.index("--model") + 1]
    assert trace.rollup == simulate(chip, model, "prefill", batch=1, seq=48, tp=2, seed=5).rollup


def test_json_has_every_operator(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    payload = json_of(capsys, arguments)
    assert payload["trace"] is None
    assert {operator["layer"] for operator in payload["layers"]} == {-1, *range(LAYERS)}
    for key in ("cycles", "seconds", "energy_joules", "flops", "dram_bytes", "l2_bytes"):
        assert sum(operator[key] for operator in payload["layers"]) == pytest.approx(payload[key]), key
    for operator in payload["layers"]:
        assert set(operator) > KEYS_OF_AN_OPERATOR
        assert sum(operator["cycles_by_cause"].values()) == pytest.approx(operator["cycles"], abs=1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--phase", "decode"),
        ("--dtype", "fp8"),
        ("--attention", "unfused"),
        ("--stack", "eager"),
        ("--fidelity", "analytical"),
        ("--fidelity", "burst"),
    ],
)
def test_each_option_reaches_the_run(
    arguments: list[str], capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    default = json_of(capsys, arguments)
    payload = json_of(capsys, changed(arguments, option, value))
    assert payload["workload"][option.removeprefix("--")] == value
    assert payload["seconds"] != default["seconds"]


def test_a_stack_from_a_file(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    graph = Path(workloads.running.runner.__file__).parents[1] / "settings" / "stacks" / "graph.toml"
    text = re.sub("launch_seconds = .*", "launch_seconds = 1e-3", graph.read_text(), count=1)
    Path("slow.toml").write_text(text.replace('"graph"', '"slow"', 1))
    payload = json_of(capsys, changed(arguments, "--stack", "slow.toml"))
    assert payload["workload"]["stack"] == "slow"
    assert payload["seconds"] > 1e-3 * len(payload["layers"])
    assert payload["bound_by"] == "launch"


def test_for_people(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert uarch.cli.run([*arguments, "-o", "run.h5"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for words in ("prefill on h100: batch 1 x 48 tokens, TP 2", "tokens/s", "bound by", "Layer 1: ", "Trace: run.h5"):
        assert words in captured.out
    for name in ("norm1", "qkv", "attention", "projection", "attention.all_reduce", "ffn_in", "ffn_out"):
        assert name in captured.out


def test_progress_goes_to_standard_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes a pipe for a terminal
    assert uarch.cli.run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["trace"] is None
    assert "/4" in captured.err


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--chip", "h1000", "did you mean 'h100'? allowed: a100, "),
        ("--model", "llama-4", "did you mean 'llama-"),
        ("--model", "absent.json", "absent.json: cannot be read"),
        ("--phase", "verify", "--draft: must be given with --phase verify"),
        ("--batch", "0", "--batch 0: must be at least 1"),
        ("--batch", "two", "'--batch': must be a valid integer"),
        ("--batch", "10000000", "does not fit on h100, "),
        ("--seq", "-1", "--seq -1: must be at least 1"),
        ("--tp", "0", "--tp 0: must be at least 1"),
        ("--tp", "3", "--tp 3: does not divide q_heads = 4; allowed for "),
        ("--dtype", "fp17", "'--dtype': 'fp17' is not one of 'fp32', "),
        ("--dtype", "fp32", "--dtype fp32: h100 has no matrix rate for it; allowed: bf16, "),
        ("--attention", "ring", "'--attention': 'ring' is not one of 'flash', 'unfused'"),
        ("--stack", "eagre", "did you mean 'eager'? allowed: eager, graph"),
        ("--fidelity", "exact", "'--fidelity': 'exact' is not one of 'analytical', 'lltile', 'tile', 'burst'"),
        ("--seed", "-1", "--seed -1: must be at least 0"),
        ("--seed", "9223372036854775808", "must be less than or equal to 9007199254740992"),
        ("--output", "absent/run.h5", "absent: no such directory"),
        ("--output", ".", ".: not a regular file"),
        (
            "--set",
            "memory.bandwith=1",
            "memory.bandwith is not a field; allowed: standard, technology, bandwidth_bytes_per_second, ",
        ),
        ("--set", "core.count=zero", "core.count = 'zero': "),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_trace(
    arguments: list[str], capsys: pytest.CaptureFixture[str], option: str, value: str, expected: str
) -> None:
    assert expected in error_of(capsys, changed([*arguments, "--output", "run.h5"], option, value))


def test_a_model_that_does_not_fit_says_which_degree_would(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    message = error_of(capsys, changed(changed(arguments, "--model", "llama-3-70b"), "--tp", "1"))
    assert "llama-3-70b does not fit on h100" in message
    assert "GiB too much per chip" in message
    assert "smallest tp that fits: 2" in message


def test_the_output_is_checked_before_the_simulation(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(workloads.running.runner, "_execute")
    assert "absent: no such directory" in error_of(capsys, [*arguments, "-o", "absent/run.h5"])


def test_a_full_disk_leaves_the_old_trace(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.h5").write_bytes(b"old")
    assert uarch.cli.run(arguments) == 0  # compiles, which writes files of its own
    capsys.readouterr()
    with largest_file(100):
        error = error_of(capsys, [*arguments, "-o", "run.h5"])
    assert "run.h5: " in error
    assert Path("run.h5").read_bytes() == b"old"
