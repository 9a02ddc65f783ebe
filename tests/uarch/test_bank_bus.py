"""The bank-and-bus memory model: a naive oracle, bandwidth, row hits, refreshes and latency."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles.bank_bus import NaiveBankBus
from uarch.chip_file import load_chip, preset_names
from uarch.dram.bank_bus import (
    BankBus,
    BankBusTiming,
    enqueue_read_chunks,
    enqueue_write_chunks,
    open_bank_bus,
    unit_of,
)
from uarch.dram.completions import first_completion
from uarch.dram.interface import pop_completion
from uarch.dram.standards import load_standard
from uarch.events import Event
from uarch.jit import kernel
from uarch.machine import lower_dram
from uarch.program import GRANULE_BYTES
from uarch.rates import PS_PER_SECOND, picoseconds

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
STREAM_GRANULES = 200 if WITHOUT_JIT else 20_000
FIDELITIES = ("tile",)
NEVER = 2**62

IntArray = npt.NDArray[np.int64]


@kernel
def serve(dram: BankBus, timing: BankBusTiming, requests: IntArray, events: IntArray) -> tuple[IntArray, IntArray]:
    """Completion times by request and in the order in which they come out.

    A row of ``requests`` is (time in ps, address, bytes, is a write), times not decreasing.
    """
    done_ps, in_order_ps = np.zeros(len(requests), np.int64), np.zeros(len(requests), np.int64)
    for number in range(len(requests)):
        now_ps, address, size_bytes = requests[number, 0], requests[number, 1], requests[number, 2]
        if requests[number, 3]:
            enqueue_write_chunks(dram, timing, address, size_bytes, now_ps, events)
        else:
            enqueue_read_chunks(dram, timing, number, address, size_bytes, now_ps, events)
    count = 0
    while first_completion(dram.completions) < NEVER:
        time_ps = first_completion(dram.completions)
        done_ps[pop_completion(dram)] = time_ps
        in_order_ps[count] = time_ps
        count += 1
    return done_ps, in_order_ps[:count]


class Served(NamedTuple):
    """Completion times of reads (0 for writes) and counted events."""

    done_ps: IntArray
    events: IntArray

    def count(self, event: Event) -> int:
        return int(self.events[event])


def served(timing: BankBusTiming, requests: list[tuple[int, int, int, int]]) -> Served:
    events = np.zeros(len(Event), np.int64)
    table = np.array(requests, np.int64).reshape(-1, 4)
    done_ps, in_order_ps = serve(open_bank_bus(timing, len(table)), timing, table, events)
    assert (np.diff(in_order_ps) >= 0).all()
    return Served(done_ps, events)


def stream(timing: BankBusTiming, *, is_write: bool = False, first: int = 0) -> Served:
    """Consecutive granules, all asked for at time 0."""
    return served(timing, [(0, (first + i) * GRANULE_BYTES, GRANULE_BYTES, is_write) for i in range(STREAM_GRANULES)])


def never_refreshed(timing: BankBusTiming) -> BankBusTiming:
    return timing._replace(refresh_interval_ps=10**15)


timings = st.builds(
    BankBusTiming,
    units=st.sampled_from([16, 48]),
    banks=st.sampled_from([4, 16]),
    chunk_bytes=st.sampled_from([512, GRANULE_BYTES // 5, GRANULE_BYTES]),
    row_span_bytes=st.sampled_from([GRANULE_BYTES, 2 * GRANULE_BYTES]),
    byte=st.integers(1 << 18, 1 << 23),
    row_to_column_ps=st.integers(0, 20_000),
    precharge_ps=st.integers(0, 20_000),
    row_cycle_ps=st.integers(0, 60_000),
    column_to_data_ps=st.integers(0, 20_000),
    turnaround_ps=st.integers(0, 20_000),
    refresh_interval_ps=st.integers(2_000_000, 4_000_000),
    refresh_ps=st.integers(1, 400_000),
    latency_ps=st.integers(0, 100_000),
)
gaps = st.one_of(st.just(0), st.integers(0, 30_000), st.integers(0, 10_000_000))
"""Picoseconds between requests: bursts, single requests, and pauses of several refreshes."""
requests = st.lists(
    st.tuples(gaps, st.integers(0, 400), st.integers(0, 63), st.integers(1, 64), st.booleans()), max_size=120
)
"""Gap, granule, first row and rows of a granule, is a write."""


@given(timings, requests)
def test_completion_times_are_those_of_the_oracle(
    timing: BankBusTiming, drawn: list[tuple[int, int, int, int, bool]]
) -> None:
    naive, table, now_ps = NaiveBankBus(timing), [], 0
    for number, (gap_ps, granule, first_row, rows, is_write) in enumerate(drawn):
        now_ps += gap_ps
        address = granule * GRANULE_BYTES + first_row * 128
        size_bytes = min(rows, 64 - first_row) * 128
        table.append((now_ps, address, size_bytes, int(is_write)))
        if is_write:
            naive.write(address, size_bytes, now_ps)
        else:
            naive.read(number, address, size_bytes, now_ps)
    result = served(timing, table)
    assert {i: int(result.done_ps[i]) for i in naive.completions} == naive.completions
    assert result.count(Event.DRAM_ROW_HITS) == naive.row_hits
    assert result.count(Event.DRAM_ROW_MISSES) == naive.row_misses
    assert result.count(Event.DRAM_REFRESHES) == naive.refreshes
    assert result.count(Event.DRAM_BUS_PS) == naive.bus_ps
    assert result.count(Event.DRAM_READ_BYTES) == sum(size for _, _, size, is_write in table if not is_write)
    assert result.count(Event.DRAM_WRITE_BYTES) == sum(size for _, _, size, is_write in table if is_write)


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("chip_name", preset_names())
def test_a_long_stream_reaches_peak_bandwidth_less_refresh(chip_name: str, fidelity: str) -> None:
    chip = load_chip(chip_name)
    timing = lower_dram(chip, fidelity)
    size_bytes = STREAM_GRANULES * GRANULE_BYTES
    seconds = int(stream(timing).done_ps.max()) / PS_PER_SECOND
    peak = size_bytes / seconds / chip.memory.bandwidth_bytes_per_second
    refreshing = timing.refresh_ps / timing.refresh_interval_ps
    assert peak <= 1
    if not WITHOUT_JIT:  # the stream is long enough for first latency and the unevenness of units not to matter
        assert peak >= 0.96 * (1 - refreshing)


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("chip_name", preset_names())
def test_consecutive_addresses_hit_open_rows(chip_name: str, fidelity: str) -> None:
    """Each row is opened once, and an activate opens no more bytes than a row has: the standard's in each channel."""
    chip = load_chip(chip_name)
    timing = never_refreshed(lower_dram(chip, fidelity))
    row_bytes = load_standard(chip.memory.standard).row_bytes
    result = stream(timing)
    channels = chip.memory.channels // timing.units
    assert result.count(Event.DRAM_ROW_MISSES) * channels * row_bytes == STREAM_GRANULES * GRANULE_BYTES
    accesses = STREAM_GRANULES * (GRANULE_BYTES // timing.chunk_bytes)
    assert result.count(Event.DRAM_ROW_HITS) + result.count(Event.DRAM_ROW_MISSES) == accesses


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("chip_name", preset_names())
def test_latency_of_a_lone_read(chip_name: str, fidelity: str) -> None:
    """Closed bank: nRCD + nCL + transfer; open row: nCL + transfer; another row: nRP on top, not before nRC is over."""
    chip = load_chip(chip_name)
    standard = load_standard(chip.memory.standard)
    timing = never_refreshed(lower_dram(chip, fidelity))
    clock_ps, jedec = standard.tCK_ps, standard.timing
    read_bytes = timing.chunk_bytes
    transfer_ps = -(-read_bytes * timing.units * PS_PER_SECOND // int(chip.memory.bandwidth_bytes_per_second))
    fixed_ps = jedec.nCL * clock_ps + transfer_ps + picoseconds(chip.memory.latency_seconds)

    other_row = other_row_of_the_same_bank(timing)
    pause_ps = 10**7
    addresses = (0, 0, other_row)
    result = served(timing, [(i * pause_ps, address, read_bytes, 0) for i, address in enumerate(addresses)])
    closed, hit, conflict = (int(done_ps) - i * pause_ps for i, done_ps in enumerate(result.done_ps))
    tolerance_ps = 1  # of the transfer: a rate is rounded
    assert abs(closed - (fixed_ps + jedec.nRCDRD * clock_ps)) <= tolerance_ps
    assert abs(hit - fixed_ps) <= tolerance_ps
    assert abs(conflict - (fixed_ps + (jedec.nRP + jedec.nRCDRD) * clock_ps)) <= tolerance_ps

    at_once = served(timing, [(0, address, read_bytes, 0) for address in (0, other_row)])
    after_row_cycle_ps = fixed_ps + (jedec.nRC + jedec.nRCDRD) * clock_ps
    assert abs(int(at_once.done_ps[1]) - after_row_cycle_ps) <= tolerance_ps


def other_row_of_the_same_bank(timing: BankBusTiming) -> int:
    """An address whose first chunk lies in another row of the bank in which address 0 lies."""
    naive = NaiveBankBus(timing)
    unit = naive.units[0]
    row, bank = naive.row_and_bank(unit, 0)
    for address in range(timing.row_span_bytes, 10**5 * timing.row_span_bytes, timing.row_span_bytes):
        other_row, other_bank = naive.row_and_bank(unit, address)
        if unit_of(address, timing) == unit_of(0, timing) and other_bank is bank and other_row != row:
            return address
    raise AssertionError("no such address")


def test_refreshes_come_once_in_an_interval_and_close_rows() -> None:
    """Reads of one address, an interval apart: each meets one refresh of its unit, and none finds its row open."""
    timing = lower_dram(load_chip("h100"), "tile")
    interval_ps = timing.refresh_interval_ps
    count = 20
    result = served(timing, [((i + 2) * interval_ps, 0, 128, 0) for i in range(count)])
    assert result.count(Event.DRAM_REFRESHES) in (count + 1, count + 2)  # the two intervals before the first read
    assert result.count(Event.DRAM_ROW_HITS) == 0
    assert result.count(Event.DRAM_ROW_MISSES) == count


def test_a_read_waits_for_the_refresh_under_way() -> None:
    timing = lower_dram(load_chip("h100"), "tile")
    refresh_ps = int(open_bank_bus(timing, 1).units[int(unit_of(0, timing))]["next_refresh_ps"])
    before, during = (int(served(timing, [(time, 0, 128, 0)]).done_ps[0]) - time for time in (0, refresh_ps))
    assert during - before == timing.refresh_ps


@pytest.mark.skipif(WITHOUT_JIT, reason="too long a stream for the interpreter")
@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_writes_take_bus_time_and_turn_the_bus_round(fidelity: str) -> None:
    """The bus time of writes is that of as many reads; a read behind them waits for all of it."""
    timing = never_refreshed(lower_dram(load_chip("h100"), fidelity))
    writes, reads = stream(timing, is_write=True), stream(timing)
    buffered_ps = timing.units * 16 * timing.chunk_bytes * timing.byte >> 20
    missing_ps = reads.count(Event.DRAM_BUS_PS) - writes.count(Event.DRAM_BUS_PS)
    assert 0 <= missing_ps <= buffered_ps  # what still lies in the buffers
    behind = [(0, i * GRANULE_BYTES, GRANULE_BYTES, 1) for i in range(STREAM_GRANULES)]
    behind += [(0, i * GRANULE_BYTES, GRANULE_BYTES, 0) for i in range(STREAM_GRANULES)]
    end_ps, reads_only_ps = int(served(timing, behind).done_ps.max()), int(reads.done_ps.max())
    assert 2 < end_ps / reads_only_ps < 2.5


def test_units_of_granules_and_their_parts_are_spread_evenly() -> None:
    """Any power-of-two stride of granules reaches all units, none more than twice as often as the mean."""
    for fidelity in FIDELITIES:
        timing = lower_dram(load_chip("h100"), fidelity)
        for shift in range(12):
            addresses = [(i << shift) * GRANULE_BYTES for i in range(100 * timing.units // 16)]
            chunks = range(0, GRANULE_BYTES, timing.chunk_bytes)
            units = [int(unit_of(address + offset, timing)) for address in addresses for offset in chunks]
            counts = np.bincount(units, minlength=timing.units)
            assert counts.max() <= 2 * counts.mean(), (fidelity, shift)
