"""Latency of a memory channel against load, from arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from results.plots.style import BLUE, DARK_GREY, VERMILLION, figure, styled


@styled
def plot(
    title: str,
    bandwidth_bytes_per_second: npt.NDArray[np.float64],
    mean_read_latency_ns: npt.NDArray[np.float64],
    p99_read_latency_ns: npt.NDArray[np.float64],
    peak_bytes_per_second: float,
) -> Figure:
    """Mean and 99th percentile of read latency over delivered bandwidth; arrays have shape ``(rates,)``.

    A vertical line marks the peak bandwidth.
    """
    fig = figure(7.0, 4.4)
    ax = fig.subplots()
    ax.set_title(title)
    delivered = bandwidth_bytes_per_second * 1e-9
    ax.plot(delivered, mean_read_latency_ns, marker="o", color=BLUE, label="mean")
    ax.plot(delivered, p99_read_latency_ns, marker="s", color=VERMILLION, label="99th percentile")
    ax.axvline(peak_bytes_per_second * 1e-9, color=DARK_GREY, linestyle="--", label="peak")
    ax.set_xlim(left=0.0)
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel("delivered bandwidth (GB/s)")
    ax.set_ylabel("read latency from arrival (ns)")
    ax.legend()
    return fig
