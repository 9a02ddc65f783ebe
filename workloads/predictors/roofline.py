"""``roofline``: the slowest of the chip's resources, each working without a pause (Williams et al., CACM 2009).

Operands and results cross the memory once; masked scores are not counted.
"""

from __future__ import annotations

from uarch.chip.schema import Chip
from workloads.predictors.kernel import Kernel


def roofline(chip: Chip, kernel: Kernel) -> float:
    """Seconds of a kernel; a :class:`workloads.predictors.kernel.Predictor`."""
    return max(busy_seconds(chip, kernel).values())


def busy_seconds(chip: Chip, kernel: Kernel) -> dict[str, float]:
    """Seconds that each resource is busy at its peak: arrays, vector, special, dram, link."""
    kept = kept_fraction(kernel)
    return {
        "arrays": 2 * kernel.macs * kept / chip.peak_flops(kernel.dtype) if kernel.macs else 0.0,
        "vector": 2 * kernel.vector_ops * kept / chip.peak_vector_flops,
        "special": kernel.special_ops * kept / chip.peak_special_ops_per_second,
        "dram": (kernel.dram_read_bytes + kernel.dram_write_bytes) / chip.memory.bandwidth_bytes_per_second,
        "link": kernel.link_bytes / chip.link.bandwidth_bytes_per_second,
    }


def kept_fraction(kernel: Kernel) -> float:
    """Part of the scores that a causal mask keeps: each new token sees the keys up to its own; 1 for other kernels."""
    if kernel.kind != "attention":
        return 1.0
    q_len, kv_len = kernel.sizes[4:]
    return (kv_len - (q_len - 1) / 2) / kv_len
