"""``uarch models``: JSON with units, tables for people, and one line for a mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import uarch.cli
import workloads.models.presets
from workloads.models.architectures import ARCHITECTURES
from workloads.models.presets import load_model, model_names

pytestmark = pytest.mark.once("commands: no kernel that other tests do not run")

LLAMA_JSON = Path(workloads.models.presets.__file__).parent / "configs" / "llama-3-8b.json"


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert uarch.cli.run(["models", *arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    payload = json.loads(captured.out)
    assert isinstance(payload, dict)
    return payload


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert uarch.cli.run(["models", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_models_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    payload = json_of(capsys)
    assert [model["name"] for model in payload["models"]] == model_names()
    assert payload["architectures"] == list(ARCHITECTURES)
    for model in payload["models"]:
        assert model["parameters"] == load_model(model["name"]).total_parameters


def test_one_model_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Llama-3-8B: 2 bytes of each parameter; K and V of 32 layers, 8 heads of 128."""
    payload = json_of(capsys, "llama-3-8b")
    expected = {
        "name": "llama-3-8b",
        "architecture": "LlamaForCausalLM",
        "n_layers": 32,
        "kv_heads": 8,
        "parameters": 8_030_261_248,
        "fp16_weight_bytes": 16_060_522_496,
        "fp16_kv_bytes_per_token": 2 * 32 * 8 * 128 * 2,
        "tp_degrees": [1, 2, 4, 8, 16, 32],
    }
    assert {key: payload[key] for key in expected} == expected


def test_a_file_is_a_model_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "my-llama" / "config.json"
    path.parent.mkdir()
    path.write_text(LLAMA_JSON.read_text())
    assert json_of(capsys, str(path)) == {**json_of(capsys, "llama-3-8b"), "name": "my-llama"}


def test_models_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert uarch.cli.run(["models"]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if "llama-3-70b" in line)
    assert all(cell in row for cell in ("70.55 B", "64 / 8 KV", "28672 gated", "131.4 GiB", "320 KiB"))
    assert all(known in out for known in ARCHITECTURES)


def test_one_model_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert uarch.cli.run(["models", "bloom-176b"]) == 0
    out = capsys.readouterr().out
    lines = {" ".join(line.split()) for line in out.splitlines()}
    assert {"parameters 176,247,271,424", "tied embeddings yes", "gated ffn no"} <= lines


def test_mistakes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "did you mean 'llama-3-8b'" in error_of(capsys, "llama-3-8")
    path = tmp_path / "config.json"
    path.write_text(LLAMA_JSON.read_text().replace("LlamaForCausalLM", "OtherForCausalLM"))
    assert "architectures = 'OtherForCausalLM': not supported" in error_of(capsys, str(path))
    path.write_text(LLAMA_JSON.read_text()[:100])
    assert "not valid JSON" in error_of(capsys, str(path))
