"""``uarch energy``: tables shown, Accelergy's imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import uarch.cli
from uarch.chip_file import load_chip
from uarch.energy.per_event import event_energies
from uarch.energy.tables_on_disk import energy_table_names, load_energy_table

pytestmark = pytest.mark.once("commands: no kernel that other tests do not run")

# An ERT as Accelergy 0.4 writes it; the numbers are made up.
ERT = """\
ERT:
    version: '0.4'
    tables:
      - name: design.chip.PE[0..167].mac
        actions:
          - name: mac_random
            arguments: {}
            energy: 2.0
          - name: mac_gated
            arguments: {}
            energy: 0.1
      - name: design.chip.buffer[1..1]
        actions:
          - name: read
            arguments:
                address_delta: 0
                data_delta: 0
            energy: 8.0
          - name: read
            arguments:
                address_delta: 1
                data_delta: 1
            energy: 24.0
"""
MAPS = ["--map", "matrix_mac.int8=mac.mac_random", "--map", "l2_byte=buffer.read/8"]


@pytest.fixture
def ert(tmp_path: Path) -> Path:
    path = tmp_path / "ERT.yaml"
    path.write_text(ERT)
    return path


def payload_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert uarch.cli.run([*arguments, "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert isinstance(payload, dict)
    return payload


def test_an_ert_becomes_a_table(capsys: pytest.CaptureFixture[str], ert: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    payload = payload_of(capsys, "import", "accelergy", str(ert), *MAPS, "--base", "n4", "-o", str(out))
    assert payload == {"table": str(out), "base": "n4", "events": ["matrix_mac.int8", "l2_byte"]}
    table, base = load_energy_table(str(out)), load_energy_table("n4")
    assert table.name == "mine"
    mac, l2 = table.matrix_mac["int8"], table.l2_byte
    assert (mac.pj, mac.low, mac.high, mac.source) == (2.0, 2.0, 2.0, "ERT.yaml: mac.mac_random")
    assert l2 is not None
    assert (l2.pj, l2.low, l2.high, l2.source) == (2.0, 1.0, 3.0, "ERT.yaml: buffer.read / 8")
    assert {
        name: entry for name, entry in table.entries.items() if name in base.entries and name != "matrix_mac.int8"
    } == {name: entry for name, entry in base.entries.items() if name != "matrix_mac.int8"}
    energies = event_energies(load_chip("h100", [f"energy.table={out}"]), "int8")
    assert energies["l2_byte"] == l2
    assert energies["matrix_mac"] == mac


def test_json_is_read_as_yaml_is(capsys: pytest.CaptureFixture[str], ert: Path, tmp_path: Path) -> None:
    from uarch.files.yaml_reader import read_yaml

    other = tmp_path / "ERT.json"
    other.write_text(json.dumps(read_yaml(ert)))
    tables = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for source, out in zip((ert, other), tables, strict=True):
        payload_of(capsys, "import", "accelergy", str(source), *MAPS, "-o", str(out))
    a, b = (table.read_text().replace(".json", ".yaml") for table in tables)
    assert a.replace('"a"', '"b"') == b


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ("matrix_mac=mac.mac_random", "--map matrix_mac: no such event; did you mean 'matrix_mac."),
        ("l2_byte=mac.mac_randm", "--map l2_byte=mac.mac_randm: not in the ERT; did you mean 'mac.mac_random'?"),
        ("l2_byte", "--map l2_byte: must have the form EVENT=COMPONENT.ACTION"),
        ("l2_byte=buffer.read/0", "--map l2_byte=buffer.read/0: must have the form"),
        ("l2_byte=buffer.read/many", "--map l2_byte=buffer.read/many: must have the form"),
    ],
)
def test_a_wrong_mapping_is_one_line(
    capsys: pytest.CaptureFixture[str], ert: Path, tmp_path: Path, mapping: str, expected: str
) -> None:
    out = tmp_path / "mine.toml"
    assert uarch.cli.run(["import", "accelergy", str(ert), "--map", mapping, "-o", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {expected}")
    assert error.count("\n") == 1
    assert not out.exists()


def test_an_unknown_base_is_one_line(capsys: pytest.CaptureFixture[str], ert: Path, tmp_path: Path) -> None:
    arguments = ["import", "accelergy", str(ert), *MAPS, "--base", "n77", "-o", str(tmp_path / "mine.toml")]
    assert uarch.cli.run(arguments) == 2
    assert capsys.readouterr().err.startswith("error: --base n77: no such table; did you mean")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "energy: 2.0",
            "energy: many",
            "ERT.tables.0.actions.0.energy: must be a number of pJ from 0 to 1e9, not 'many'",
        ),
        ("energy: 2.0", "energy: -1", "ERT.tables.0.actions.0.energy: must be a number of pJ"),
        ("ERT:", "ART:", "has no ERT.tables; allowed: an ERT of Accelergy 0.3 or 0.4"),
        ("name: mac_random", "nome: mac_random", "ERT.tables.0.actions.0.name: must be a text"),
    ],
)
def test_a_wrong_ert_is_one_line(
    capsys: pytest.CaptureFixture[str], ert: Path, tmp_path: Path, old: str, new: str, expected: str
) -> None:
    ert.write_text(ERT.replace(old, new))
    assert uarch.cli.run(["import", "accelergy", str(ert), *MAPS, "-o", str(tmp_path / "mine.toml")]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", energy_table_names())
def test_tables_are_shown_with_ranges_and_sources(capsys: pytest.CaptureFixture[str], name: str) -> None:
    payload = payload_of(capsys, "energy", name)
    assert payload["matrix_mac"]["fp16"]["low"] < payload["matrix_mac"]["fp16"]["pj"]
    assert uarch.cli.run(["energy", name]) == 0
    shown = capsys.readouterr().out
    for text in ("matrix_mac.fp16", "leakage_per_mm2", "ISCA", "pJ"):
        assert text in shown
