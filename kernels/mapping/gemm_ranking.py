"""Mappings of matrix products that fit a chip's cores, ranked by a closed form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import ceil, sqrt

import numpy as np

from kernels.gemm.gemm import fix_up_l1_bytes
from kernels.gemm.tiles import GemmMapping, ProductShape
from kernels.gemm.weights import WeightFormat, plain
from kernels.mapping.ranking import SPLITS, TILE_K_SIZES, TILE_SIZES, Estimate, best_first, for_arrays, refreshed, up_to
from kernels.mapping.tile_menu import ProductMenu, library_mappings, library_menu
from uarch.chip.schema import Chip
from uarch.datatypes import ACCUMULATOR_BYTES, datatype
from uarch.engine.inline_ecc import data_bytes_per_second
from uarch.engine.machine import Machine, lower
from uarch.engine.resident_blocks import MAX_STAGES
from uarch.engine.step_costs import matrix_step_ps
from uarch.errors import InputError
from uarch.picoseconds import PS_PER_SECOND


@dataclass(frozen=True)
class _Product:
    """Sizes of a product as the closed form needs them, entries without rows left out."""

    rows: dict[int, int]
    """Number of entries by their number of rows."""
    n: int
    k: int
    weights: WeightFormat

    @property
    def entries(self) -> int:
        return sum(self.rows.values())

    @property
    def total_rows(self) -> int:
        return sum(rows * count for rows, count in self.rows.items())

    @property
    def largest(self) -> int:
        return max(self.rows)

    @property
    def bits(self) -> int:
        return datatype(self.weights.matrix_dtype).bits

    def tiles(self, mapping: GemmMapping) -> int:
        """Output tiles of all entries."""
        down = sum(ceil(rows / mapping.tile_m) * count for rows, count in self.rows.items())
        return down * ceil(self.n / mapping.tile_n)

    def tile_bytes(self, mapping: GemmMapping, m: int, n: int) -> float:
        """Bytes of the operands of one tile of k."""
        return (mapping.tile_k * m * self.bits + self.weights.tile_bits(mapping.tile_k, n)) / 8


def rank_gemm(
    chip: Chip,
    shape: ProductShape,
    *,
    dtype: str = "fp16",
    pack: int = 1,
    packed_columns: bool = False,
    weights: WeightFormat | None = None,
) -> list[Estimate[GemmMapping]]:
    """All mappings that fit the chip's cores, best closed-form time first.

    Raises :class:`InputError` if none fits.
    """
    menu = library_menu(chip.menu).products
    return list(_ranked(chip, menu, shape, dtype, pack, packed_columns, weights or plain(dtype)))


@lru_cache(maxsize=256)
def _ranked(
    chip: Chip,
    menu: ProductMenu,
    shape: ProductShape,
    dtype: str,
    pack: int,
    packed_columns: bool,
    weights: WeightFormat,
) -> tuple[Estimate[GemmMapping], ...]:
    """Ranked mappings of a product, remembered, since the layers of a model ask for the same products again and again."""
    machine = lower(chip, dtype)
    entries, counts = np.unique(shape.entry_rows[shape.entry_rows > 0], return_counts=True)
    rows = dict(zip(entries.tolist(), counts.tolist(), strict=True))
    sizes = _Product(rows, shape.n, shape.k, weights)
    plainly = pack == 1 and sizes.weights == plain(dtype)
    mappings = list(library_mappings(menu, machine, shape, sizes.bits)) if chip.uses_library and plainly else []
    mappings = mappings or list(_mappings(machine, sizes, pack, packed_columns))
    if not mappings:
        raise InputError(f"gemm {shape}: no tile fits into {machine.l1_bytes} bytes of L1 of {chip.name}")
    depth = int(sizes.weights.kept(1 << 20)) / (1 << 20) if sizes.weights.skips_zeros else 1.0
    tiles = np.array([(*_array_tile(c, sizes), ceil(c.tile_k * depth)) for c in mappings], np.int64)
    busy = matrix_step_ps(machine, tiles, sizes.bits) / PS_PER_SECOND
    share = refreshed(chip)
    ranked = [
        Estimate(mapping, _seconds(chip, machine, sizes, mapping, float(step_seconds), share), _steps(sizes, mapping))
        for mapping, step_seconds in zip(mappings, busy, strict=True)
    ]
    return tuple(best_first(ranked))


def _array_tile(mapping: GemmMapping, sizes: _Product) -> tuple[int, int]:
    """Rows and columns that the arrays compute in a step."""
    if mapping.whole_tiles:
        return mapping.tile_m, mapping.tile_n
    return min(mapping.tile_m, sizes.largest), min(mapping.tile_n, sizes.n)


def _mappings(machine: Machine, sizes: _Product, pack: int, packed_columns: bool) -> Iterable[GemmMapping]:
    form = sizes.weights
    tile_sizes = for_arrays(TILE_SIZES, machine.lanes * max(machine.rows, machine.cols))
    sizes_m = sorted({pack * max(1, size // pack) for size in up_to(tile_sizes, sizes.largest)})
    sizes_n = [sizes.n] if packed_columns and pack > 1 else up_to(tile_sizes, sizes.n)
    sizes_k = [sizes.k] if pack > 1 and not packed_columns else _tile_k_sizes(machine, form, sizes.k)
    for tile_m, tile_n, tile_k in product(sizes_m, sizes_n, sizes_k):
        stage_bytes = ceil((tile_k * tile_m * sizes.bits + form.tile_bits(tile_k, tile_n)) / 8)
        accumulators = tile_m * tile_n * ACCUMULATOR_BYTES
        registers = accumulators + form.register_bytes(tile_m, tile_n, tile_k)
        if max(2 * accumulators, registers) > machine.register_bytes or 2 * stage_bytes > machine.l1_bytes:
            continue
        k_tiles = ceil(sizes.k / tile_k)
        raster = min(ceil(sizes.largest / tile_m), max(1, round(sqrt(machine.cores * tile_n / tile_m))))
        for resident, split in product((1, 2), SPLITS):
            most = MAX_STAGES // form.steps_per_tile
            stages = min(most, machine.l1_bytes // resident // stage_bytes, k_tiles + 1)
            mapping = GemmMapping(tile_m, tile_n, tile_k, stages, split, raster)
            crowded = sizes.tiles(mapping) * split > 4 * machine.cores
            if stages < 2 or split > max(1, k_tiles // 4) or (split > 1 and (sizes.entries > 1 or crowded)):
                continue
            if split == 1 or fix_up_l1_bytes(mapping) <= machine.l1_bytes:
                yield mapping


def _tile_k_sizes(machine: Machine, form: WeightFormat, k: int) -> list[int]:
    """Sizes of the menu that hold whole groups of weights; one group if none does."""
    menu = for_arrays(TILE_K_SIZES, max(machine.rows, machine.cols) // 2)
    suiting = [size for size in up_to(menu, k) if form.allows_tile_k(size)]
    return suiting or [form.group_size or form.structure.group]


def _steps(sizes: _Product, mapping: GemmMapping) -> int:
    per_tile = ceil(sizes.k / mapping.tile_k) * sizes.weights.steps_per_tile
    return sizes.tiles(mapping) * (per_tile + 2 * mapping.split_k)


def _seconds(
    chip: Chip, machine: Machine, sizes: _Product, mapping: GemmMapping, array_seconds: float, share: float
) -> float:
    """Closed-form time: the slowest of arrays, vector units, ports, L2 and DRAM, plus start and end.

    ``share``: of the time in which DRAM is not refreshing.
    """
    blocks = sizes.tiles(mapping) * mapping.split_k
    steps = ceil(ceil(sizes.k / mapping.tile_k) / mapping.split_k)
    m, n = min(mapping.tile_m, sizes.largest), min(mapping.tile_n, sizes.n)
    bits = sizes.bits
    step_bytes = sizes.tile_bytes(mapping, m, n)
    port = chip.noc.read_bytes_per_cycle_per_core * chip.clock.l2_hz
    resident = max(1, min(machine.l1_bytes // max(1, mapping.stages * int(step_bytes)), 4))
    gap_seconds = machine.step_gap_ps / PS_PER_SECOND
    array_seconds = max(array_seconds, (array_seconds + gap_seconds) / min(resident, ceil(blocks / machine.cores)))
    store_seconds = m * n * bits / 8 / (chip.noc.write_bytes_per_cycle_per_core * chip.clock.l2_hz)
    latency = chip.l2.latency_seconds + chip.memory.latency_seconds + 1e-7
    vector = 2 * sizes.weights.vector_ops(m, n, mapping.tile_k) * chip.core.count / chip.peak_vector_flops
    registers = m * n * ACCUMULATOR_BYTES + sizes.weights.register_bytes(m, n, mapping.tile_k)
    overlapping = min(resident, machine.register_bytes // registers, ceil(blocks / machine.cores))
    compute = max(array_seconds, vector, (array_seconds + vector) / max(1, overlapping))
    cores = ceil(blocks / machine.cores) * (steps * max(compute, step_bytes / port) + store_seconds / resident)

    bytes_in = (sizes.total_rows * sizes.k * bits + sizes.entries * sizes.weights.matrix_bits(sizes.k, sizes.n)) / 8
    bytes_out = sizes.total_rows * sizes.n * bits / 8
    in_flight = min(blocks, machine.cores * resident) * mapping.stages * step_bytes
    bandwidth = min(data_bytes_per_second(chip.memory), in_flight / latency)
    dram = (bytes_in + bytes_out) / (bandwidth * share)
    below, beside = min(chip.noc.multicast_cores, mapping.raster_rows), chip.noc.multicast_cores // mapping.raster_rows
    shared_bytes = (mapping.tile_k * m * bits / max(1, beside) + sizes.weights.tile_bits(mapping.tile_k, n) / below) / 8
    l2 = (blocks * steps * shared_bytes + bytes_out) / chip.l2_bytes_per_second
    seconds = max(cores, dram, l2) + 2 * latency + store_seconds
    if mapping.split_k > 1:
        partial = 2 * sizes.total_rows * sizes.n * ACCUMULATOR_BYTES * mapping.split_k
        spilt = max(0.0, partial - chip.l2.bytes)
        seconds += (
            partial / chip.l2_bytes_per_second
            + spilt / data_bytes_per_second(chip.memory)
            + 2 * chip.l2.latency_seconds
        )
        seconds += chip.launch.kernel_seconds
    return seconds
