"""The presets against published figures."""

from __future__ import annotations

import pytest

from uarch.chip_file import load_chip, preset_names
from uarch.energy import energy_table_names
from uarch.tdp import tdp_watts

# SPAD (arXiv 2510.08544), Table 3: PFLOP/s fp16, TFLOP/s fp32, MB on chip, GB/s, GB, W. Its figures have two or three
# digits, and its megabytes are not all binary: 1.5 % covers both.
SPAD_TABLE_3 = {
    "spad-prefill": (1.92, 32.4, 73, 2048, 64, 596),
    "spad-decode": (0.54, 18.2, 48, 3352, 80, 507),
    "spad-h100": (0.99, 66.9, 84, 3352, 80, 700),
}

# NVIDIA's data sheets: TFLOP/s fp16 dense, TFLOP/s fp32, GB/s.
DATA_SHEETS = {"h100": (989.4, 66.9, 3352), "a100": (312, 19.5, 2039)}


def test_presets() -> None:
    assert preset_names() == ["a100", "h100", "spad-decode", "spad-h100", "spad-prefill"]


@pytest.mark.parametrize("name", SPAD_TABLE_3)
def test_spad_chips_have_the_papers_peaks(name: str) -> None:
    pflops, vector_tflops, megabytes, gigabytes_per_second, gigabytes, watts = SPAD_TABLE_3[name]
    chip = load_chip(name)
    assert chip.kind == "model"
    assert chip.peak_flops("fp16") == pytest.approx(pflops * 1e15, rel=0.01)
    assert chip.peak_vector_flops == pytest.approx(vector_tflops * 1e12, rel=0.005)
    assert chip.on_chip_bytes == pytest.approx(megabytes * 2**20, rel=0.015)
    assert chip.memory.bandwidth_bytes_per_second == gigabytes_per_second * 1e9
    assert chip.capacity_bytes == gigabytes * 2**30
    assert tdp_watts(chip) == pytest.approx(watts, rel=0.01)


@pytest.mark.parametrize("name", DATA_SHEETS)
def test_silicon_has_the_data_sheets_peaks(name: str) -> None:
    tflops, vector_tflops, gigabytes_per_second = DATA_SHEETS[name]
    chip = load_chip(name)
    assert chip.kind == "silicon"
    assert chip.peak_flops("fp16") == pytest.approx(tflops * 1e12, rel=1e-3)
    assert chip.peak_flops("int8") == 2 * chip.peak_flops("fp16")
    assert chip.peak_flops("tf32") == chip.peak_flops("fp16") / 2
    assert chip.peak_vector_flops == pytest.approx(vector_tflops * 1e12, rel=1e-3)
    assert chip.memory.bandwidth_bytes_per_second == gigabytes_per_second * 1e9


@pytest.mark.parametrize("name", preset_names())
def test_parts_of_a_preset_fit_together(name: str) -> None:
    chip = load_chip(name)
    core, memory = chip.core, chip.memory
    assert chip.name == name
    assert chip.sources
    assert chip.energy.table in energy_table_names()
    # the arrays of all lanes can stream one fp16 operand each
    assert core.l1.banks * core.l1.bank_bytes == core.lanes * core.systolic.rows * 2
    # the standard's name ends with the data rate of a pin in Mb/s
    assert chip.bits_per_second_per_pin == pytest.approx(int(memory.standard.split("-")[1]) * 1e6, rel=0.01)
    assert memory.technology == memory.standard.split("-")[0]
    assert memory.bus_bits % memory.channels == 0
    assert memory.channels % memory.packages == 0
    assert chip.l2_bytes_per_second > memory.bandwidth_bytes_per_second
