"""Files of other tools: what they say is in the chip, what they cannot say is refused in one line.

Exercised with it: import_ and overlay.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uarch.chip_file import load_chip, preset_names
from uarch.cli import run
from uarch.dram.replay.ramulator_trace import is_ramulator_trace, read_ramulator_trace
from uarch.dram.standards.standard import load_standard
from uarch.errors import InputError
from uarch.files.toml_writer import to_toml
from uarch.importers.llmcompass import llmcompass_chip

A100 = {
    "name": "A100 like",
    "device_count": 4,
    "interconnect": {
        "link": {
            "bandwidth_per_direction_byte": 25e9,
            "latency_second": 8.92e-6,
            "flit_size_byte": 16,
            "header_size_byte": 16,
            "max_payload_size_byte": 256,
        },
        "link_count_per_device": 12,
        "topology": "FC",
    },
    "device": {
        "frequency_Hz": 1.41e9,
        "compute_chiplet": {
            "core_count": 108,
            "core": {
                "sublane_count": 4,
                "systolic_array": {"array_width": 16, "array_height": 16, "data_type": "fp16", "mac_per_cycle": 1},
                "vector_unit": {"vector_width": 32, "flop_per_cycle": 4},
                "SRAM_KB": 192,
            },
        },
        "memory_protocol": "HBM2e",
        "io": {
            "global_buffer_MB": 40,
            "global_buffer_bandwidth_per_cycle_byte": 5120,
            "memory_channel_active_count": 5,
            "pin_count_per_channel": 1024,
            "bandwidth_per_pin_bit": 3.2e9,
        },
        "memory": {"total_capacity_GB": 80},
    },
}
"""A template with the A100 of LLMCompass (108 cores, 5 stacks), as its fields are named there."""

SCALESIM = """[architecture_presets]
ArrayHeight: 32
ArrayWidth: 16
IfmapSramSzkB: 64
FilterSramSzkB: 32
OfmapSramSzkB: 16
Bandwidth: 10, 20, 30
Dataflow: ws
[run_presets]
InterfaceBandwidth: USER
"""


def template(folder: Path, change: Callable[[Any], None] = lambda _: None) -> Path:
    content = json.loads(json.dumps(A100))
    change(content)
    path = folder / "template.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_llmcompass_template_becomes_its_chip(tmp_path: Path) -> None:
    assert run(["import", "llmcompass", str(template(tmp_path)), "-o", str(tmp_path / "chip.toml")]) == 0
    chip = load_chip(str(tmp_path / "chip.toml"))
    assert chip.name == "A100-like"
    assert chip.kind == "model"
    assert chip.peak_flops("fp16") == 2 * 108 * 4 * 16 * 16 * 1.41e9  # LLMCompass: 311.9 TFLOP/s
    assert chip.peak_vector_flops == 108 * 4 * 32 * 4 * 1.41e9
    assert chip.peak_special_ops_per_second == pytest.approx(chip.peak_vector_flops / 35)
    assert chip.l2_bytes_per_second == 5120 * 1.41e9
    assert (chip.l2.bytes, chip.core.l1.bytes) == (40 << 20, 192 << 10)
    assert chip.memory.bandwidth_bytes_per_second == 5 * 1024 * 3.2e9 / 8
    assert (chip.memory.standard, chip.memory.channels, chip.bits_per_second_per_pin) == ("hbm2e-3200", 80, 3.2e9)
    assert chip.link.bandwidth_bytes_per_second == 300e9
    assert (chip.link.latency_seconds, chip.link.payload_bytes, chip.link.header_bytes) == (8.92e-6, 256, 16)
    assert chip.core.systolic.dataflow == "os"
    assert chip.power == load_chip("a100").power


def test_what_the_template_lacks_comes_from_another_chip(tmp_path: Path) -> None:
    path = template(tmp_path, lambda content: content.pop("interconnect"))
    text = llmcompass_chip(path, like="h100")
    assert "# core_count of all chiplets" in text
    content = tomllib.loads(text)
    assert content["link"] == load_chip("h100").link.model_dump()
    assert any("h100" in source for source in content["sources"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["device"]["io"].pop("global_buffer_MB"), "device.io.global_buffer_MB is missing"),
        (lambda c: c["device"].update(frequency_Hz="fast"), "device.frequency_Hz = 'fast'"),
        (lambda c: c["device"].update(frequency_Hz=-1), "device.frequency_Hz = -1"),
        (lambda c: c["device"].update(memory_protocol="core rope"), "device.memory_protocol = 'core rope'"),
        (
            lambda c: c["device"]["compute_chiplet"]["core"]["systolic_array"].update(data_type="fp4"),
            "systolic_array.data_type = 'fp4'",
        ),
        (lambda c: c.clear(), "device is missing"),
    ],
)
def test_wrong_templates_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Any], None], words: str
) -> None:
    path = template(tmp_path, change)
    assert run(["import", "llmcompass", str(path), "-o", str(tmp_path / "chip.toml")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "chip.toml").exists()


def test_scalesim_files_become_a_chip_and_a_suite(tmp_path: Path) -> None:
    (tmp_path / "array.cfg").write_text(SCALESIM)
    (tmp_path / "layers.csv").write_text("Layer,M,N,K,\nfirst,20,30,50,\nsecond,7,33,41,1:4,\n")
    arguments = ["-c", str(tmp_path / "array.cfg"), "-t", str(tmp_path / "layers.csv"), "-o", str(tmp_path / "a.toml")]
    assert run(["import", "scalesim", *arguments]) == 0
    chip = load_chip(str(tmp_path / "a.toml"))
    assert (chip.core.count, chip.core.lanes) == (1, 1)
    assert (chip.core.systolic.rows, chip.core.systolic.cols, chip.core.systolic.dataflow) == (32, 16, "ws")
    assert chip.peak_flops("int8") == 2 * 32 * 16 * chip.clock.tensor_hz
    assert chip.core.l1.bytes == (64 + 32 + 16) * 1024
    assert chip.memory.bandwidth_bytes_per_second == 60 * chip.clock.tensor_hz
    suite = (tmp_path / "a.csv").read_text().splitlines()
    assert suite == ["name,M,N,K,dtype", "first,20,30,50,int8", "second,7,33,11,int8"]


@pytest.mark.parametrize("name", preset_names())
def test_chips_survive_being_written(name: str) -> None:
    chip = load_chip(name)
    written = to_toml(chip.model_dump(mode="json"), {"core.count": "a comment"})
    assert tomllib.loads(written) == chip.model_dump(mode="json", exclude_none=True)


VALUES = st.one_of(
    st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
NAMES = st.text("abcxyz_", min_size=1, max_size=4)


@given(
    st.recursive(
        st.dictionaries(NAMES, st.one_of(VALUES, st.lists(VALUES, max_size=3))),
        lambda inner: st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=6,
    )
)
def test_toml_reads_back(table: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(table)) == table


def test_ramulator_traces(tmp_path: Path) -> None:
    standard = load_standard("hbm3-6400")
    path = tmp_path / "trace"
    path.write_text("# load/store\nLD 0x40\nst 128\n\n R 192\n0x100 W\n")
    assert is_ramulator_trace(path)
    stream = read_ramulator_trace(path, standard)
    assert stream.address.tolist() == [64, 128, 192, 256]
    assert stream.is_write.tolist() == [0, 1, 0, 1]
    assert stream.arrival.tolist() == [0, 0, 0, 0]
    path.write_text(f"LD {standard.capacity_bytes + 64}\n")
    assert read_ramulator_trace(path, standard).address.tolist() == [64]


@pytest.mark.parametrize("line", ["LD", "LD LD", "LD -4", "MOVE 5", "0x1 0x2", "LD 1 2"])
def test_wrong_lines_of_ramulator_traces(tmp_path: Path, line: str) -> None:
    (tmp_path / "trace").write_text(f"LD 0\n{line}\n")
    with pytest.raises(InputError, match="line 2"):
        read_ramulator_trace(tmp_path / "trace", load_standard("hbm3-6400"))


def test_dram_command_reads_both_kinds_of_traces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = []
    for text in ("0 R 0\n0 W 64\n0 R 4096\n", "LD 0\nST 64\nLD 0x1000\n"):
        (tmp_path / "trace").write_text(text)
        assert run(["dram", "--standard", "hbm3-6400", "--trace", str(tmp_path / "trace"), "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0] == results[1]
    assert results[0]["requests"] == 3
