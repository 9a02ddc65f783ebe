"""The ``burst`` fidelity: each channel answers as the naive controller does, and granules complete with their bursts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import WITHOUT_JIT
from tests.oracles.dram_controller import NaiveController, Request
from tests.oracles.dram_driver import Table, served
from uarch.chip_file import load_chip, preset_names
from uarch.dram.channels.burst import BurstTiming, lower_burst_channels
from uarch.dram.channels.placement import channel_of, placement
from uarch.dram.controller.addresses import BANK_SHIFT, INTERLEAVED, ROW_SHIFT
from uarch.dram.controller.options import ControllerOptions
from uarch.dram.standards.speed_grade import at_bandwidth
from uarch.dram.standards.standard import Standard, load_standard
from uarch.engine.machine import lower_dram
from uarch.events import Event
from uarch.picoseconds import duration_ps
from uarch.program.records import GRANULE_BYTES

LATENCY_PS = 90_000


def naive_completions(timing: BurstTiming, standard: Standard, table: Table) -> dict[int, int]:
    """Completion of each read by the naive controller of each channel, burst by burst."""
    bursts: dict[int, list[tuple[int, Request]]] = {}
    for number, (now_ps, address, size_bytes, is_write) in enumerate(table):
        for byte in range(0, size_bytes, timing.burst_bytes):
            channel, local = (int(part) for part in channel_of(timing.place, address + byte))
            index = local // timing.burst_bytes & (timing.bursts - 1)
            location = 0
            for i, entries in enumerate(timing.locations.tolist()):
                location ^= entries[index >> 8 * i & 0xFF]
            arrival = -(-(now_ps << 20) // timing.tick)
            bank, row = location >> BANK_SHIFT & 0xFFFF, location >> ROW_SHIFT
            of_channel = bursts.setdefault(channel, [])
            request = Request(len(of_channel), arrival, bool(is_write), bank, row, location & 0xFFFF)
            of_channel.append((number, request))
    done: dict[int, int] = {}
    for of_channel in bursts.values():
        run_two_lists(NaiveController(standard, ControllerOptions(refresh="none")), [r for _, r in of_channel])
        for number, request in of_channel:
            if not request.is_write:
                done_ps = int(duration_ps(request.completed, timing.tick)) + LATENCY_PS
                done[number] = max(done.get(number, 0), done_ps)
    return done


def run_two_lists(controller: NaiveController, requests: list[Request]) -> None:
    """Offer reads and writes from a list of their own each, as many in a tick as are taken."""
    lists = [[r for r in requests if not r.is_write], [r for r in requests if r.is_write]]
    while any(not r.is_write and r.completed < 0 for r in requests):
        for waiting in lists:
            while waiting and waiting[0].arrival <= controller.tick and controller.offer(waiting[0]):
                request = waiting.pop(0)
                if not request.is_write and request.completed >= 0:  # data of a waiting write: as late as a hit
                    request.completed = controller.tick + controller.read_latency
        controller.tick += 1
        controller.step()


gaps_ps = st.one_of(st.just(0), st.integers(0, 300_000))
few_requests = st.lists(
    st.tuples(gaps_ps, st.integers(0, 40), st.integers(0, 63), st.integers(1, 64), st.booleans()),
    min_size=1,
    max_size=3 if WITHOUT_JIT else 6,
)
"""Gap, granule, first row of 128 bytes, rows, is a write."""


@given(
    st.sampled_from([("hbm3-5200", 2, 512), ("hbm3-5200", 16, 512), ("gddr7-32000", 4, 256)]),
    st.floats(0.7, 1.5),
    few_requests,
)
def test_completions_are_those_of_the_naive_controller(
    memory: tuple[str, int, int], faster: float, drawn: list[tuple[int, int, int, int, bool]]
) -> None:
    name, channels, interleave_bytes = memory
    standard = load_standard(name)
    bytes_per_second = standard.bytes_per_second * faster
    place = placement(channels, interleave_bytes, hashed=True)
    timing = lower_burst_channels(
        standard,
        place,
        mapping=INTERLEAVED,
        options=ControllerOptions(refresh="none"),
        bytes_per_second=bytes_per_second,
        latency_ps=LATENCY_PS,
    )
    table, now_ps = [], 0
    for gap_ps, granule, first_row, rows, is_write in drawn:
        now_ps += gap_ps
        size_bytes = min(rows, 64 - first_row, 8 if WITHOUT_JIT else 64) * 128
        table.append((now_ps, granule * GRANULE_BYTES + first_row * 128, size_bytes, int(is_write)))
    result = served(timing, table)
    expected = naive_completions(timing, at_bandwidth(standard, bytes_per_second)[0], table)
    assert {number: int(result.done_ps[number]) for number in expected} == expected
    assert result.events[Event.DRAM_READ_BYTES] == sum(row[2] for row in table if not row[3])
    assert result.events[Event.DRAM_WRITE_BYTES] == sum(row[2] for row in table if row[3])


@pytest.mark.compiled("too long a stream for the interpreter")
@pytest.mark.parametrize("chip_name", preset_names())
def test_a_long_stream_reaches_peak_bandwidth_less_refresh(chip_name: str) -> None:
    chip = load_chip(chip_name)
    timing = lower_dram(chip, "burst")
    assert isinstance(timing, BurstTiming)
    granules = 40 * chip.memory.channels
    result = served(timing, [(0, i * GRANULE_BYTES, GRANULE_BYTES, 0) for i in range(granules)])
    seconds = int(result.done_ps.max()) * 1e-12
    jedec, refreshes = load_standard(chip.memory.standard).timing, chip.memory.refresh_mode != "none"
    fraction = granules * GRANULE_BYTES / seconds / chip.memory.bandwidth_bytes_per_second
    assert 0.93 * (1 - refreshes * jedec.nRFCab / jedec.nREFI) < fraction < 1
    assert (result.events[Event.DRAM_REFRESHES] > 0) == refreshes


@given(
    st.integers(1, 200),
    st.sampled_from([32, 512, 4096, 1 << 15]),
    st.booleans(),
    st.lists(st.integers(0, 2**34), min_size=2, max_size=40, unique=True),
)
def test_different_bytes_have_different_places(channels: int, piece: int, hashed: bool, addresses: list[int]) -> None:
    place = placement(channels, piece, hashed)
    places = [tuple(int(part) for part in channel_of(place, address)) for address in addresses]
    assert len(set(places)) == len(addresses)
    assert all(0 <= channel < channels for channel, _ in places)


def test_strides_reach_all_channels_evenly() -> None:
    """Any power-of-two stride of granules reaches all channels, none more than twice as often as the mean."""
    place = placement(160, 512, hashed=True)
    for shift in range(12):
        addresses = [(i << shift) * GRANULE_BYTES + piece for i in range(200) for piece in range(0, GRANULE_BYTES, 512)]
        counts = np.bincount([int(channel_of(place, address)[0]) for address in addresses], minlength=160)
        assert counts.max() <= 2 * counts.mean(), shift


def test_narrow_strides_reach_all_channels_of_a_group() -> None:
    """Columns of a matrix whose rows are whole stripes: the hash spreads them over channels, without it they meet one."""
    counts = {}
    for hashed in (False, True):
        place = placement(16, 512, hashed)
        counts[hashed] = len({int(channel_of(place, i * GRANULE_BYTES)[0]) for i in range(200)})
    assert counts == {False: 1, True: 16}
