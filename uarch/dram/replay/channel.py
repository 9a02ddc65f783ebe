"""Replay a request stream on one pseudo-channel and report bandwidth, latency, row hits and energy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.arrays import IntArray
from uarch.dram.controller.addresses import INTERLEAVED, AddressMapping
from uarch.dram.controller.dramsim3 import Requests, new_queues, replay_round_robin
from uarch.dram.controller.options import ControllerOptions, check_options
from uarch.dram.controller.state import (
    ACTIVATES,
    COMMANDS,
    CONFLICTS,
    HITS,
    LOG_COMMANDS,
    LOGGED,
    MISSES,
    NOW,
    OPEN,
    OPEN_SINCE,
    OPEN_TICKS,
    READS,
    REFRESHES,
    WRITES,
    command_log,
    completion_ticks,
    new_channel,
)
from uarch.dram.replay.driver import OFFERS_PER_TICK, replay
from uarch.dram.replay.requests import RequestStream
from uarch.dram.standards.energy import ChannelEnergy, channel_energy
from uarch.dram.standards.standard import Standard

PERCENTILES = (50, 90, 99)
_LOG_COMMANDS_PER_REQUEST = 4


class ChannelResult(NamedTuple):
    """Measurements of one replay. Latencies count from acceptance to the last data."""

    ticks: int
    """Ticks from the first one to the last completion: of a read its data, of a write its acceptance."""
    tick_ns: float
    bandwidth_bytes_per_second: float
    peak_fraction: float
    read_latency_ns: npt.NDArray[np.float64]
    """Nanoseconds from acceptance to data of each read, in the order of the stream; shape ``(reads,)``."""
    read_wait_ns: npt.NDArray[np.float64]
    """Nanoseconds from arrival to acceptance of each read; shape ``(reads,)``."""
    row_hit_rate: float
    activates: int
    refreshes: int
    energy: ChannelEnergy
    commands: IntArray
    """Log of commands, shape ``(commands, 4)``: tick, index into ``COMMANDS``, bank (-1: all), row; empty if not asked for."""

    def summary(self) -> dict[str, Any]:
        """The numbers that ``uarch dram --json`` prints; latencies are None without reads."""
        latency = self.read_latency_ns
        bits = self.bandwidth_bytes_per_second * self.ticks * self.tick_ns * 1e-9 * 8
        return {
            "bandwidth_bytes_per_second": self.bandwidth_bytes_per_second,
            "peak_fraction": self.peak_fraction,
            "mean_read_latency_ns": float(latency.mean()) if len(latency) else None,
            "read_latency_percentiles_ns": {
                f"p{percent}": float(np.percentile(latency, percent)) if len(latency) else None
                for percent in PERCENTILES
            },
            "row_hit_rate": self.row_hit_rate,
            "activates": self.activates,
            "refreshes": self.refreshes,
            "energy_joules": self.energy.total,
            "energy_by_component_joules": self.energy._asdict(),
            "energy_pj_per_bit": self.energy.total * 1e12 / bits,
            "ticks": self.ticks,
            "tick_ns": self.tick_ns,
        }


def simulate_channel(
    standard: Standard,
    stream: RequestStream,
    options: ControllerOptions | None = None,
    mapping: str = INTERLEAVED,
    with_commands: bool = False,
) -> ChannelResult:
    """Replay a stream of requests on one (pseudo-)channel.

    At most two requests a tick are offered, each until it is accepted.

    Parameters
    ----------
    standard
        The memory: see :func:`uarch.dram.standards.standard.load_standard`.
    stream
        Requests in order of arrival: from :func:`uarch.dram.replay.requests.read_trace` or ``make_pattern``.
    options
        Scheduler, page policy, refresh and queues; None: the defaults.
    mapping
        Address fields from the most to the least significant bit, such as ``ro-sid-ba-bg-co``, or a name.
    with_commands
        Whether the result has the log of all commands.

    Returns
    -------
    ChannelResult
        Bandwidth in bytes per second, latencies of reads in ns, row hits, refreshes, energy in joules.

    Raises
    ------
    InputError
        If the mapping does not fit, or the standard lacks the refresh or has too many banks.

    Examples
    --------
    >>> import uarch
    >>> from uarch.dram.replay.requests import make_pattern
    >>> from uarch.dram.standards.standard import load_standard
    >>> hbm3 = load_standard("hbm3-6400")
    >>> result = uarch.simulate_channel(hbm3, make_pattern("sequential", hbm3, 10_000))
    >>> result.peak_fraction > 0.9
    True
    """
    options = options or ControllerOptions()
    check_options(standard, options)
    location = AddressMapping(standard, mapping).locate(stream.address)
    requests = Requests(stream.arrival, stream.is_write, location.bank, location.row, location.column)
    log_commands = _LOG_COMMANDS_PER_REQUEST * len(stream.arrival) if with_commands else 0
    state, accepted = _run(standard, options, requests, log_commands)
    if with_commands and state[LOGGED] > state[LOG_COMMANDS]:
        state, accepted = _run(standard, options, requests, int(state[LOGGED]))
    return _measure(standard, options, stream, state, accepted)


def _run(
    standard: Standard, options: ControllerOptions, requests: Requests, log_commands: int
) -> tuple[IntArray, IntArray]:
    """Final state, and the tick of acceptance of each request."""
    count = len(requests.arrival)
    accepted = np.zeros(count, dtype=np.int64)
    state = new_channel(standard, options, count, log_commands)
    if options.scheduler == "dramsim3":
        queues = new_queues(standard.banks, options.queue, count)
        replay_round_robin(state, queues, requests, OFFERS_PER_TICK, accepted)
    else:
        replay(state, *requests, accepted)
    return state, accepted


def _measure(
    standard: Standard, options: ControllerOptions, stream: RequestStream, state: IntArray, accepted: IntArray
) -> ChannelResult:
    completion = completion_ticks(state)
    is_read = stream.is_write == 0
    is_round_robin = options.scheduler == "dramsim3"
    # A write counts as done one tick after its acceptance; the other tool's clock starts one tick earlier.
    done = np.where(is_read, completion, accepted + 1)
    ticks = int(done.max()) + is_round_robin
    end = max(ticks, int(state[NOW]))
    open_ticks = int(state[OPEN_TICKS]) + (end - int(state[OPEN_SINCE]) if state[OPEN] else 0)
    accesses = int(state[READS] + state[WRITES])
    classified = accesses if is_round_robin else int(state[HITS] + state[MISSES] + state[CONFLICTS])
    energy = channel_energy(
        standard,
        activates=int(state[ACTIVATES]),
        reads=int(state[READS]),
        writes=int(state[WRITES]),
        refreshes=int(state[REFRESHES]),
        refresh_by_bank=options.refresh == "bank",
        open_ticks=open_ticks,
        closed_ticks=end - open_ticks,
    )
    bandwidth = len(accepted) * standard.burst_bytes / (ticks * standard.tick_ns * 1e-9)
    return ChannelResult(
        ticks=ticks,
        tick_ns=standard.tick_ns,
        bandwidth_bytes_per_second=bandwidth,
        peak_fraction=bandwidth / standard.bytes_per_second,
        read_latency_ns=(completion - accepted)[is_read] * standard.tick_ns,
        read_wait_ns=(accepted - stream.arrival)[is_read] * standard.tick_ns,
        row_hit_rate=int(state[HITS]) / classified if classified else 0.0,
        activates=int(state[ACTIVATES]),
        refreshes=int(state[REFRESHES]),
        energy=energy,
        commands=command_log(state).copy(),
    )


def command_lines(commands: IntArray) -> list[str]:
    """A command log as text: ``<tick> <command> <bank> <row>``, ``-`` where the command has none."""
    return [
        f"{tick} {COMMANDS[command]} {bank if bank >= 0 else '-'} {row if row >= 0 else '-'}"
        for tick, command, bank, row in commands.tolist()
    ]
