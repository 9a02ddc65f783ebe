"""``--energy``, and what kernels and runs say about energy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import uarch.cli
from tests.support.tiny_model import write_tiny_llama
from uarch.events import COMPONENTS

CHIP = ["--chip", "h100", "--set", "core.count=4", "--fidelity", "analytical"]
KERNEL = ["kernel", "gemm", *CHIP, "-m", "128", "-n", "128", "-k", "256"]
TABLE = 'name = "mine"\nbase = "n4"\n[link_byte]\npj = 1.0\nlow = 1.0\nhigh = 1.0\nsource = "test"\n'
MAC = '[matrix_mac.fp16]\npj = 53.9\nlow = 53.0\nhigh = 55.0\nsource = "test"\n'


def payload_of(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> dict[str, Any]:
    assert uarch.cli.run([*arguments, "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert isinstance(payload, dict)
    return payload


def test_a_kernel_with_ones_own_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TABLE + MAC)
    arguments = [*KERNEL, "--set", "power.cap=false"]
    shipped, own = payload_of(capsys, arguments), payload_of(capsys, [*arguments, "--energy", str(path)])
    joules = own["joules_by_component"]
    assert joules["matrix"] == pytest.approx(100 * shipped["joules_by_component"]["matrix"])
    assert joules["static"] > shipped["joules_by_component"]["static"]  # a die that draws more is warmer
    changed = {"matrix", "static"}
    assert {name: joules[name] for name in joules if name not in changed} == {
        name: value for name, value in shipped["joules_by_component"].items() if name not in changed
    }
    assert own["seconds"] == shipped["seconds"]
    for payload in (shipped, own):
        assert set(payload["joules_by_component"]) == set(COMPONENTS)
        assert payload["energy_joules"] == pytest.approx(sum(payload["joules_by_component"].values()))
        assert payload["energy_low_joules"] < payload["energy_joules"] < payload["energy_high_joules"]
        assert payload["average_power_watts"] == pytest.approx(payload["energy_joules"] / payload["seconds"])
        assert payload["tensor_hz"] == 1.83e9


def test_a_run_has_ranges_and_components_of_every_operator(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = str(write_tiny_llama(tmp_path))
    run = ["run", *CHIP, "--model", model, "--phase", "decode", "--batch", "1", "--seq", "32"]
    payload, newer = payload_of(capsys, [*run, "--energy", "n7"]), payload_of(capsys, run)
    assert payload["energy_matrix_joules"] > newer["energy_matrix_joules"]
    for name in ("energy_{}joules", "average_power_{}watts", "energy_per_token_{}joules"):
        low, expected, high = (payload[name.format(end)] for end in ("low_", "", "high_"))
        assert low < expected < high
    for component in COMPONENTS:
        total = sum(operator["joules_by_component"][component] for operator in payload["layers"])
        assert total == pytest.approx(payload[f"energy_{component}_joules"])


def test_people_see_the_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert uarch.cli.run(KERNEL) == 0
    shown = capsys.readouterr().out
    assert " J to " in shown.replace("mJ", "J").replace("µJ", "J")
    assert "expected" in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('base = "n3"\nname = "mine"', "energy table mine: base = 'n3': no such table; "),
        (TABLE + "[vector_ops]\npj = 1", "energy table mine: vector_ops is not a field; did you mean 'vector_op'?"),
        (TABLE + "[scale.logic]\nfactor = 1", "energy table mine: scale.logic.low is missing (and 4 more)"),
        (TABLE.replace("low = 1.0", "low = 2.0"), "link_byte = "),
        (TABLE.replace('base = "n4"', "base = 4"), "energy table mine: base = 4: must be a valid string"),
    ],
)
def test_a_wrong_table_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert uarch.cli.run([*KERNEL, "--energy", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert expected in error
    assert error.count("\n") == 1
