"""A stream with arithmetic: what it reads, and what the arithmetic costs."""

from __future__ import annotations

import pytest

from uarch.chip_file import load_chip
from uarch.energy.per_event import event_energies
from uarch.energy.supply_voltage import operating_point
from uarch.errors import InputError
from workloads.single.stream import simulate_stream

CHIP = load_chip("h100", ["core.count=4"])
ROWS = 256
BYTES = ROWS * 8192 * 2


def test_a_stream_reads_everything_once_and_writes_nothing() -> None:
    run = simulate_stream(CHIP, ROWS)
    assert run.dram_bytes == BYTES
    assert run.joules_by_component["matrix"] == run.joules_by_component["vector"] == 0


def test_arithmetic_costs_its_instructions() -> None:
    """A quarter of a fused multiply-add for each byte, at the voltage at which the kernel ran."""
    run = simulate_stream(CHIP, ROWS, fma_per_byte=0.25)
    voltage = operating_point(CHIP, run.tensor_hz / CHIP.clock.tensor_hz).core_energy
    expected = BYTES / 4 * event_energies(CHIP, "fp16")["vector_op"].pj * voltage * 1e-12
    assert run.joules_by_component["vector"] == pytest.approx(expected)


def test_negative_intensities_are_refused() -> None:
    with pytest.raises(InputError, match=r"^fma_per_byte = -1: must be from 0 to 10000$"):
        simulate_stream(CHIP, ROWS, fma_per_byte=-1)
