"""The ``tile`` fidelity: a naive oracle, and the measured times that it rests on.

Exercised with it: completions, interface, saturated_stream and visits.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import WITHOUT_JIT
from tests.oracles.dram_driver import served
from tests.oracles.tile_channels import NaiveTileChannels
from uarch.chip_file import load_chip, preset_names
from uarch.dram.channels.burst import lower_burst_channels
from uarch.dram.channels.measured_service import LARGEST_SET, service_ticks
from uarch.dram.channels.placement import placement
from uarch.dram.channels.tile_timing import TileTiming, lower_tile_channels
from uarch.dram.controller.addresses import INTERLEAVED, AddressMapping
from uarch.dram.controller.options import ControllerOptions
from uarch.dram.standards.standard import load_standard, standard_names
from uarch.engine.machine import lower_dram
from uarch.errors import InputError
from uarch.events import Event
from uarch.program.records import GRANULE_BYTES

TIMINGS = [
    lower_tile_channels(
        load_standard(name),
        placement(channels, interleave_bytes, hashed=True),
        mapping="interleaved",
        options=ControllerOptions(refresh=refresh, queue=queue),
        bytes_per_second=load_standard(name).bytes_per_second,
        latency_ps=90_000,
    )
    for name, channels, interleave_bytes, refresh, queue in (
        ("hbm3-5200", 32, 512, "all", 64),
        ("gddr7-32000", 6, 256, "none", 20),
        ("hbm3-5200", 6, 4096, "all", 20),
        ("hbm3-5200", 5, 1 << 20, "bank", 64),
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
    table, now_ps = [], 0
    for gap_ps, granule, first_row, rows, is_write in drawn:
        now_ps += gap_ps
        address, size_bytes = granule * GRANULE_BYTES, GRANULE_BYTES
        if not whole_granules:
            address, size_bytes = address + first_row * 128, min(rows, 64 - first_row) * 128
        table.append((now_ps, address, size_bytes, int(is_write)))
    naive, result = NaiveTileChannels(timing, table), served(timing, table)
    assert {number: int(result.done_ps[number]) for number in naive.done_ps} == naive.done_ps
    for event, name in (
        (Event.DRAM_ROW_HITS, "row_hits"),
        (Event.DRAM_ROW_MISSES, "row_misses"),
        (Event.DRAM_REFRESHES, "refreshes"),
    ):
        assert result.events[event] == sum(getattr(channel, name) for channel in naive.channels), name
    assert result.events[Event.DRAM_READ_BYTES] == sum(size for _, _, size, is_write in table if not is_write)
    assert result.events[Event.DRAM_WRITE_BYTES] == sum(size for _, _, size, is_write in table if is_write)


@pytest.mark.compiled("measures long streams")
@pytest.mark.parametrize("chip_name", preset_names())
def test_a_long_stream_reaches_what_the_standard_allows(chip_name: str) -> None:
    chip = load_chip(chip_name)
    timing = lower_dram(chip, "tile")
    assert isinstance(timing, TileTiming)
    granules = 40 * chip.memory.channels
    result = served(timing, [(0, i * GRANULE_BYTES, GRANULE_BYTES, 0) for i in range(granules)])
    fraction = granules * GRANULE_BYTES / (int(result.done_ps.max()) * 1e-12) / chip.memory.bandwidth_bytes_per_second
    refreshing = timing.refresh_ps / timing.refresh_interval_ps
    assert 0.93 * (1 - refreshing) < fraction < 1


@pytest.mark.compiled("measures long streams")
@pytest.mark.parametrize("name", standard_names())
def test_measured_times_obey_the_standard(name: str) -> None:
    """What JEDEC's distances say of each pattern; mappings that alternate between banks as the standard's do."""
    standard = load_standard(name)
    ticks = service_ticks(standard, INTERLEAVED, ControllerOptions(queue=128))
    jedec, per_clock = standard.timing, standard.command_bus.ticks_per_clock
    burst = max(jedec.nBL, jedec.nCCD_S) * per_clock
    bursts = np.arange(len(ticks.run))
    assert (ticks.run >= 0.999 * bursts * burst).all()  # no run is faster than the data bus
    assert ticks.run[-1] < 1.1 * bursts[-1] * burst  # the longest keeps it busy
    assert (np.diff(ticks.run) >= 0).all()
    assert ticks.pipeline >= (jedec.nCL + jedec.nBL - jedec.nCCD_L) * per_clock
    assert (ticks.opening[0] + ticks.run)[1] - burst == pytest.approx(jedec.nRCDRD * per_clock, abs=6 * per_clock)
    assert ticks.opening[1, 1] - ticks.opening[0, 1] == pytest.approx(jedec.nRP * per_clock, abs=4 * per_clock)
    one_bank = jedec.nRC * per_clock  # from one activate to the next
    all_banks = standard.banks // len(set(AddressMapping(standard).row_sets(LARGEST_SET)[1].tolist()))
    assert ((ticks.run + ticks.recovery[0])[all_banks:] >= 0.999 * one_bank).all()
    assert (ticks.recovery[1] >= ticks.recovery[0] - 2 * per_clock).all()  # writes have to be recovered from
    to_reads, to_writes = ticks.turnaround / per_clock
    assert to_writes == pytest.approx(jedec.nRTW - burst / per_clock, abs=2)
    shortest, longest = (jedec.nCWL + jedec.nBL + nWTR - burst / per_clock for nWTR in (jedec.nWTR_S, jedec.nWTR_L))
    assert shortest - 2 <= to_reads <= longest + 2
    assert 0.6 * jedec.nRFCab * per_clock < ticks.refresh < 2 * jedec.nRFCab * per_clock


def test_measured_times_are_remembered_on_disk() -> None:
    """A second process reads what the first has measured: the same numbers, to the last bit."""
    from uarch.dram.channels import measured_service as service

    standard = load_standard("hbm3-5200").model_copy(update={"assumed": {}})
    small = standard.organisation.model_copy(update={"bursts_per_row": 2, "banks_per_group": 2, "bank_groups": 2})
    standard = standard.model_copy(update={"organisation": small})
    options = ControllerOptions(refresh="none")
    first = service_ticks(standard, "ro-sid-ba-bg-co", options)
    service._service_ticks.cache_clear()
    second = service_ticks(standard, "ro-sid-ba-bg-co", options)
    assert first is not second
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.run.shape == (3,)


def test_sets_of_rows() -> None:
    """With bank groups lowest, 4 rows of 32 bursts share 128 consecutive bursts, and their banks make one set of 8."""
    bits, bank_sets = AddressMapping(load_standard("hbm3-5200"), "ro-sid-ba^ro-co-bg").row_sets(512)
    assert bits == 7
    assert bank_sets.tolist() == [0, 1, 2, 3] * 4 + [4, 5, 6, 7] * 4


@pytest.mark.compiled("replays long streams")
@pytest.mark.parametrize("name", ["hbm3-5200", "gddr6x-21000", "ddr5-5600"])
@pytest.mark.parametrize("interleave_bytes", [32, 1024, 4096, 1 << 20])
def test_visits_of_any_size_take_as_long_as_their_bursts(name: str, interleave_bytes: int) -> None:
    """A stream of granules: within 5 % of the command-level model, however many bursts a channel has of each."""
    standard = load_standard(name)
    place = placement(4, interleave_bytes, hashed=True)
    table = [(0, i * GRANULE_BYTES, GRANULE_BYTES, 0) for i in range(200)]
    done_ps = []
    for lower in (lower_tile_channels, lower_burst_channels):
        timing = lower(
            standard,
            place,
            mapping="interleaved",
            options=ControllerOptions(refresh="none", queue=64),
            bytes_per_second=standard.bytes_per_second,
            latency_ps=90_000,
        )
        done_ps.append(served(timing, table).done_ps)
    tile, burst = done_ps
    assert tile.max() == pytest.approx(burst.max(), rel=0.05)


def test_mappings_with_the_banks_on_top_are_measured() -> None:
    """Consecutive rows lie in one bank: all sets of banks have rows, however far apart."""
    standard = load_standard("hbm3-5200")
    ticks = service_ticks(standard, "sid-bg-ba-ro-co", ControllerOptions(refresh="none"))
    assert (np.diff(ticks.run) >= 0).all()


@pytest.mark.parametrize(("name", "refresh"), [("hbm3-5200", "bank"), ("hbm3-5200", "all"), ("ddr5-5600", "all")])
def test_a_rate_at_which_refreshes_take_all_time_is_refused(name: str, refresh: Literal["all", "bank"]) -> None:
    """The message says the lowest rate: at that the channel works, a little below it is refused as well."""
    place, options = placement(1, 512, hashed=False), ControllerOptions(refresh=refresh)

    def lowered(bytes_per_second: float) -> TileTiming:
        return lower_tile_channels(
            load_standard(name),
            place,
            mapping="interleaved",
            options=options,
            bytes_per_second=bytes_per_second,
            latency_ps=0,
        )

    with pytest.raises(InputError, match=r"memory.bandwidth_bytes_per_second: 1000 for each") as raised:
        lowered(1e3)
    found = re.search(r"at less than ([0-9.e+]+),", str(raised.value))
    assert found is not None
    limit = float(found[1])
    timing = lowered(1.01 * limit)
    result = served(timing, [(0, 0, GRANULE_BYTES, 0)])
    assert GRANULE_BYTES / (result.done_ps[0] * 1e-12) > 0.1 * limit
    with pytest.raises(InputError, match="has no time beside its refreshes"):
        lowered(0.98 * limit)


def test_a_rate_that_no_such_memory_has_is_refused() -> None:
    with pytest.raises(InputError, match=r"memory.bandwidth_bytes_per_second: 6.25e.12 for each .* at most 256 times"):
        lower_dram(load_chip("h100", ["memory.bandwidth_bytes_per_second=1e15"]), "tile")
