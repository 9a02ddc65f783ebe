"""``lltile``: LLMCompass's block model (Zhang et al., ISCA 2024) of whole layers, as papers that build on it use it.

Ideal DRAM, one clock, nothing kept in L2 from kernel to kernel, no contention, no skew. GEMMs are in
:mod:`workloads.predictors.block_gemm`. Kernels over rows read an L2 tile, compute it and write it, one after the other, all
in the vector units' datatype. What the tool lacks is modelled in its spirit: grouped heads multiply as one larger matrix; a
fused attention is bound by its traffic or by the sum of its array and vector work; a norm that adds a residual moves that
too; collectives go over a switch, as :mod:`kernels.collectives.collectives` has it.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import ceil, log2

from kernels.collectives.libraries import one_shot_seconds, payload_bytes_per_second, two_phase_seconds
from uarch.chip.schema import Chip
from uarch.datatypes import datatype
from uarch.errors import InputError
from workloads.predictors.block_gemm import BlockMachine, array_cycles, fastest_cycles
from workloads.predictors.kernel import LINK_KINDS, ROW_KINDS, Kernel

EXP_FLOPS = 35
"""FLOP of one exponential on the vector units."""
SOFTMAX_FLOPS = 3 * EXP_FLOPS + 7
"""FLOP of a softmax per element: running maximum and sum, then the scaled exponential."""
GELU_FLOPS = EXP_FLOPS + 10
NORM_FLOPS = 10
"""FLOP of a norm per element: mean; difference, square and sum; difference, scale, gamma and beta."""
_ROW_FLOPS = {"softmax": SOFTMAX_FLOPS, "norm": NORM_FLOPS, "residual_norm": NORM_FLOPS + 1}
_KEY_TILE = 128


def lltile(chip: Chip, kernel: Kernel, vector_dtype: str = "fp32") -> float:
    """Seconds of a kernel; a :class:`workloads.predictors.kernel.Predictor`. ``vector_dtype``: of softmax and norms."""
    hz = chip.clock.tensor_hz
    if kernel.kind in LINK_KINDS:
        return _link_seconds(chip, kernel)
    if kernel.kind in _ROW_FLOPS:
        return _row_cycles(kernel, _machine(chip, kernel.dtype, vector_dtype)) / hz
    machine = _machine(chip, kernel.dtype, kernel.dtype)
    if kernel.kind == "gemm":
        m, n, k = kernel.sizes
        return _gemm_cycles(m, n, k, machine) / hz
    if kernel.kind == "batched_gemm":
        return _batched_gemm_cycles(kernel, machine) / hz
    if kernel.kind == "attention":
        return _attention_cycles(kernel, machine) / hz
    if kernel.kind in ROW_KINDS:
        return _elementwise_cycles(kernel, machine) / hz
    raise InputError(f"kernel {kernel.kind!r}: lltile has no model of it")


@lru_cache(maxsize=1024)
def _machine(chip: Chip, dtype: str, stored_as: str) -> BlockMachine:
    """The chip for matrix work in ``dtype``, memories in elements of ``stored_as``."""
    hz, core, element_bytes = chip.clock.tensor_hz, chip.core, datatype(stored_as).bits / 8
    l2_bytes_per_cycle = chip.l2_bytes_per_second / hz
    by_cores = core.count * chip.block_model.l2_read_bytes_per_cycle_per_core
    return BlockMachine(
        cores=core.count,
        lanes=core.lanes,
        rows=core.systolic.rows,
        cols=core.systolic.cols,
        macs_per_pe_per_cycle=chip.macs_per_pe_per_cycle(dtype),
        l1_elements=int(core.l1.bytes / element_bytes),
        l2_elements=int(chip.l2.bytes / element_bytes),
        dram_rate=chip.memory.bandwidth_bytes_per_second / hz / element_bytes,
        l2_rate=l2_bytes_per_cycle / element_bytes,
        l2_read_rate=min(l2_bytes_per_cycle, by_cores) / element_bytes,
        vector_rate=chip.peak_vector_flops / core.count / hz,
    )


def _gemm_cycles(m: int, n: int, k: int, machine: BlockMachine) -> float:
    if m == 1 or n == 1:  # the vector units do it, at the roofline
        return max((m * k + k * n + m * n) / machine.dram_rate, 2 * m * n * k / (machine.vector_rate * machine.cores))
    return fastest_cycles(m, n, k, machine)


def _batched_gemm_cycles(kernel: Kernel, machine: BlockMachine) -> float:
    """One product after the other, or all as one with the batch laid along k."""
    batch, m, n, k = kernel.sizes
    as_one = _gemm_cycles(m, n, k * batch, machine) + (batch - 1) * m * n / machine.dram_rate
    return min(batch * _gemm_cycles(m, n, k, machine), as_one)


def _attention_cycles(kernel: Kernel, machine: BlockMachine) -> float:
    """Lanes take blocks of queries of one K/V head and go over all keys, a tile of each at a time."""
    batch, q_heads, kv_heads, head_dim, q_len, kv_len = kernel.sizes
    queries = q_len * q_heads // kv_heads
    rows, keys = min(_KEY_TILE, queries), min(_KEY_TILE, kv_len)
    tiles = batch * kv_heads * ceil(queries / rows) * ceil(kv_len / keys)
    arrays = float(array_cycles(rows, keys, head_dim, machine) + array_cycles(rows, head_dim, keys, machine))
    vectors = rows * keys * SOFTMAX_FLOPS / (machine.vector_rate / machine.lanes)
    traffic = (kernel.dram_read_bytes + kernel.dram_write_bytes) / kernel.element_bytes / machine.dram_rate
    return max(ceil(tiles / (machine.cores * machine.lanes)) * (arrays + vectors), traffic)


def _row_cycles(kernel: Kernel, machine: BlockMachine) -> float:
    """Rows that are reduced: L2 holds whole rows, a core its share of them, whole or in parts, one or two at a time."""
    rows, cols = kernel.sizes
    costs, flops = ROW_KINDS[kernel.kind], _ROW_FLOPS[kernel.kind]
    l2_rows = max(1, min(rows, machine.l2_elements // cols))
    tiles, rest = divmod(rows, l2_rows)
    core_l2_rate = machine.l2_rate / machine.cores

    def compute_cycles(n_rows: int) -> float:
        choices = []
        for parts, buffers in product((1, 2, 4, 8, 16, 32), (1, 2)):
            width = ceil(cols / parts)
            height = min(ceil(n_rows / machine.cores), machine.l1_elements // width // buffers)
            if height:
                waves = ceil(ceil(n_rows / height) * parts / machine.cores)
                moved, work = height * width / core_l2_rate, height * width * flops / machine.vector_rate
                merged = log2(parts) * 2 * (moved + height * width / machine.vector_rate)
                wave = max(moved, work) if buffers == 2 else 2 * moved + work
                choices.append((waves + buffers - 1) * wave + waves * merged)
        return min(choices)

    moved = (costs.reads + costs.writes) * rows * cols / machine.dram_rate
    return moved + tiles * compute_cycles(l2_rows) + (compute_cycles(rest) if rest else 0)


def _elementwise_cycles(kernel: Kernel, machine: BlockMachine) -> float:
    costs = ROW_KINDS[kernel.kind]
    elements = kernel.sizes[0] * kernel.sizes[1]
    flops = GELU_FLOPS if kernel.kind in {"gelu", "silu"} else costs.operations
    moved = elements * (costs.reads + costs.writes) / min(machine.dram_rate, machine.l2_rate)
    return max(moved, elements * flops / (machine.vector_rate * machine.cores))


def _link_seconds(chip: Chip, kernel: Kernel) -> float:
    elements, ranks = kernel.sizes
    size_bytes = int(elements * kernel.element_bytes)
    if kernel.kind == "all_reduce":
        return min(one_shot_seconds(chip, size_bytes, ranks), two_phase_seconds(chip, size_bytes, ranks))
    return chip.link.latency_seconds + kernel.link_bytes / payload_bytes_per_second(chip)
