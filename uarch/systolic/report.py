"""What one GEMM does on an array, as an architect reads it: time, use of the PEs, traffic and energy events."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.errors import must_be
from uarch.jit import kernel
from uarch.systolic.cycles import Overlap, SystolicArray, Traffic, ceil_div, fold_count, mapping, tile_cycles
from uarch.systolic.sparsity import DENSE, Structure, index_bits, kept_k, sparse_traffic

_ACCUMULATOR_BITS = 32


class TileReport(NamedTuple):
    """Report of one tile on one array, made by :func:`report`; fractions are between 0 and 1."""

    cycles: int
    folds: int
    utilization: float
    """Utilisation as each convention of overlap defines it.

    ``Overlap.NONE``: SCALE-Sim's, the operator's MACs (skipped ones included) over those possible in ``last_cycle_index``
    cycles. ``Overlap.FULL``: these MACs over those possible in ``cycles``.
    """
    pe_utilization: float
    """Executed MACs over those possible in ``cycles``; never above 1."""
    mapping_efficiency: float
    """Share of PEs with work, averaged over folds."""
    macs: int
    """Multiply-accumulates that are executed; N:M sparsity skips the others."""
    traffic: Traffic
    """Elements that pass between L1 and the array."""
    l1_read_bytes: int
    """Bytes of operands, indices of N:M weights and partial sums (4 bytes each) that are read."""
    l1_write_bytes: int
    """Bytes of partial sums and outputs (4 bytes each) that are written: the array writes what it accumulates."""

    @property
    def last_cycle_index(self) -> int:
        """Index of the last cycle, counted from 0."""
        return self.cycles - 1


def step_of_rate(rate: Fraction) -> tuple[int, int]:
    """``k_per_step`` and ``cycles_per_step`` of a PE that does ``rate`` MACs per cycle.

    Raises:
        InputError: not positive.
    """
    if rate <= 0:
        raise must_be("macs_per_pe_cycle", str(rate), "positive, such as 2 or 1/4")
    return rate.numerator, rate.denominator


def check_array(array: SystolicArray, m: int, n: int, k: int) -> None:
    """Raise ``InputError`` for sizes that no array or matrix has."""
    sizes = {"rows": array.rows, "cols": array.cols, "m": m, "n": n, "k": k, "mac_stages": array.mac_stages}
    for name, value in sizes.items():
        if value < 1:
            raise must_be(name, value, "at least 1")
    if array.accumulator_rows < 0:
        raise must_be("accumulator_rows", array.accumulator_rows, "at least 0")


def report(
    array: SystolicArray, m: int, n: int, k: int, sparsity: Structure = DENSE, element_bits: int = 16
) -> TileReport:
    """Report on a tile of ``m x n x k`` on its own on ``array``, with weights B sparse along k.

    Raises:
        InputError: a size is below 1.
    """
    check_array(array, m, n, k)
    kept = int(kept_k(k, *sparsity))
    cycles, folds = int(tile_cycles(array, m, n, kept)), int(fold_count(array, m, n, kept))
    on_rows, on_cols, _ = mapping(array.dataflow, m, n, ceil_div(kept, array.k_per_step))
    pes = array.rows * array.cols
    rate = Fraction(array.k_per_step, array.cycles_per_step)
    traffic = Traffic(*(int(count) for count in sparse_traffic(array, m, n, k, *sparsity)))
    operands = traffic.a_reads + traffic.b_reads
    indices = traffic.b_reads * index_bits(sparsity.group)
    sums = traffic.partial_reads, traffic.partial_writes + traffic.output_writes
    reference_cycles = max(1, cycles - 1) if array.overlap == Overlap.NONE else cycles
    return TileReport(
        cycles=cycles,
        folds=folds,
        utilization=float(m * n * k / (reference_cycles * pes * rate)),
        pe_utilization=float(m * n * kept / (cycles * pes * rate)),
        mapping_efficiency=on_rows * on_cols / (folds * pes),
        macs=m * n * kept,
        traffic=traffic,
        l1_read_bytes=ceil_div(operands * element_bits + indices + sums[0] * _ACCUMULATOR_BITS, 8),
        l1_write_bytes=ceil_div(sums[1] * _ACCUMULATOR_BITS, 8),
    )


@kernel
def utilization_over_shapes(
    array: SystolicArray, m: npt.NDArray[np.int64], n: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.float64]:
    """Share of MAC slots in use, float64 ``(len(m), len(n))``, for each m and n at one k."""
    result = np.empty((m.size, n.size))
    slots = array.rows * array.cols * array.k_per_step / array.cycles_per_step
    for row in range(m.size):
        for col in range(n.size):
            result[row, col] = m[row] * n[col] * k / (tile_cycles(array, m[row], n[col], k) * slots)
    return result


def utilization_over_arrays(
    array: SystolicArray, rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64], shape: tuple[int, int, int]
) -> npt.NDArray[np.float64]:
    """Share of MAC slots in use for one ``(m, n, k)`` on arrays of each size, float64 ``(len(rows), len(cols))``."""
    m, n, k = shape
    ms, ns = np.array([m]), np.array([n])
    return np.array(
        [
            [utilization_over_shapes(array._replace(rows=int(r), cols=int(c)), ms, ns, k)[0, 0] for c in cols]
            for r in rows
        ]
    )
