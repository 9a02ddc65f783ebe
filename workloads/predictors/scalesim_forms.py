"""``scalesim``: the closed form of SCALE-Sim (Samajdar et al., ISPASS 2020, section III) for arrays that share the folds.

A fold of an R x C array takes 2 R + C + T - 2 cycles, T being the size that is streamed; there are ceil(S_R / R) ceil(S_C / C)
folds, shared out to all arrays of the chip. Memory is taken to keep up.
"""

from __future__ import annotations

from math import ceil

from uarch.chip.schema import Chip
from uarch.errors import InputError
from workloads.predictors.kernel import Kernel


def scalesim(chip: Chip, kernel: Kernel) -> float:
    """Seconds of a kernel; a :class:`workloads.predictors.kernel.Predictor` of matrix products and attention."""
    arrays = chip.core.count * chip.core.lanes
    if kernel.kind == "gemm":
        m, n, k = kernel.sizes
        cycles = product_cycles(chip, m, n, k, 1, arrays)
    elif kernel.kind == "batched_gemm":
        batch, m, n, k = kernel.sizes
        cycles = product_cycles(chip, m, n, k, batch, arrays)
    elif kernel.kind == "attention":
        batch, q_heads, kv_heads, head_dim, q_len, kv_len = kernel.sizes
        rows, heads = q_len * (q_heads // kv_heads), batch * kv_heads
        cycles = product_cycles(chip, rows, kv_len, head_dim, heads, arrays)
        cycles += product_cycles(chip, rows, head_dim, kv_len, heads, arrays)
    else:
        raise InputError(f"kernel {kernel.kind!r}: scalesim has no model of it; allowed: gemm, batched_gemm, attention")
    return cycles / (chip.clock.tensor_hz * chip.macs_per_pe_per_cycle(kernel.dtype))


def product_cycles(chip: Chip, m: int, n: int, k: int, batch: int, arrays: int) -> int:
    """Cycles of ``batch`` products at one MAC per PE and cycle."""
    array = chip.core.systolic
    spatial_rows, spatial_cols, temporal = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[array.dataflow]
    folds = batch * ceil(spatial_rows / array.rows) * ceil(spatial_cols / array.cols)
    return ceil(folds / arrays) * (2 * array.rows + array.cols + temporal - 2)
