"""The ``tile`` fidelity: a naive oracle, and the measured times that it rests on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import WITHOUT_JIT
from tests.oracles.tile_channels import NaiveTileChannels
from uarch.chip_file import load_chip, preset_names
from uarch.dram.addresses import AddressMapping, mapping_of
from uarch.dram.interface import enqueue_read, enqueue_write, next_completion, open_dram, pop_completion
from uarch.dram.options import ControllerOptions
from uarch.dram.placement import placement
from uarch.dram.service import MIX_STEPS, service_ticks
from uarch.dram.standards import load_standard, standard_names
from uarch.dram.tile_channels import TileTiming, lower_tile_channels
from uarch.errors import InputError
from uarch.events import Event
from uarch.jit import kernel
from uarch.machine import lower_dram
from uarch.program import GRANULE_BYTES

IntArray = npt.NDArray[np.int64]
NEVER = 2**62
Table = list[tuple[int, int, int, int]]
"""Time in ps, address, bytes, is a write; times not decreasing."""


@kernel
def serve(dram, timing, requests, events):  # type: ignore[no-untyped-def]
    """For each request the time of its completion, or when a write was taken; and completions in order."""
    done_ps, in_order_ps = np.zeros(len(requests), np.int64), np.zeros(len(requests), np.int64)
    for number in range(len(requests)):
        now_ps, address, size_bytes = requests[number, 0], requests[number, 1], requests[number, 2]
        if requests[number, 3]:
            done_ps[number] = enqueue_write(dram, timing, address, size_bytes, now_ps, events)
        else:
            enqueue_read(dram, timing, number, address, size_bytes, now_ps, events)
    count = 0
    while next_completion(dram, timing, NEVER, events) < NEVER:
        in_order_ps[count] = next_completion(dram, timing, NEVER, events)
        done_ps[pop_completion(dram)] = in_order_ps[count]
        count += 1
    return done_ps, in_order_ps[:count]


def served(timing: TileTiming, requests: Table) -> tuple[IntArray, IntArray]:
    events = np.zeros(len(Event), np.int64)
    table = np.array(requests, np.int64).reshape(-1, 4)
    done_ps, in_order_ps = serve(open_dram(timing, len(table)), timing, table, events)
    assert (np.diff(in_order_ps) >= 0).all()
    return done_ps, events


TIMINGS = [
    lower_tile_channels(
        load_standard(name),
        placement(channels, interleave_bytes, hashed=True),
        mapping="interleaved",
        options=ControllerOptions(refresh=refresh),
        bytes_per_second=load_standard(name).bytes_per_second,
        latency_ps=90_000,
    )
    for name, channels, interleave_bytes, refresh in (
        ("hbm3-5200", 32, 512, "all"),
        ("gddr7-32000", 6, 256, "none"),
    )[: 1 if WITHOUT_JIT else None]
]
gaps_ps = st.one_of(st.just(0), st.integers(0, 30_000), st.integers(0, 10_000_000))
"""Between requests: bursts, single requests, and pauses of several refreshes."""
drawn_requests = st.lists(
    st.tuples(gaps_ps, st.integers(0, 400), st.integers(0, 63), st.integers(1, 64), st.booleans()),
    max_size=20 if WITHOUT_JIT else 150,
)
"""Gap, granule, first row of 128 bytes, rows, is a write."""


@given(st.sampled_from(TIMINGS), drawn_requests, st.booleans())
def test_times_are_those_of_the_oracle(
    timing: TileTiming, drawn: list[tuple[int, int, int, int, bool]], whole_granules: bool
) -> None:
    naive, table, expected, now_ps = NaiveTileChannels(timing), [], [], 0
    for gap_ps, granule, first_row, rows, is_write in drawn:
        now_ps += gap_ps
        address, size_bytes = granule * GRANULE_BYTES, GRANULE_BYTES
        if not whole_granules:
            address, size_bytes = address + first_row * 128, min(rows, 64 - first_row) * 128
        table.append((now_ps, address, size_bytes, int(is_write)))
        done_ps, taken_ps = naive.access(address, size_bytes, now_ps, is_write)
        expected.append(taken_ps if is_write else done_ps)
    done, events = served(timing, table)
    assert done.tolist() == expected
    assert events[Event.DRAM_ROW_HITS] == naive.row_hits
    assert events[Event.DRAM_ROW_MISSES] == naive.row_misses
    assert events[Event.DRAM_REFRESHES] == naive.refreshes
    assert events[Event.DRAM_READ_BYTES] == sum(size for _, _, size, is_write in table if not is_write)
    assert events[Event.DRAM_WRITE_BYTES] == sum(size for _, _, size, is_write in table if is_write)


@pytest.mark.compiled("measures long streams")
@pytest.mark.parametrize("chip_name", preset_names())
def test_a_long_stream_reaches_what_the_standard_allows(chip_name: str) -> None:
    chip = load_chip(chip_name)
    timing = lower_dram(chip, "tile")
    assert isinstance(timing, TileTiming)
    granules = 40 * chip.memory.channels
    done_ps, _ = served(timing, [(0, i * GRANULE_BYTES, GRANULE_BYTES, 0) for i in range(granules)])
    fraction = granules * GRANULE_BYTES / (int(done_ps.max()) * 1e-12) / chip.memory.data_bytes_per_second
    refreshing = timing.refresh_ps / timing.refresh_interval_ps
    assert 0.88 * (1 - refreshing) < fraction < 1


@pytest.mark.compiled("measures long streams")
@pytest.mark.parametrize("name", standard_names())
def test_measured_times_obey_the_standard(name: str) -> None:
    """What JEDEC's distances say of each pattern; mappings that alternate between banks as the standard's do."""
    standard = load_standard(name)
    mapping = mapping_of(standard, "interleaved")
    ticks = service_ticks(standard, mapping, ControllerOptions(queue=64), 16, 300)
    jedec, per_clock = standard.timing, standard.command_bus.ticks_per_clock
    burst = max(jedec.nBL, jedec.nCCD_S) * per_clock
    bursts = np.arange(len(ticks.run))
    assert (ticks.run >= 0.999 * bursts * burst).all()  # no run is faster than the data bus
    assert (
        ticks.run[-1] < 1.05 * bursts[-1] * burst
    )  # the longest keeps it busy, as far as 64 requests let the next row open early
    assert (np.diff(ticks.run) >= 0).all()
    assert ticks.open_latency[1] >= (jedec.nCL + jedec.nBL) * per_clock
    assert (ticks.closed_latency[1:] - ticks.open_latency[1:] > 0).all()
    opening = jedec.nRCDRD * per_clock
    assert ticks.closed_latency[1] - ticks.open_latency[1] == pytest.approx(opening, abs=6 * per_clock)
    closing = ticks.conflict_latency[1] - ticks.closed_latency[1]
    assert closing == pytest.approx(jedec.nRP * per_clock, abs=4 * per_clock)
    assert (ticks.write >= 0).all()
    turnaround = (jedec.nRTW + jedec.nCWL + jedec.nBL + jedec.nWTR_L) * per_clock
    assert ticks.write[2, -1] < turnaround  # a switch between reads and writes serves more than one burst
    assert 0.6 * jedec.nRFCab * per_clock < ticks.refresh < 2 * jedec.nRFCab * per_clock


def test_measured_times_are_remembered_on_disk() -> None:
    """A second process reads what the first has measured: the same numbers, to the last bit."""
    from uarch.dram import service

    standard = load_standard("hbm3-5200").model_copy(update={"assumed": {}})
    small = standard.organisation.model_copy(update={"bursts_per_row": 2, "banks_per_group": 2, "bank_groups": 2})
    standard = standard.model_copy(update={"organisation": small})
    first = service_ticks(standard, "ro-sid-ba-bg-co", ControllerOptions(refresh="none"), 2, 300)
    service._service_ticks.cache_clear()
    second = service_ticks(standard, "ro-sid-ba-bg-co", ControllerOptions(refresh="none"), 2, 300)
    assert first is not second
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.write.shape == (MIX_STEPS + 1, 3)


def test_sets_of_rows() -> None:
    """With bank groups lowest, 4 rows of 32 bursts share 128 consecutive bursts, and their banks make one set of 8."""
    bits, bank_sets = AddressMapping(load_standard("hbm3-5200"), "ro-sid-ba^ro-co-bg").row_sets(512)
    assert bits == 7
    assert bank_sets.tolist() == [0, 1, 2, 3] * 4 + [4, 5, 6, 7] * 4


def test_a_rate_that_no_such_memory_has_is_refused() -> None:
    with pytest.raises(InputError, match=r"memory.bandwidth_bytes_per_second: 6.25e.12 for each .* at most 256 times"):
        lower_dram(load_chip("h100", ["memory.bandwidth_bytes_per_second=1e15"]), "tile")
