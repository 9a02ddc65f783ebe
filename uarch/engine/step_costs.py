"""How long each step of a program keeps its unit busy: computed once per program, before the event loop."""

from __future__ import annotations

import numpy as np

from uarch.engine.machine import Machine
from uarch.jit import inline, kernel
from uarch.picoseconds import duration_ps
from uarch.program.records import NONE, A, B, Op, StructArray
from uarch.systolic.cycles import busy_cycles, ceil_div, fill_drain_cycles, operand_traffic

_MATMUL = int(Op.MATMUL)

STEP_COST = np.dtype(
    [
        ("busy_ps", np.int64),  # time for which the step occupies its unit
        ("l1_excess_ps", np.int64),  # part of it that is due to L1 bandwidth alone
        ("drain_ps", np.int64),  # until a step of another kind can use the result: array fill and drain, L1 latency
        ("l1_bytes", np.int64),
        ("macs", np.int64),
    ]
)


@inline
def _box_bytes(tensors: StructArray, operand: StructArray) -> int:
    """Bytes of an operand's box; slots are registers and accumulators, which L1 does not see."""
    if operand["tensor"] == NONE:
        return 0
    elements = operand["n_batch"] * operand["n_rows"] * operand["n_cols"]
    return int(elements * tensors[operand["tensor"]]["element_bits"] + 7) // 8


@inline
def _lane_reads(machine: Machine, lanes_m: int, m: int, n: int, k: int) -> tuple[int, int]:
    """Elements of A and of B that all lanes, ``lanes_m`` of them along m, read from L1 for parts of ``m x n`` each.

    Arrays that read L1 get by broadcast what other lanes need as well. Threads that fill registers read for themselves.
    """
    lanes_n = machine.lanes // lanes_m
    edge = machine.register_tile
    if edge == 0:
        a_reads, b_reads, _, _ = operand_traffic(machine.dataflow, machine.rows, machine.cols, m, n, k)
        return a_reads * lanes_m, b_reads * lanes_n
    lanes = lanes_m * lanes_n
    return lanes * m * k * ceil_div(n, edge), lanes * n * k * ceil_div(m, edge)


@inline
def _best_split(machine: Machine, m: int, n: int, k: int) -> tuple[int, int, int]:
    """Array cycles, and elements of A and B read from L1, of a tile that is split over the lanes along m and n."""
    best_cycles, best_a, best_b = -1, 0, 0
    lanes_m = 1
    while lanes_m <= machine.lanes:
        m_lane, n_lane = ceil_div(m, lanes_m), ceil_div(n, machine.lanes // lanes_m)
        cycles = busy_cycles(machine.dataflow, machine.rows, machine.cols, m_lane, n_lane, k)
        a_reads, b_reads = _lane_reads(machine, lanes_m, m_lane, n_lane, k)
        if best_cycles < 0 or cycles < best_cycles or (cycles == best_cycles and a_reads + b_reads < best_a + best_b):
            best_cycles, best_a, best_b = cycles, a_reads, b_reads
        lanes_m *= 2
    return best_cycles, best_a, best_b


@inline
def _element_bits(tensors: StructArray, operand: StructArray) -> int:
    """Bits of an element that comes out of L1; a slot feeds the array from registers."""
    return int(tensors[operand["tensor"]]["element_bits"]) if operand["tensor"] != NONE else 0


@kernel
def step_costs(machine: Machine, tensors: StructArray, steps: StructArray, operands: StructArray) -> StructArray:
    """``STEP_COST`` of every step.

    A matrix step is split over the lanes of its core along m and n in the way that keeps the arrays busy for the
    shortest time, and of several such ways the one that reads least from L1.
    """
    costs = np.zeros(len(steps), STEP_COST)
    chain_ps = duration_ps(
        fill_drain_cycles(machine.dataflow, machine.rows, machine.cols, machine.mac_stages), machine.array_cycle
    )
    for s in range(len(steps)):
        step, cost = steps[s], costs[s]
        cost["drain_ps"] = machine.l1_latency_ps
        if step["op"] == _MATMUL:
            cycles, a_reads, b_reads = _best_split(machine, step["array_m"], step["array_n"], step["array_k"])
            unit_ps = duration_ps(cycles, machine.array_cycle)
            a_bits, b_bits = _element_bits(tensors, operands[s, A]), _element_bits(tensors, operands[s, B])
            moved = (a_reads * a_bits * step["group"] // step["kept"] + b_reads * b_bits) // 8
            cost["drain_ps"] += chain_ps
            cost["macs"] = step["array_m"] * step["array_n"] * step["array_k"]
        else:
            unit_ps = max(
                duration_ps(step["vector_ops"], machine.vector_op), duration_ps(step["special_ops"], machine.special_op)
            )
            moved = _box_bytes(tensors, operands[s, A]) + _box_bytes(tensors, operands[s, B])
            cost["drain_ps"] += step["barriers"] * machine.step_gap_ps
        for which in range(3):  # loads fill L1 (those of its cache only on a miss), results leave through it
            if operands[s, which]["cached"] == 0:
                moved += _box_bytes(tensors, operands[s, which])
        l1_ps = duration_ps(moved, machine.l1_byte)
        cost["busy_ps"] = max(unit_ps, l1_ps)
        cost["l1_excess_ps"] = max(0, l1_ps - unit_ps)
        cost["l1_bytes"] = moved
    return costs


@kernel
def tile_busy_ps(machine: Machine, tiles: StructArray) -> StructArray:
    """Time on the arrays of a core for matrix tiles; ``tiles`` is int64 of shape ``(count, 3)``: m, n, k."""
    busy = np.empty(len(tiles), np.int64)
    for i in range(len(tiles)):
        busy[i] = duration_ps(_best_split(machine, tiles[i, 0], tiles[i, 1], tiles[i, 2])[0], machine.array_cycle)
    return busy


@kernel
def matrix_step_ps(machine: Machine, tiles: StructArray, element_bits: int) -> StructArray:
    """Time of one core for matrix steps whose operands come from memory: arrays or L1, whichever takes longer.

    ``tiles`` is int64 of shape ``(count, 3)``: m, n, k, both operands with elements of ``element_bits``.
    """
    taken = np.empty(len(tiles), np.int64)
    for i in range(len(tiles)):
        m, n, k = tiles[i, 0], tiles[i, 1], tiles[i, 2]
        cycles, a_reads, b_reads = _best_split(machine, m, n, k)
        moved = ((a_reads + b_reads + (m + n) * k) * element_bits) // 8
        taken[i] = max(duration_ps(cycles, machine.array_cycle), duration_ps(moved, machine.l1_byte))
    return taken
