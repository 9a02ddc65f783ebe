"""``genz``: an operator model in the manner of GenZ (Bambhaniya et al., arXiv 2406.01698): a roofline with efficiencies.

Each operator takes the longer of its computation and its memory traffic at constant fractions of the peaks; computation is
matrix work and vector work one after the other; a collective takes its ring's traffic and one latency per hop.
"""

from __future__ import annotations

from uarch.chip.schema import Chip
from workloads.predictors.kernel import LINK_KINDS, Kernel
from workloads.predictors.roofline import busy_seconds

COMPUTE_EFFICIENCY = 0.75
"""Assumed, 0.5 to 0.9: of the arrays' peak; the tool leaves it to its user."""
MEMORY_EFFICIENCY = 0.8
"""Assumed, 0.7 to 0.93: of the memory's peak."""


def genz(chip: Chip, kernel: Kernel) -> float:
    """Seconds of a kernel; a :class:`workloads.predictors.kernel.Predictor`."""
    busy = busy_seconds(chip, kernel)
    if kernel.kind in LINK_KINDS:
        hops = (2 if kernel.kind == "all_reduce" else 1) * (kernel.sizes[1] - 1)
        return busy["link"] + hops * chip.link.latency_seconds
    compute = (busy["arrays"] + busy["vector"] + busy["special"]) / COMPUTE_EFFICIENCY
    return max(compute, busy["dram"] / MEMORY_EFFICIENCY)
