"""The ``analytical`` fidelity: roofline and closed forms over what a tile program computes and must move.

Time is that of the slowest resource when every one of them works without a pause: arrays, vector units, DRAM for the
compulsory traffic of a cold L2, link. Nothing waits, nothing is fetched twice, and what L2 can hold is not written back: no
run on the engine that begins with a cold L2 is faster.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uarch.arrays import IntArray
from uarch.chip.schema import Chip
from uarch.engine.execute import KernelResult, TileProgramArrays
from uarch.engine.l2 import row_count, row_set
from uarch.events import Cause, Event
from uarch.jit import kernel
from uarch.picoseconds import PS_PER_SECOND
from uarch.program.boxes import first_row_of_part
from uarch.program.records import NONE, OUT, Op, Residence, StructArray, executions

_REMOTE = int(Residence.REMOTE)


class Traffic(NamedTuple):
    """Bytes that a program must move however it is scheduled: each row of a granule, the L2's line, counts once."""

    read_bytes: int
    """Bytes of local tensors that the program reads before it writes them."""
    written_bytes: int
    remote_bytes: int
    """Bytes read from peers; every load counts, since remote data is not kept."""


def compulsory_traffic(program: TileProgramArrays) -> Traffic:
    """Traffic of a program with a cold L2 of unlimited size."""
    read, written = np.zeros(program.n_granules, np.int64), np.zeros(program.n_granules, np.int64)
    return Traffic(*_traffic(program.tensors, program.steps, program.operands, program.tables, read, written))


def execute_analytically(chip: Chip, program: TileProgramArrays, *, launch_seconds: float = 0.0) -> KernelResult:
    """Closed-form result of a program, in the engine's terms; the whole time goes to the cause that bounds it."""
    steps, times = program.steps, executions(program.steps)
    matrix = steps["op"] == Op.MATMUL
    macs = int((times * steps["m"] * steps["n"] * steps["k"])[matrix].sum())
    vector_ops = int((times * steps["vector_ops"])[~matrix].sum())
    special_ops = int((times * steps["special_ops"])[~matrix].sum())
    traffic = compulsory_traffic(program)
    latency_seconds = chip.link.latency_seconds if program.link is None else program.link.latency_seconds
    dram_written = max(0, traffic.written_bytes - chip.l2.bytes)
    seconds = {
        Cause.MATRIX: 2 * macs / chip.peak_flops(program.dtype),
        Cause.VECTOR: max(2 * vector_ops / chip.peak_vector_flops, special_ops / chip.peak_special_ops_per_second),
        Cause.DRAM: (traffic.read_bytes + dram_written) / chip.memory.bandwidth_bytes_per_second,
        Cause.LINK: traffic.remote_bytes / chip.link.bandwidth_bytes_per_second
        + (latency_seconds if traffic.remote_bytes else 0.0),
    }
    bound = max(seconds, key=lambda cause: seconds[cause])
    causes_ps = np.zeros((1, len(Cause)), np.int64)
    causes_ps[0, bound] = round(seconds[bound] * PS_PER_SECOND)
    causes_ps[0, Cause.LAUNCH] = round(launch_seconds * PS_PER_SECOND)
    events = np.zeros(len(Event), np.int64)
    for event, count in (
        (Event.MACS, macs),
        (Event.VECTOR_OPS, vector_ops),
        (Event.SPECIAL_OPS, special_ops),
        (Event.L2_READ_BYTES, traffic.read_bytes + traffic.remote_bytes),
        (Event.L2_WRITE_BYTES, traffic.written_bytes),
        (Event.NOC_BYTES, traffic.read_bytes + traffic.remote_bytes + traffic.written_bytes),
        (Event.DRAM_READ_BYTES, traffic.read_bytes),
        (Event.DRAM_WRITE_BYTES, dram_written),
        (Event.LINK_BYTES, traffic.remote_bytes),
        (Event.STEPS, int(times.sum())),
    ):
        events[event] = count
    return KernelResult(
        total_ps=int(causes_ps.sum()), causes_ps=causes_ps, events=events, tensor_hz=chip.clock.tensor_hz
    )


@kernel
def _traffic(
    tensors: StructArray,
    steps: StructArray,
    operands: StructArray,
    tables: IntArray,
    read: StructArray,
    written: StructArray,
) -> tuple[int, int, int]:
    """Bytes (read, written, remote); ``read`` and ``written`` are sets of rows of each granule, empty at first."""
    read_bytes, written_bytes, remote_bytes = 0, 0, 0
    head = 0
    for s in range(len(steps)):
        if steps[s]["body"] > 0:
            head = s
        for iteration in range(steps[head]["repeat"]):
            for which in range(3):
                operand = operands[s, which]
                if operand["tensor"] == NONE:
                    continue
                tensor = tensors[operand["tensor"]]
                granule_rows, granule_cols = 1 << tensor["row_shift"], 1 << tensor["col_shift"]
                if tensor["residence"] == _REMOTE:
                    box = operand["n_batch"] * operand["n_rows"] * operand["n_cols"]
                    remote_bytes += (box * tensor["element_bits"] + 7) // 8
                    continue
                first_col = operand["col"] + iteration * operand["step_col"]
                last_col = first_col + operand["n_cols"] - 1
                for b in range(operand["n_batch"]):
                    first_row = first_row_of_part(tables, tensor, operand, iteration, b)
                    last_row = first_row + operand["n_rows"] - 1
                    for i in range(first_row // granule_rows, last_row // granule_rows + 1):
                        top = max(first_row - i * granule_rows, 0)
                        rows = row_set(top, min(last_row + 1 - i * granule_rows, granule_rows) - top)
                        for j in range(first_col // granule_cols, last_col // granule_cols + 1):
                            cols = min(granule_cols, tensor["cols"] - j * granule_cols)
                            granule = tensor["first_granule"] + i * tensor["granules_across"] + j
                            row_bytes = (cols * tensor["element_bits"] + 7) // 8
                            if which == OUT:
                                written_bytes += row_count(rows & ~written[granule]) * row_bytes
                                written[granule] |= rows
                            else:
                                read_bytes += row_count(rows & ~(read[granule] | written[granule])) * row_bytes
                                read[granule] |= rows
    return read_bytes, written_bytes, remote_bytes
