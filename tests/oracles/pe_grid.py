"""A register-transfer simulation of the PE grid: numbers move one register per cycle, there are no closed forms.

Read it as a description of the hardware. Two machines are enough: in ``pe_grid_output_stationary`` both operands move
and sums stay; in ``pe_grid_weight_stationary`` one operand waits in the PEs, the other moves right and sums move down.
The input-stationary array is the second machine on the transposed problem, ``C^T = B^T @ A^T``.

Every operand travels with a *token*, ``fold * stream + position``, so that the simulation can check that the two
operands which meet in a PE belong together, and that no register is overwritten while its value is still needed. A
controller that issues work too early does not get a wrong count: it gets a :class:`HazardError`.

A PE works on vectors of ``lanes`` elements per step: one lane for plain dense work, several for packed narrow types,
and for N:M sparsity the whole group of M activations, of which a weight's index selects one.

The functions are compiled for speed, and run just the same as plain Python with ``NUMBA_DISABLE_JIT=1``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.oracles.pe_grid_output_stationary import run_output_stationary
from tests.oracles.pe_grid_weight_stationary import run_weight_stationary
from tests.oracles.pe_registers import EMPTY, HazardError, Integers, Operand
from uarch.systolic.cycles import Dataflow, SystolicArray

__all__ = ["GridRun", "HazardError", "Operand", "dense_operands", "run_grid", "sparse_operands"]


class GridRun(NamedTuple):
    """What the hardware did: the product and the counts."""

    product: Integers
    cycles: int
    a_reads: int
    b_reads: int
    partial_reads: int
    partial_writes: int
    output_writes: int


def dense_operands(a: Integers, b: Integers, k_per_step: int = 1) -> tuple[Operand, Operand]:
    """``a`` (m, k) and ``b`` (k, n) with ``k_per_step`` consecutive k in one step."""
    a_side, b_side = (
        Operand(side[:, :, None], np.arange(side.size).reshape(side.shape)[:, :, None]) for side in (a, b)
    )
    return _pack(a_side, 1, k_per_step), _pack(b_side, 0, k_per_step)


def sparse_operands(a: Integers, b: Integers, kept: int, group: int, k_per_step: int = 1) -> tuple[Operand, Operand]:
    """Operands for weights ``b`` with at most ``kept`` non-zeros in each ``group`` of k, column by column.

    Slot ``(g, s)`` brings all activations of group g and the s-th kept weight of that group, in the lane of its index;
    a step has ``k_per_step`` slots.
    """
    m, k = a.shape
    n = b.shape[1]
    slots = [(first, slot) for first in range(0, k, group) for slot in range(min(kept, k - first))]
    a_side = Operand(*(np.full((m, len(slots), group), fill) for fill in (0, EMPTY)))
    b_side = Operand(*(np.full((len(slots), n, group), fill) for fill in (0, EMPTY)))
    for step, (first, slot) in enumerate(slots):
        size = min(group, k - first)
        a_side.values[:, step, :size] = a[:, first : first + size]
        a_side.addresses[:, step, :size] = np.arange(m)[:, None] * k + np.arange(first, first + size)
        for column in range(n):
            weights = b[first : first + size, column]
            lane = np.argsort(weights == 0, kind="stable")[slot]  # non-zeros first, in order
            b_side.values[step, column, lane] = weights[lane]
            b_side.addresses[step, column, lane] = (first + lane) * n + column
    return _pack(a_side, 1, k_per_step), _pack(b_side, 0, k_per_step)


def _pack(side: Operand, k_axis: int, k_per_step: int) -> Operand:
    """``k_per_step`` neighbours along ``k_axis`` become lanes of one step; the last step is padded."""
    padding = [(0, 0)] * 3
    padding[k_axis] = (0, -side.values.shape[k_axis] % k_per_step)
    packed = []
    for part, fill in zip(side, (0, EMPTY), strict=True):
        by_k = np.moveaxis(np.pad(part, padding, constant_values=fill), k_axis, 0)
        steps = by_k.reshape(-1, k_per_step, *by_k.shape[1:])
        lanes = np.concatenate(np.moveaxis(steps, 1, 0), axis=-1)
        packed.append(np.ascontiguousarray(np.moveaxis(lanes, 0, k_axis)))
    return Operand(*packed)


def run_grid(array: SystolicArray, a: Operand, b: Operand, head_start: int = 0) -> GridRun:
    """Multiply on ``array``; each step takes one cycle here, whatever ``cycles_per_step`` says.

    Args:
        array: size, dataflow and options.
        a: operand of (m, k / lanes) steps.
        b: operand of (k / lanes, n) steps.
        head_start: cycles by which the controller starts a fold before the hardware is ready for it.

    Raises:
        HazardError: the schedule does not work on this hardware.
    """
    counts = np.zeros(6, np.int64)
    if array.dataflow == Dataflow.OS:
        product = run_output_stationary(array, a, b, counts, head_start)
    elif array.dataflow == Dataflow.WS:
        product = run_weight_stationary(array, a, b, counts, head_start)
    else:
        turned = [Operand(*(np.ascontiguousarray(part.transpose(1, 0, 2)) for part in side)) for side in (b, a)]
        product = run_weight_stationary(array, turned[0], turned[1], counts, head_start).T
        counts[[1, 2]] = counts[[2, 1]]
    return GridRun(product, *(int(count) for count in counts))
