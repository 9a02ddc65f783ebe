"""The presets against published figures.

Exercised with it: die and voltage.
"""

from __future__ import annotations

import pytest

from uarch.chip_file import load_chip, preset_names
from uarch.energy.tables_on_disk import energy_table_names
from uarch.power.cap import highest_clock_ratio
from uarch.silicon.tdp import tdp_watts

# SPAD (arXiv 2510.08544), Table 3: PFLOP/s fp16, TFLOP/s fp32, MB on chip, GB/s, GB, W. Its figures have two or three
# digits, and its megabytes are not all binary: 1.5 % covers both.
SPAD_TABLE_3 = {
    "spad-prefill": (1.92, 32.4, 73, 2048, 64, 596),
    "spad-decode": (0.54, 18.2, 48, 3352, 80, 507),
    "spad-h100": (0.99, 66.9, 84, 3352, 80, 700),
}

# The vendors' data sheets: TFLOP/s fp16 dense with fp32 accumulation, TFLOP/s fp32, GB/s, W.
DATA_SHEETS = {
    "h100": (989.4, 66.9, 3352, 700),
    "h200": (989.4, 66.9, 4800, 700),
    "a100": (312, 19.5, 2039, 400),
    "a100-pcie": (312, 19.5, 1935, 300),
    "a40": (149.7, 37.4, 696, 300),
    "rtx-a6000": (154.8, 38.7, 768, 300),
    "rtx-4090": (165.2, 82.6, 1008, 450),
    "mi210": (181.0, 22.6, 1638, 300),
}
# TOP/s int8 and TFLOP/s tf32 over fp16's, where not 2 and 1/2: fp16 with fp32 accumulation is halved on the RTX 4090; CDNA 2
# has no faster int8, and fp32 instead of tf32.
INT8_AND_TF32 = {"rtx-4090": (4, 0.5), "mi210": (1, None)}
BOOSTED = ("h200",)
"""Chips whose file has the clock of the data sheet's tensor FLOP/s, and that of its fp32 as the highest."""


def test_presets() -> None:
    assert preset_names() == sorted([*SPAD_TABLE_3, *DATA_SHEETS])


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
    tflops, vector_tflops, gigabytes_per_second, watts = DATA_SHEETS[name]
    int8, tf32 = INT8_AND_TF32.get(name, (2, 0.5))
    chip = load_chip(name)
    assert chip.kind == "silicon"
    assert chip.peak_flops("fp16") == pytest.approx(tflops * 1e12, rel=1e-3)
    assert chip.peak_flops("bf16") == chip.peak_flops("fp16")
    assert chip.peak_flops("int8") == int8 * chip.peak_flops("fp16")
    assert tf32 is None or chip.peak_flops("tf32") == tf32 * chip.peak_flops("fp16")
    boost = highest_clock_ratio(chip) if name in BOOSTED else 1.0
    assert boost * chip.peak_vector_flops == pytest.approx(vector_tflops * 1e12, rel=2e-3)
    assert chip.memory.bandwidth_bytes_per_second == gigabytes_per_second * 1e9
    assert chip.power.tdp_watts == watts


@pytest.mark.parametrize("name", preset_names())
def test_parts_of_a_preset_fit_together(name: str) -> None:
    chip = load_chip(name)
    core, memory = chip.core, chip.memory
    assert chip.name == name
    assert chip.sources
    assert chip.energy.table in energy_table_names()
    # the arrays of all lanes can stream one fp16 operand each
    assert core.l1.banks * core.l1.bank_bytes == core.lanes * core.systolic.rows * 2
    # the standard's name ends with the data rate of a pin in Mb/s; parts may be run below their grade
    grade = int(memory.standard.split("-")[1]) * 1e6
    assert 0.9 * grade < chip.bits_per_second_per_pin < 1.01 * grade
    assert memory.technology == memory.standard.split("-")[0]
    assert memory.channels % memory.packages == 0
    assert chip.l2_bytes_per_second > memory.bandwidth_bytes_per_second
