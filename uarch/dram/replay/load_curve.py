"""Latency against load: a stream offered at a sweep of rates, up to the one at which the channel is full."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.dram.controller.addresses import INTERLEAVED
from uarch.dram.controller.options import ControllerOptions
from uarch.dram.replay.channel import simulate_channel
from uarch.dram.replay.requests import RequestStream
from uarch.dram.standards.standard import Standard

DEFAULT_LOADS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)


class LoadCurve(NamedTuple):
    """Results by offered rate; all arrays have shape ``(rates,)``, float64. Latency counts from a read's arrival."""

    offered_bytes_per_second: npt.NDArray[np.float64]
    bandwidth_bytes_per_second: npt.NDArray[np.float64]
    mean_read_latency_ns: npt.NDArray[np.float64]
    p99_read_latency_ns: npt.NDArray[np.float64]


def measure_load_curve(
    standard: Standard,
    stream: RequestStream,
    options: ControllerOptions | None = None,
    mapping: str = INTERLEAVED,
    loads: tuple[float, ...] = DEFAULT_LOADS,
) -> LoadCurve:
    """Offer the stream at each of ``loads``, evenly spaced, and measure latency.

    Loads are fractions of the bandwidth that the channel reaches when the whole stream is offered at once: at more than
    that, latency would only tell how long the stream is. Arrivals of the stream itself are not used. Streams without reads
    have latency zero.
    """
    columns: list[tuple[float, float, float, float]] = []
    at_once = stream._replace(arrival=np.zeros_like(stream.arrival))
    full = simulate_channel(standard, at_once, options, mapping)
    request_ticks = full.ticks / len(stream.arrival)
    for load in loads:
        arrival = np.floor(np.arange(len(stream.arrival)) * (request_ticks / load)).astype(np.int64)
        result = simulate_channel(standard, stream._replace(arrival=arrival), options, mapping)
        latency = result.read_latency_ns + result.read_wait_ns
        if len(latency) == 0:
            latency = np.zeros(1)
        columns.append(
            (
                load * full.bandwidth_bytes_per_second,
                result.bandwidth_bytes_per_second,
                float(latency.mean()),
                float(np.percentile(latency, 99)),
            )
        )
    return LoadCurve(*np.array(columns, dtype=np.float64).T)
