"""How time changes with the chip: exactly with all clocks together, and hardly ever the wrong way with one part.

Greedy schedules have anomalies (Graham, 1969): a part that is faster changes who comes first, and that may lengthen the
whole. The bounds below are what the worst of thousands of kernels of a few microseconds came to, rounded up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import uarch.engine.execute
from kernels.gemm.gemm import GemmMapping
from kernels.program.tile_program import TileProgram
from tests.support.small_programs import chips, gemm_program, programs, small_chip
from uarch.chip.schema import Chip
from uarch.dram.channels.interface import DramTiming
from uarch.dram.channels.tile_timing import TileTiming
from uarch.engine.execute import KernelResult, execute
from uarch.engine.l2 import L2State
from uarch.engine.machine import Machine, lower, lower_dram
from uarch.events import Cause, Event

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
kernels = programs(40 if WITHOUT_JIT else 200)
ONE_PS = 1 << 20
"""The rate of one picosecond per unit."""


class Lowered(NamedTuple):
    """A chip as the engine sees it."""

    machine: Machine
    dram: DramTiming

    def slower(self, factor: int) -> Lowered:
        """Every clock and bandwidth divided by ``factor``, every latency multiplied by it."""
        times = {name: getattr(self.machine, name) * factor for name in times_of(self.machine)}
        dram_times = {name: getattr(self.dram, name) * factor for name in times_of(self.dram)}
        if isinstance(self.dram, TileTiming):  # a refresh that never comes is as far away as an int64 allows
            dram_times["refresh_interval_ps"] = min(dram_times["refresh_interval_ps"], 2**62)
        return Lowered(self.machine._replace(**times), self.dram._replace(**dram_times))

    def in_whole_picoseconds(self) -> Lowered:
        """A similar machine none of whose times is rounded."""
        rates = {name: max(1, round(getattr(self.machine, name) / ONE_PS)) * ONE_PS for name in rates_of(self.machine)}
        latency_ps = self.machine.l2_latency_ps // 2 * 2
        dram = {name: max(1, round(getattr(self.dram, name) / ONE_PS)) * ONE_PS for name in rates_of(self.dram)}
        if isinstance(self.dram, TileTiming):  # a multiple of the channel groups, which refresh one after the other
            dram["refresh_interval_ps"] = self.dram.refresh_interval_ps // self.dram.units * self.dram.units
        return Lowered(
            self.machine._replace(l2_latency_ps=latency_ps, **rates),
            self.dram._replace(**dram),
        )


def rates_of(values: Machine | DramTiming) -> list[str]:
    """Times per unit; see ``uarch.picoseconds``."""
    return [name for name in values._fields if name.endswith(("_cycle", "_byte", "_op")) or name in ("byte", "tick")]


def times_of(values: Machine | DramTiming) -> list[str]:
    """All that is a time, in picoseconds or as a rate."""
    return rates_of(values) + [name for name in values._fields if name.endswith("_ps")]


@contextmanager
def engine_with(lowered: Lowered) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uarch.engine.execute, "lower", lambda chip, dtype: lowered.machine)
        patch.setattr(uarch.engine.execute, "lower_dram", lambda chip, fidelity, check_share: lowered.dram)
        yield


def executed(chip: Chip, program: TileProgram, lowered: Lowered) -> tuple[KernelResult, L2State]:
    with engine_with(lowered):
        return execute(chip, program)


def test_every_field_of_the_machine_is_a_count_a_size_or_a_time() -> None:
    """A new time that is not named like one would not be scaled, and the next test would prove nothing of it."""
    lowered = Lowered(lower(small_chip(), "fp16"), lower_dram(small_chip(), "tile"))
    counts = {"cores", "max_resident_blocks", "lanes", "rows", "cols", "register_tile", "dataflow", "mac_stages"}
    counts |= {
        "multicast_cores",
        "l2_groups",
        "l1_bytes",
        "register_bytes",
        "l2_group_bytes",
        "l2_partitions",
        "l2_eager",
    }
    assert set(lowered.machine._fields) - set(times_of(lowered.machine)) == counts
    places = {"place", "locations", "bursts", "burst_bytes"}
    places_of_tile = places | {"bank_sets", "set_bits", "set_banks", "stacks"}
    queues = {"queue", "high_bursts", "low_bursts", "refresh_closes"}
    assert set(lowered.dram._fields) - set(times_of(lowered.dram)) == places_of_tile | queues
    burst = lower_dram(small_chip(), "burst")
    assert set(burst._fields) - set(times_of(burst)) == places | {"idle_channel"}


@given(kernels, chips(), st.sampled_from(["tile", "burst"]), st.integers(2, 5))
def test_a_machine_that_is_slower_throughout_takes_exactly_as_much_longer(
    program: TileProgram, chip: Chip, fidelity: str, factor: int
) -> None:
    """Time has no scale of its own: not a picosecond of the schedule changes but by the factor."""
    fast = Lowered(lower(chip, "fp16"), lower_dram(chip, fidelity)).in_whole_picoseconds()
    result, state = executed(chip, program, fast)
    slow_result, slow_state = executed(chip, program, fast.slower(factor))
    assert slow_result.total_ps == factor * result.total_ps
    np.testing.assert_array_equal(slow_result.causes_ps, factor * result.causes_ps)
    events = result.events.copy()
    events[Event.DRAM_BUS_PS] *= factor
    np.testing.assert_array_equal(slow_result.events, events)
    assert slow_state.key() == state.key()


@pytest.mark.compiled("too large for the interpreter")
def test_doubling_all_of_a_chip_halves_the_time() -> None:
    """The same through the chip file, within 0.5 %: latencies are rounded to picoseconds, which changes who comes first.

    Those of DRAM, which are the standard's, are halved in lowered form.
    """
    chip = small_chip()
    fast = chip.model_copy(
        update={
            "clock": chip.clock.model_copy(update={name: 2 * value for name, value in chip.clock if value is not None}),
            "launch": chip.launch.model_copy(update={name: value / 2 for name, value in chip.launch}),
            "noc": chip.noc.model_copy(update={"multicast_seconds": chip.noc.multicast_seconds / 2}),
            "core": chip.core.model_copy(update={"block_launch_seconds": chip.core.block_launch_seconds / 2}),
            "l2": chip.l2.model_copy(update={"latency_seconds": chip.l2.latency_seconds / 2}),
            "memory": chip.memory.model_copy(
                update={
                    "bandwidth_bytes_per_second": 2 * chip.memory.bandwidth_bytes_per_second,
                    "latency_seconds": chip.memory.latency_seconds / 2,
                }
            ),
        }
    )
    program = gemm_program(700, 900, 1100, GemmMapping(64, 64, 64, 4))
    result, _ = execute(chip, program)
    dram = lower_dram(chip, "tile")
    halved = {name: getattr(dram, name) // 2 for name in times_of(dram)}
    fast_result, _ = executed(fast, program, Lowered(lower(fast, "fp16"), dram._replace(**halved)))
    assert 2 * fast_result.total_ps == pytest.approx(result.total_ps, rel=5e-3)


def improved(chip: Chip, section: str, field: str, factor: float) -> Chip:
    part = getattr(chip, section)
    value = getattr(part, field)
    return chip.model_copy(update={section: part.model_copy(update={field: type(value)(value * factor)})})


IMPROVEMENTS = {
    "memory bandwidth": ("memory", "bandwidth_bytes_per_second", 2.0),
    "L2 size": ("l2", "bytes", 2),
    "L2 bandwidth": ("l2", "bytes_per_cycle_per_slice", 2.0),
    "port bandwidth": ("noc", "read_bytes_per_cycle_per_core", 2.0),
    "cores": ("core", "count", 2),
    "a few more cores": ("core", "count", 1.3),
}


@pytest.mark.parametrize("improvement", IMPROVEMENTS)
@given(program=kernels, chip=chips())
def test_more_of_one_part_never_slows_a_fixed_program_much(improvement: str, program: TileProgram, chip: Chip) -> None:
    """At most 10 %, and that where a few blocks run for microseconds.

    Refreshes are left out: they come at fixed times, and a kernel that is faster may end just behind one instead of
    before it. One more refresh is the difference then.
    """
    better = improved(chip, *IMPROVEMENTS[improvement])
    times_ps = []
    for variant in (chip, better):
        dram = lower_dram(variant, "tile")._replace(refresh_interval_ps=10**15)
        times_ps.append(executed(variant, program, Lowered(lower(variant, "fp16"), dram))[0].total_ps)
    assert times_ps[1] <= 1.1 * times_ps[0]


@pytest.mark.compiled("too large for the interpreter")
@pytest.mark.parametrize(
    ("m", "n", "k", "improvement"),
    [(*shape, name) for shape in ((64, 2048, 2048), (1024, 1024, 512)) for name in IMPROVEMENTS],
)
def test_more_of_one_part_never_slows_a_larger_kernel(improvement: str, m: int, n: int, k: int) -> None:
    """Hundreds of blocks: anomalies average out to less than 2 %, refreshes included."""
    program = gemm_program(m, n, k, GemmMapping(64, 64, 64, 4, raster_rows=4))
    chip = small_chip()
    before, _ = execute(chip, program)
    after, _ = execute(improved(chip, *IMPROVEMENTS[improvement]), program)
    assert after.total_ps <= 1.02 * before.total_ps


@pytest.mark.compiled("too large for the interpreter")
def test_what_bounds_a_kernel_is_what_speeds_it_up() -> None:
    """A GEMM of few rows waits for DRAM, so that twice the bandwidth helps and twice the cores do not; a square one
    computes, the other way round.
    """
    slow_memory, fast_memory = (small_chip("h100", f"memory.bandwidth_bytes_per_second={b}") for b in (60e9, 500e9))
    streaming = gemm_program(64, 2048, 4096, GemmMapping(64, 64, 64, 4))
    computing = gemm_program(1024, 1024, 2048, GemmMapping(128, 128, 64, 3, raster_rows=8))
    for chip, program, cause, helps, helps_not in (
        (slow_memory, streaming, Cause.DRAM, "memory bandwidth", "cores"),
        (fast_memory, computing, Cause.MATRIX, "cores", "memory bandwidth"),
    ):
        result, _ = execute(chip, program)
        assert max(Cause, key=result.cause_seconds) == cause
        faster, _ = execute(improved(chip, *IMPROVEMENTS[helps]), program)
        no_faster, _ = execute(improved(chip, *IMPROVEMENTS[helps_not]), program)
        assert faster.total_ps < 0.65 * result.total_ps
        assert no_faster.total_ps > 0.9 * result.total_ps
