"""``uarch cluster run``: ``measures`` in its JSON, the ``run_file``, what a ``cluster_file`` or its ``lowering`` refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import uarch.cli

pytestmark = pytest.mark.compiled("thousands of requests")

SMALL = """
model = "llama-3-8b"
seed = 3

[requests]
lengths = "azure2023-conversation"
requests_per_second = {rate}
count = {count}

[[pool]]
chip = "h100"
machines = 1
chips_per_machine = 2
policy = "{policy}"
{more}

[slo]
ttft_seconds = 0.5
tpot_seconds = 0.03
"""

SPREADS = ("ttft_seconds", "tbt_seconds", "tpot_seconds", "e2e_seconds")


def cluster_file(folder: Path, rate: float = 4.0, count: int = 200, policy: str = "vllm-v1", more: str = "") -> str:
    path = folder / "small.toml"
    path.write_text(SMALL.format(rate=rate, count=count, policy=policy, more=more))
    return str(path)


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert uarch.cli.run(["cluster", "run", *arguments, "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert isinstance(payload, dict)
    return payload


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert uarch.cli.run(["cluster", "run", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_the_measures_of_a_small_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload = json_of(capsys, cluster_file(tmp_path))
    for name in SPREADS:
        assert set(payload[name]) == {"mean", "p50", "p90", "p99"}
        assert 0 < payload[name]["p50"] <= payload[name]["p90"] <= payload[name]["p99"]
    assert payload["outcome"] == "complete"
    assert payload["keeps_up"] is True
    assert payload["finished"] == payload["requests"] == 200
    assert payload["machines"] == 1
    assert payload["chips"] == 2
    assert payload["cost_normalised"] == pytest.approx(2 / 8)
    assert payload["tdp_watts"] == pytest.approx(2 * 700)
    assert 0 < payload["goodput_requests_per_second"] <= payload["requests_per_second"]
    assert payload["kv_tokens_capacity"][0] > 100_000
    assert payload["energy_per_token_joules"] * 200 < payload["energy_joules"]
    assert payload["mean_watts"] < payload["tdp_watts"]


def test_the_file_of_a_run_has_every_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "run.h5"
    payload = json_of(capsys, cluster_file(tmp_path), "-o", str(output))
    with h5py.File(output) as file:
        rows = file["requests"][:]
        ttft = rows["first_token_seconds"] - rows["arrival_seconds"]
        assert ttft.mean() == pytest.approx(payload["ttft_seconds"]["mean"])
        assert np.percentile(ttft, 90) == pytest.approx(payload["ttft_seconds"]["p90"])
        gaps, seconds = file["gaps/tokens"][:], file["gaps/seconds"][:]
        assert (gaps * seconds).sum() / gaps.sum() == pytest.approx(payload["tbt_seconds"]["mean"], rel=0.005)
        assert file["series/running"].shape == (len(file["series/seconds"]), 2)
        assert json.loads(file.attrs["measures"]) == payload


def test_people_read_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert uarch.cli.run(["cluster", "run", cluster_file(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "ttft" in text
    assert "200 of 200" in text


def test_a_cluster_that_cannot_keep_up_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two replicas deliver some 5,000 tokens a second each; 100 conversations a second want 21,000."""
    path = cluster_file(tmp_path, rate=150.0, count=6000, more="max_sequences = 64")
    payload = json_of(capsys, path)
    assert payload["outcome"] == "complete"
    assert payload["keeps_up"] is False
    assert uarch.cli.run(["cluster", "run", path]) == 0
    assert "does not keep up" in capsys.readouterr().out


def test_a_time_limit_leaves_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(cluster_file(tmp_path))
    path.write_text(path.read_text() + "\n[limits]\nend_seconds = 10.0\n")
    payload = json_of(capsys, str(path))
    assert payload["outcome"] == "time limit"
    assert payload["finished"] < 200


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"policy": "fifo"}, "pool.0.policy = 'fifo': must be 'vllm-v1', 'sarathi', 'orca' or 'splitwise'"),
        ({"more": "tp = 3"}, "chips_per_machine = 2 must be a multiple of tp x ep x pp, 3"),
        ({"more": "kv_tokens = 700"}, "can never fit: pool 1 has KV memory for 688 tokens"),
        ({"more": 'role = "decode"'}, "no machine takes prefills"),
        ({"more": 'role = "prefill"'}, "no machine decodes"),
        ({"more": "kv_tokens = -5"}, "pool.0.kv_tokens = -5: must be greater than or equal to 1"),
        ({"more": 'dispatches = "round-robin"'}, "pool.0.dispatches is not a field; did you mean 'dispatch'?"),
        ({"more": 'step_times = "none.csv"'}, "none.csv: cannot be read"),
        ({"more": 'step_times = "math:none"'}, "step_times = 'math:none': no such function"),
        ({"count": 0}, "requests.count = 0: must be greater than or equal to 1"),
    ],
)
def test_a_cluster_file_that_is_wrong_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], expected: str
) -> None:
    assert expected in error_of(capsys, cluster_file(tmp_path, **fields))


def test_a_malformed_request_file_is_refused_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    requests = tmp_path / "requests.csv"
    requests.write_text("arrival_s,input_tokens,output_tokens\n0,5,5\n1,5,-1\n")
    path = tmp_path / "cluster.toml"
    path.write_text(f'model = "llama-3-8b"\nrequests = "{requests}"\n[[pool]]\nchip = "h100"\nmachines = 1\n')
    assert "requests.csv: line 3: output_tokens = -1" in error_of(capsys, str(path))


def test_unknown_clusters_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "llama-70b-colocated" in error_of(capsys, "llama-70b-collocated")


@pytest.mark.parametrize("name", ["llama-70b-colocated", "llama-70b-disaggregated"])
def test_shipped_clusters_keep_up(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    payload = json_of(capsys, name)
    assert payload["keeps_up"] is True
    assert payload["finished"] == payload["requests"]


def test_a_python_function_gives_the_step_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """50 ms a step, whatever is in it, and 0.3 ms of the host: every token after the first takes as long."""
    (tmp_path / "my_steps.py").write_text("def fixed(sequences, decodes, contexts, tokens, pairs):\n    return 0.05\n")
    monkeypatch.syspath_prepend(tmp_path)
    payload = json_of(capsys, cluster_file(tmp_path, more='step_times = "my_steps:fixed"'))
    assert payload["tpot_seconds"]["p50"] == pytest.approx(0.0503)
    assert payload["tbt_seconds"]["mean"] == pytest.approx(0.0503)
    assert payload["tbt_seconds"]["p99"] == pytest.approx(0.0503, rel=0.003)
