"""Times between the tokens of a request, as a histogram over all tokens: percentiles within half a bin, 0.25 %."""

from __future__ import annotations

from math import log

from uarch.jit import inline
from workloads.serving.loop.records import FIRST_GAP_SECONDS, GAP_BINS, GAP_RATIO, State

_LOG_RATIO = log(GAP_RATIO)
_LOG_FIRST = log(FIRST_GAP_SECONDS)


@inline
def bin_of(seconds: float) -> int:
    """Bin of a gap; the outer bins take what lies beyond."""
    if seconds <= FIRST_GAP_SECONDS:
        return 0
    return min(GAP_BINS - 1, int((log(seconds) - _LOG_FIRST) / _LOG_RATIO))


@inline
def add_gaps(state: State, seconds: float, count: int) -> None:
    """Count tokens that came so long after the ones before."""
    state.gaps[bin_of(seconds)] += count
    state.cluster[0]["gap_seconds_total"] += seconds * count
    state.cluster[0]["gaps_total"] += count
