"""Inline ECC: check bits kept among the data of devices that have no bits of their own for them.

A burst is the least that DRAM moves. It holds the check bits of neighbouring lines, so what it costs depends on the access:
bytes that are asked for together pay for whole bursts of check bits. A row of a matrix pays its share of capacity and little
more, a line by itself, as in a tile of a product, a burst of its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from uarch.chip.schema import Memory
from uarch.dram.standards.standard import load_standard
from uarch.program.records import GRANULE_ROW_BYTES, NONE, OUT, A, B, Op, StructArray, executions

_STEPS = 64
"""Number of steps to which a program's share of check bytes is rounded, since channels are measured for each share."""

Runs = int | npt.NDArray[np.int64]


def check_share(memory: Memory, run_bytes: Runs) -> npt.NDArray[np.float64]:
    """Check bytes that are moved for each byte of runs of neighbouring bytes, each of which is a line at least."""
    run = np.maximum(run_bytes, GRANULE_ROW_BYTES)
    burst_bytes = load_standard(memory.standard).burst_bytes
    share: npt.NDArray[np.float64] = np.ceil(run * memory.check_bytes_per_byte / burst_bytes) * burst_bytes / run
    return share


def data_bytes_per_second(memory: Memory, run_bytes: int = GRANULE_ROW_BYTES) -> float:
    """Bytes of data a second that the bus moves in runs of a length, check bytes left out."""
    return memory.bandwidth_bytes_per_second / (1 + float(check_share(memory, run_bytes)))


def check_share_of_program(memory: Memory, tensors: StructArray, steps: StructArray, operands: StructArray) -> float:
    """Mean check bytes for each byte of a program's operands; arrays as in :mod:`uarch.program.records`.

    What matrix steps read lies in memory along k, as libraries keep weights. A kernel without them goes along the rows of its
    tensors, neighbouring blocks beside each other: its runs are whole rows, those of other vector steps their boxes' rows.
    """
    if memory.check_bytes_per_byte == 0.0:
        return 0.0
    matrix = steps["op"] == Op.MATMUL
    times = executions(steps)
    moved = checked = 0.0
    for which in (A, B, OUT):
        used = operands[:, which]["tensor"] != NONE
        operand, step = operands[used, which], steps[used]
        tensor = tensors[operand["tensor"]]
        along = operand["n_cols"] if matrix.any() else tensor["cols"]
        if which != OUT:
            along = np.where(matrix[used], step["k"], along)
        elements = operand["n_batch"] * operand["n_rows"] * operand["n_cols"] * times[used]
        size_bytes = elements * tensor["element_bits"] / 8
        moved += size_bytes.sum()
        checked += (size_bytes * check_share(memory, along * tensor["element_bits"] // 8)).sum()
    return round(_STEPS * checked / moved) / _STEPS if moved else 0.0
