"""What both machines of the PE grid are made of: operands in L1, edge sequencers, the inside of a PE, and counters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.jit import kernel

Integers = npt.NDArray[np.int64]

EMPTY = -1


class HazardError(AssertionError):
    """A register was overwritten while in use, or operands met that do not belong together."""


class Operand(NamedTuple):
    """A matrix in L1: int64 ``(rows, cols, lanes)`` of values, and of addresses (-1: padding, never read)."""

    values: Integers
    addresses: Integers


CYCLES, STREAM_READS, FIXED_READS, PARTIAL_READS, PARTIAL_WRITES, OUTPUT_WRITES = range(6)


@kernel
def fetch(
    operand: Operand, row: int, col: int, fold: int, last_fold: Integers, registers: Integers, i: int, j: int
) -> int:
    """L1 to the edge register of PE (i, j); returns the elements read. A fold reads an element once."""
    reads = 0
    for lane in range(registers.shape[2]):
        registers[i, j, lane] = 0
        if 0 <= row < operand.values.shape[0] and 0 <= col < operand.values.shape[1]:
            registers[i, j, lane] = operand.values[row, col, lane]
            address = operand.addresses[row, col, lane]
            if address != EMPTY and last_fold[address] != fold:
                last_fold[address] = fold
                reads += 1
    return reads


@kernel
def shift_issue(issue: Integers, token: int, broadcast: bool) -> None:
    """Edge sequencers: each starts one cycle after its neighbour, or all together."""
    for i in range(issue.size - 1, 0, -1):
        issue[i] = token if broadcast else issue[i - 1]
    issue[0] = token


@kernel
def dot(x: Integers, y: Integers, i: int, j: int) -> int:
    """What PE (i, j) multiplies and adds over its lanes in one step."""
    total = 0
    for lane in range(x.shape[2]):
        total += x[i, j, lane] * y[i, j, lane]
    return total


@kernel
def through_pipeline(products: Integers, tokens: Integers, i: int, j: int, product: int, token: int) -> tuple[int, int]:
    """Multiplier pipeline of PE (i, j), ``mac_stages - 1`` deep: what reaches the adder in this cycle."""
    for stage in range(products.shape[2]):
        products[i, j, stage], product = product, products[i, j, stage]
        tokens[i, j, stage], token = token, tokens[i, j, stage]
    return product, token


@kernel
def write(product: Integers, counts: Integers, row: int, col: int, value: int) -> None:
    """A finished output goes to L1; PEs beyond the matrix have none."""
    if row < product.shape[0] and col < product.shape[1]:
        product[row, col] = value
        counts[OUTPUT_WRITES] += 1
