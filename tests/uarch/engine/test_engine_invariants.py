"""What holds for every execution: nothing is lost, nothing is free, time and energy add up."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import Box, ProgramWriter, Slot, TileProgram
from results.analysis.energy_range import total_range
from tests.support.small_programs import chips, gemm_program, programs, small_chip
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.energy.account import component_ranges, energy_joules
from uarch.energy.per_event import event_energies
from uarch.energy.static_power import dram_background_watts, static_watts
from uarch.engine.execute import execute, resident_blocks
from uarch.engine.l2 import L2State
from uarch.engine.machine import lower
from uarch.engine.roofline import compulsory_traffic, execute_analytically
from uarch.events import COMPONENTS, Cause, Event
from uarch.program.records import NONE, OUT, Function

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
kernels = programs(40 if WITHOUT_JIT else 200)
launches = st.sampled_from([0.0, 1e-6])
fidelities = st.sampled_from(["tile", "burst"])


def with_ample_l2(chip: Chip) -> Chip:
    """The same chip with an L2 that holds all of a small kernel, however unevenly its groups are used, and keeps it."""
    return chip.model_copy(update={"l2": chip.l2.model_copy(update={"bytes": 1 << 26, "eager_write_back": False})})


def rows_set(state: L2State, field: str) -> int:
    """Bytes of the rows in which a bit of ``field`` is set."""
    rows = [
        int(value).bit_count() if value >= 0 else (int(value) + 2**64).bit_count() for value in state.records[field]
    ]
    return int((np.array(rows, np.int64) * state.records["row_bytes"]).sum())


@given(kernels, chips(), launches, fidelities)
def test_all_work_is_done_and_all_time_is_accounted_for(
    program: TileProgram, chip: Chip, launch_seconds: float, fidelity: str
) -> None:
    result, _ = execute(chip, program, launch_seconds=launch_seconds, fidelity=fidelity)
    vector = program.executions() * ~program.is_matrix()
    assert result.count(Event.MACS) == program.macs == program.useful_flops // 2 + program.padding_macs
    assert result.count(Event.STEPS) == program.dynamic_steps
    assert result.count(Event.VECTOR_OPS) == (vector * program.steps["vector_ops"]).sum()
    assert result.count(Event.SPECIAL_OPS) == (vector * program.steps["special_ops"]).sum()

    assert (result.causes_ps >= 0).all()
    assert result.causes_ps.shape == (chip.core.count, len(Cause))
    assert set(result.causes_ps.sum(axis=1)) == {result.total_ps}
    assert result.causes_ps[:, Cause.LAUNCH].min() >= launch_seconds * 1e12
    assert result.causes_ps[:, Cause.LINK].sum() == 0


@given(kernels, chips(), fidelities)
def test_traffic_is_at_least_compulsory(program: TileProgram, chip: Chip, fidelity: str) -> None:
    """DRAM delivers what is used, L2 delivers what the ports take (but for shared responses), ports what the boxes hold."""
    result, _ = execute(chip, program, fidelity=fidelity)
    compulsory = compulsory_traffic(program)
    assert result.count(Event.DRAM_READ_BYTES) >= compulsory.read_bytes
    box = program.operands["n_batch"] * program.operands["n_rows"] * program.operands["n_cols"]
    bits = np.where(program.operands["tensor"] == NONE, 0, program.tensors["element_bits"][program.operands["tensor"]])
    moved_bytes = (program.executions()[:, None] * ((box * bits + 7) // 8)).sum(axis=0)
    assert result.count(Event.NOC_BYTES) == moved_bytes.sum()
    assert result.count(Event.L2_WRITE_BYTES) == moved_bytes[OUT]
    read_bytes = moved_bytes.sum() - moved_bytes[OUT]
    sharers = chip.noc.multicast_cores * resident_blocks(lower(chip, "fp16"), program, chip.name)
    assert read_bytes / sharers <= result.count(Event.L2_READ_BYTES) <= read_bytes
    assert result.count(Event.LINK_BYTES) == 0


@given(kernels, chips(), fidelities)
def test_what_is_written_is_in_l2_or_has_gone_to_dram(program: TileProgram, chip: Chip, fidelity: str) -> None:
    """Also if L2 is too small; whole rows of granules count, so that a row evicted half written counts twice."""
    written_bytes = compulsory_traffic(program).written_bytes
    result, state = execute(chip, program, fidelity=fidelity)
    assert rows_set(state, "dirty") + result.count(Event.DRAM_WRITE_BYTES) >= written_bytes
    assert rows_set(state, "valid") == state.resident_bytes <= chip.l2.bytes

    result, state = execute(with_ample_l2(chip), program, fidelity=fidelity)
    assert result.count(Event.DRAM_WRITE_BYTES) == 0
    assert rows_set(state, "dirty") == written_bytes


@given(kernels, chips(), launches)
def test_the_roofline_is_never_beaten(program: TileProgram, chip: Chip, launch_seconds: float) -> None:
    result, _ = execute(chip, program, launch_seconds=launch_seconds)
    bound = execute_analytically(chip, program, launch_seconds=launch_seconds)
    assert result.total_ps >= bound.total_ps
    assert result.seconds >= program.macs / (chip.peak_flops("fp16") / 2)
    assert bound.count(Event.MACS) == result.count(Event.MACS)
    assert set(bound.causes_ps.sum(axis=1)) == {bound.total_ps}


@given(kernels, chips(), fidelities)
def test_equal_inputs_give_equal_outputs_and_stay_as_they_are(program: TileProgram, chip: Chip, fidelity: str) -> None:
    before, dumped = program.key(), chip.model_dump_json()
    _, warm = execute(chip, program, fidelity=fidelity)
    warm_before = warm.key(), warm.records.tobytes()
    first, state = execute(chip, program, warm, fidelity=fidelity)
    again, state_again = execute(chip, program, warm, fidelity=fidelity)
    assert first.total_ps == again.total_ps
    np.testing.assert_array_equal(first.causes_ps, again.causes_ps)
    np.testing.assert_array_equal(first.events, again.events)
    assert state.key() == state_again.key()
    assert state.records.tobytes() == state_again.records.tobytes()
    assert (program.key(), chip.model_dump_json()) == (before, dumped)
    assert (warm.key(), warm.records.tobytes()) == warm_before


@given(kernels, chips())
def test_energy_is_events_times_table_plus_static_power(program: TileProgram, chip: Chip) -> None:
    result, _ = execute(chip, program)
    energy = energy_joules(chip, result, "fp16")
    each = {event: entry.pj for event, entry in event_energies(chip, "fp16").items()}
    activates = result.count(Event.DRAM_ROW_MISSES)
    refreshes = result.count(Event.DRAM_REFRESHES)
    pj = {
        "matrix": result.count(Event.MACS) * each["matrix_mac"],
        "vector": result.count(Event.VECTOR_OPS) * each["vector_op"]
        + result.count(Event.SPECIAL_OPS) * each["special_op"],
        "l1": result.count(Event.L1_BYTES) * each["l1_byte"],
        "l2": (result.l2_bytes + result.dram_bytes)
        * each["l2_byte"],  # what misses is written, what is written back read
        # what several cores share leaves L2 once and is copied near them
        "noc": result.l2_bytes * each["noc_byte"]
        + (result.count(Event.NOC_BYTES) - result.l2_bytes) * each["noc_copy_byte"],
        "dram": result.count(Event.DRAM_READ_BYTES) * each["dram_read_byte"]
        + result.count(Event.DRAM_WRITE_BYTES) * each["dram_write_byte"]
        + activates * each["dram_activate"]
        + refreshes * each["dram_refresh"]
        + dram_background_watts(chip) * result.seconds * 1e12,
        "link": result.count(Event.LINK_BYTES) * each["link_byte"],
    }
    pj["static"] = static_watts(chip, result.point, sum(pj.values()) * 1e-12 / result.seconds) * result.seconds * 1e12
    assert set(energy) == set(COMPONENTS)
    for component, expected in pj.items():
        assert energy[component] == pytest.approx(expected * 1e-12, rel=1e-12), component
    total, (low, high) = sum(energy.values()), total_range(energy, component_ranges(chip, "fp16"))
    ends = component_ranges(chip, "fp16")
    assert sum(energy[name] * ends[name].low for name in energy) <= low * (1 + 1e-12) <= total * (1 + 1e-9)
    assert total <= high * (1 + 1e-9) <= sum(energy[name] * ends[name].high for name in energy) * (1 + 1e-9)


@given(kernels, chips())
def test_a_warm_l2_that_holds_everything_needs_no_dram(program: TileProgram, chip: Chip) -> None:
    ample = with_ample_l2(chip)
    cold, state = execute(ample, program)
    warm, _ = execute(ample, program, state)
    assert warm.count(Event.DRAM_READ_BYTES) == warm.count(Event.L2_MISSES) == 0
    assert warm.count(Event.DRAM_WRITE_BYTES) == 0
    assert warm.total_ps <= cold.total_ps * 1.02  # who asks first is served first, so that little can go the other way


@given(kernels, chips())
def test_a_warm_l2_of_any_size_needs_hardly_more_than_a_cold_one(program: TileProgram, chip: Chip) -> None:
    """LRU over a working set larger than L2 may keep the wrong part: a fifth more was the worst of thousands."""
    cold, state = execute(chip, program)
    warm, _ = execute(chip, program, state)
    assert warm.count(Event.DRAM_READ_BYTES) <= 1.25 * cold.count(Event.DRAM_READ_BYTES)


def test_a_small_gemm_twice_reads_dram_once() -> None:
    """64 x 96 x 80: 22.5 KB of operands, which stay in L2."""
    program = gemm_program(64, 96, 80, GemmMapping(32, 32, 32, 2))
    chip = small_chip()
    cold, state = execute(chip, program)
    assert cold.count(Event.DRAM_READ_BYTES) == 2 * (64 * 80 + 80 * 96)
    warm, again = execute(chip, program, state)
    assert warm.count(Event.DRAM_READ_BYTES) == 0
    assert again.resident_bytes == state.resident_bytes == 2 * (64 * 80 + 80 * 96 + 64 * 96)
    assert warm.total_ps < cold.total_ps


def test_rows_of_which_single_ones_are_read_are_compulsory_alone() -> None:
    """The last of 40 positions in each of 8 sequences: 8 rows of 96 elements, and B."""
    space = AddressSpace()
    a, b = space.allocate("a", 40, 96, 16, batch=8), space.allocate("b", 96, 32, 16)
    c = space.allocate("c", 40, 32, 16, batch=8)
    last_a, last_c = (Operand(tensor, row=39, per_batch=True) for tensor in (a, c))
    mapping = GemmMapping(16, 32, 32, 2)
    program = gemm("last", GemmShape(8, 32, 96), last_a, Operand(b), [Output(last_c, 0, 32)], mapping, space)
    traffic = compulsory_traffic(program)
    assert traffic.read_bytes == 2 * (8 * 96 + 96 * 32)
    assert traffic.written_bytes == 2 * 8 * 32
    result, state = execute(small_chip(), program)
    assert result.count(Event.DRAM_READ_BYTES) == traffic.read_bytes
    assert rows_set(state, "dirty") == traffic.written_bytes


def test_readers_of_a_granule_that_others_fetch_row_by_row() -> None:
    """32 blocks fetch a row each of one granule, 32 more read all of it meanwhile: every row comes once, nobody is lost."""
    space = AddressSpace()
    x = space.allocate("x", 64, 64, 16)
    writer = ProgramWriter("rows", "test", "", "fp16")
    for rows, first_row in ((1, 2 * np.arange(32)), (64, 0)):
        grid = writer.grid(32, 1)
        grid.vector(0, Function.IDENTITY, Box(x, rows, 64, row=first_row), Slot(0), m=rows, n=64)
        grid.resources(stages=1, l1_bytes=1)
    chip = small_chip("h100", "core.count=1", "core.max_resident_blocks=64")
    result, _ = execute(chip, writer.finish(useful_flops=0))
    assert result.count(Event.DRAM_READ_BYTES) == x.size_bytes
    assert result.count(Event.NOC_BYTES) == 32 * 128 + 32 * x.size_bytes
    assert result.causes_ps.sum() == result.total_ps


@pytest.mark.compiled("too large for the interpreter")
@pytest.mark.parametrize(
    ("chip_name", "m", "n", "k"),
    [
        ("h100", 128, 8192, 8192),
        ("h100", 2048, 4096, 2048),
        ("spad-prefill", 128, 8192, 8192),
        ("spad-prefill", 2048, 4096, 2048),
        ("spad-decode", 128, 8192, 8192),
        ("spad-decode", 2048, 4096, 2048),
    ],
)
def test_burst_and_tile_fidelity_agree_on_streams(chip_name: str, m: int, n: int, k: int) -> None:
    """A GEMM that streams its weights, and one that computes: within 6 %, the first from above by uneven channels."""
    program = gemm_program(m, n, k, GemmMapping(128, 128, 64, 4, raster_rows=8))
    chip = load_chip(chip_name)
    tile, burst = (execute(chip, program, fidelity=fidelity)[0] for fidelity in ("tile", "burst"))
    assert burst.total_ps == pytest.approx(tile.total_ps, rel=0.06)
    assert burst.count(Event.DRAM_READ_BYTES) == pytest.approx(tile.count(Event.DRAM_READ_BYTES), rel=0.02)
    activates = [result.count(Event.DRAM_ROW_MISSES) for result in (tile, burst)]
    assert activates[1] == pytest.approx(activates[0], rel=0.15)
