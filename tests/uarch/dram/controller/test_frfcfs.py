"""The jitted FR-FCFS controller issues the same commands at the same ticks as the naive one, all of them legal.

Exercised with it: candidates, constraints, issue and queues.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import WITHOUT_JIT
from tests.oracles.dram_checker import violations
from tests.oracles.dram_controller import NaiveController, Request
from tests.oracles.dram_round_robin import NaiveRoundRobin
from uarch.dram.controller.addresses import AddressMapping
from uarch.dram.controller.options import ControllerOptions
from uarch.dram.controller.state import COMMANDS
from uarch.dram.replay.channel import simulate_channel
from uarch.dram.replay.requests import RequestStream
from uarch.dram.standards.standard import Standard, load_standard

STANDARDS = ("hbm3-6400", "hbm3e-8000", "gddr7-28000", "gddr6-14000", "hbm2-2000", "hbm4-8000", "ddr5-5600")
MOST_REQUESTS = 40 if WITHOUT_JIT else 80


def quick_refresh(standard: Standard) -> Standard:
    """The same standard, refreshed so often that short streams meet refreshes."""
    timing = standard.timing.model_copy(update={"nREFI": 900, "nREFIpb": 300, "nRFCpb": 150, "nRREFD": 13})
    return standard.model_copy(update={"timing": timing})


def random_stream(standard: Standard, seed: int, count: int, write_share: float, hit_share: float) -> RequestStream:
    """Requests to few banks and rows, so that hits, conflicts and equal addresses are common."""
    rng = np.random.default_rng(seed)
    organisation = standard.organisation
    bank = rng.integers(0, standard.banks, count) if seed % 2 else rng.integers(0, 4, count)
    row = np.where(rng.random(count) < hit_share, 0, rng.integers(0, 4, count))
    column = rng.integers(0, organisation.bursts_per_row, count)
    burst = (row * standard.banks + bank) * organisation.bursts_per_row + column
    gaps = rng.integers(0, 40, count) * (rng.random(count) < 0.2)
    is_write = (rng.random(count) < write_share).astype(np.int64)
    return RequestStream(np.cumsum(gaps), is_write, burst * standard.burst_bytes)


def as_requests(standard: Standard, stream: RequestStream) -> list[Request]:
    location = AddressMapping(standard).locate(stream.address)
    columns = (stream.arrival, stream.is_write, *location)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [Request(tag, arrival, bool(write), *place) for tag, (arrival, write, *place) in enumerate(rows)]


@given(
    name=st.sampled_from(STANDARDS),
    seed=st.integers(0, 10**6),
    count=st.integers(1, MOST_REQUESTS),
    write_share=st.sampled_from((0.0, 0.3, 1.0)),
    hit_share=st.sampled_from((0.0, 0.5, 0.9)),
    scheduler=st.sampled_from(("frfcfs-rowhit", "frfcfs", "fcfs")),
    refresh=st.sampled_from(("all", "bank", "none")),
    page=st.sampled_from(("open", "closed", "capped")),
    queue=st.sampled_from((1, 4, 32)),
)
def test_commands_equal_the_naive_controller(
    name: str,
    seed: int,
    count: int,
    write_share: float,
    hit_share: float,
    scheduler: str,
    refresh: str,
    page: str,
    queue: int,
) -> None:
    standard = quick_refresh(load_standard(name))
    options = ControllerOptions(scheduler=scheduler, refresh=refresh, page=page, queue=queue, row_hit_cap=3)
    stream = random_stream(standard, seed, count, write_share, hit_share)
    requests = as_requests(standard, stream)
    naive = NaiveController(standard, options)
    naive.run(requests)
    result = simulate_channel(standard, stream, options, with_commands=True)
    log = [(tick, COMMANDS[command], bank, row) for tick, command, bank, row in result.commands.tolist()]
    # Writes may still wait when the last read is done; the two then stop at different ticks.
    end = min(naive.log[-1][0] if naive.log else 0, log[-1][0] if log else 0)
    assert [entry for entry in log if entry[0] < end] == [entry for entry in naive.log if entry[0] < end]
    reads = [request for request in requests if not request.is_write]
    latency = [(request.completed - request.accepted) * standard.tick_ns for request in reads]
    assert result.read_latency_ns.tolist() == latency
    assert violations(standard, log) == []


@given(
    name=st.sampled_from(("dramsim3-hbm2", "dramsim3-gddr6", "dramsim3-gddr6-bg")),
    seed=st.integers(0, 10**6),
    count=st.integers(1, MOST_REQUESTS),
    write_share=st.sampled_from((0.0, 0.3, 1.0)),
    hit_share=st.sampled_from((0.0, 0.5, 0.9)),
    refresh=st.sampled_from(("all", "none")),
    queue=st.sampled_from((1, 4, 32)),
)
def test_round_robin_commands_equal_the_naive_ones(
    name: str, seed: int, count: int, write_share: float, hit_share: float, refresh: str, queue: int
) -> None:
    standard = quick_refresh(load_standard(name))
    options = ControllerOptions(scheduler="dramsim3", refresh=refresh, queue=queue)
    stream = random_stream(standard, seed, count, write_share, hit_share)
    requests = as_requests(standard, stream)
    naive = NaiveRoundRobin(standard, options)
    naive.run(requests)
    result = simulate_channel(standard, stream, options, with_commands=True)
    log = [(tick, COMMANDS[command], bank, row) for tick, command, bank, row in result.commands.tolist()]
    end = min(naive.log[-1][0] if naive.log else 0, log[-1][0] if log else 0)
    assert [entry for entry in log if entry[0] < end] == [entry for entry in naive.log if entry[0] < end]
    latency = [
        (request.completed - request.accepted) * standard.tick_ns for request in requests if not request.is_write
    ]
    assert result.read_latency_ns.tolist() == latency
    assert violations(standard, log) == []


@pytest.mark.parametrize("name", STANDARDS)
def test_checker_finds_a_command_that_is_one_tick_early(name: str) -> None:
    """Moving any read, write, activate or precharge that waited for a constraint to one clock earlier is found."""
    standard = load_standard(name)
    options = ControllerOptions(refresh="none")
    stream = random_stream(standard, 2, 40, 0.3, 0.0)._replace(arrival=np.zeros(40, dtype=np.int64))
    result = simulate_channel(standard, stream, options, with_commands=True)
    log = [(tick, COMMANDS[command], bank, row) for tick, command, bank, row in result.commands.tolist()]
    step = standard.command_bus.ticks_per_clock
    found = 0
    for index in range(1, len(log)):
        tick, command, bank, row = log[index]
        early = sorted([*log[:index], (tick - step, command, bank, row)], key=lambda entry: entry[0])
        found += bool(violations(standard, early))
    assert found > len(log) // 2
