"""The mapper: chooses tile sizes by a closed-form model and checks the best few on the engine.

The closed form is a lower-bound-like estimate (arrays, NoC port, L2, DRAM, whichever takes longest, plus fill and tail);
candidates are tried on the engine in its order until the estimate of the next one is no better than the best time found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from math import ceil, log, sqrt
from typing import Generic, TypeVar

import numpy as np

from kernels.attention import AttentionShape, FlashMapping, UnfusedAttention, merge_l1_bytes
from kernels.datatypes import ACCUMULATOR_BYTES, ELEMENT_BITS
from kernels.gemm import GemmMapping, GemmShape, fix_up_l1_bytes
from kernels.mapping_store import recall, remember, store_key
from kernels.program import TileProgram
from kernels.tile_menu import library_mappings
from uarch.chip import Chip
from uarch.contexts import MAX_STAGES
from uarch.engine import execute
from uarch.errors import InputError
from uarch.machine import Machine, lower, lower_dram
from uarch.rates import PS_PER_SECOND
from uarch.step_costs import matrix_step_ps, tile_busy_ps

TILE_SIZES = (16, 32, 64, 128, 256)
TILE_K_SIZES = (32, 64, 128)
SPLITS = (1, 2, 3, 4, 6, 8, 12, 16)
TRIALS = 16
"""Candidates that are tried on the engine, of each tile shape at most ``TRIALS_PER_TILE``."""
TRIALS_PER_TILE = 2
TRIAL_STEPS = 400_000
"""No further candidate is tried once the trials have executed this many steps."""

_INDISTINCT = 0.02
_EQUALLY_FAST = 1.005

M = TypeVar("M")
Mapping = TypeVar("Mapping", GemmMapping, FlashMapping)


@dataclass(frozen=True)
class Estimate(Generic[M]):
    """A candidate, its closed-form time, and how many steps its blocks execute."""

    mapping: M
    seconds: float
    steps: int


@dataclass(frozen=True)
class Search(Generic[M]):
    """What a search for a mapping came to."""

    mapping: M
    candidates: int
    """Mappings that fit the chip's cores, ranked by the closed form."""
    trials: int
    """How many of them were tried on the engine."""


@dataclass(frozen=True)
class Mapper:
    """Chooses mappings for a chip; with ``on_engine`` off by the closed form alone."""

    chip: Chip
    dtype: str = "fp16"
    on_engine: bool = True

    def gemm(
        self,
        shape: GemmShape,
        build: Callable[[GemmMapping], TileProgram],
        *,
        pack: int = 1,
        packed_columns: bool = False,
    ) -> GemmMapping:
        """Mapping of a GEMM whose program ``build`` makes; see :meth:`search_gemm`."""
        return self.search_gemm(shape, build, pack=pack, packed_columns=packed_columns).mapping

    def attention(self, shape: AttentionShape, build: Callable[[FlashMapping], TileProgram]) -> FlashMapping:
        """Mapping of streamed attention whose program ``build`` makes; see :meth:`search_attention`."""
        return self.search_attention(shape, build).mapping

    def search_gemm(
        self,
        shape: GemmShape,
        build: Callable[[GemmMapping], TileProgram],
        *,
        pack: int = 1,
        packed_columns: bool = False,
    ) -> Search[GemmMapping]:
        """Search for the mapping of a GEMM whose program ``build`` makes.

        ``pack``: rows come in groups of this size (see :class:`kernels.gemm.Operand`), so that a tile must cover K, or with
        ``packed_columns`` N.
        """
        ranked = rank_gemm(self.chip, shape, dtype=self.dtype, pack=pack, packed_columns=packed_columns)
        return self._choose(GemmMapping, ranked, build)

    def search_attention(
        self, shape: AttentionShape, build: Callable[[FlashMapping], TileProgram]
    ) -> Search[FlashMapping]:
        """Search for the mapping of streamed attention whose program ``build`` makes.

        Few query positions: the heads of a group are packed into rows and the KV cache is split until all cores have work.
        """
        ranked = rank_attention(self.chip, shape, dtype=self.dtype)
        return self._choose(FlashMapping, ranked, build)

    def search_unfused(self, attention: UnfusedAttention) -> tuple[Search[GemmMapping], Search[GemmMapping]]:
        """Search for the mappings of the two products of attention through memory."""
        pack = attention.pack
        scores = self.search_gemm(attention.qk_shape, attention.qk, pack=pack)
        sums = self.search_gemm(attention.pv_shape, attention.pv, pack=pack, packed_columns=True)
        return scores, sums

    def _choose(
        self,
        mapping_type: type[Mapping],
        ranked: Sequence[Estimate[Mapping]],
        build: Callable[[Mapping], TileProgram],
    ) -> Search[Mapping]:
        first = ranked[0].mapping
        from_library = isinstance(first, GemmMapping) and first.whole_tiles
        if not self.on_engine or len(ranked) == 1:
            return Search(first, len(ranked), 0)
        key = store_key(self.chip, build(ranked[0].mapping).relocated().key())
        known = recall(key)
        if known is not None:
            with suppress(KeyError, TypeError):  # a damaged file: search again
                mapping = mapping_type(**known["mapping"])
                if mapping in {estimate.mapping for estimate in ranked}:
                    return Search(mapping, len(ranked), int(known["trials"]))
        best, trials = _fastest(self.chip, ranked, build)
        remember(key, {"mapping": asdict(best), "trials": trials})
        return Search(best, len(ranked), trials)


def rank_gemm(
    chip: Chip, shape: GemmShape, *, dtype: str = "fp16", pack: int = 1, packed_columns: bool = False
) -> list[Estimate[GemmMapping]]:
    """All mappings that fit the chip's cores, best closed-form time first.

    Raises :class:`InputError` if none fits.
    """
    machine = lower(chip, dtype)
    bits = ELEMENT_BITS[dtype]
    mappings = list(library_mappings(machine, shape, bits)) if chip.uses_library and pack == 1 else []
    mappings = mappings or list(_gemm_mappings(machine, shape, bits, pack, packed_columns))
    if not mappings:
        raise InputError(f"gemm {shape}: no tile fits into {machine.l1_bytes} bytes of L1 of {chip.name}")
    tiles = np.array([_array_tile(mapping, shape) for mapping in mappings], np.int64)
    busy = matrix_step_ps(machine, tiles, bits) / PS_PER_SECOND
    refreshed = _refreshed(chip)
    ranked = [
        Estimate(
            mapping,
            _gemm_seconds(chip, machine, shape, mapping, float(step_seconds), bits, refreshed),
            _gemm_steps(shape, mapping),
        )
        for mapping, step_seconds in zip(mappings, busy, strict=True)
    ]
    return _best_first(ranked)


def _array_tile(mapping: GemmMapping, shape: GemmShape) -> tuple[int, int, int]:
    """What the arrays compute in a step."""
    if mapping.whole_tiles:
        return mapping.tile_m, mapping.tile_n, mapping.tile_k
    return min(mapping.tile_m, shape.m), min(mapping.tile_n, shape.n), mapping.tile_k


def _gemm_mappings(
    machine: Machine, shape: GemmShape, bits: int, pack: int, packed_columns: bool
) -> Iterable[GemmMapping]:
    sizes_m = sorted({pack * max(1, size // pack) for size in _up_to(TILE_SIZES, shape.m)})
    sizes_n = [shape.n] if packed_columns and pack > 1 else _up_to(TILE_SIZES, shape.n)
    sizes_k = [shape.k] if pack > 1 and not packed_columns else _up_to(TILE_K_SIZES, shape.k)
    for tile_m, tile_n, tile_k in product(sizes_m, sizes_n, sizes_k):
        stage_bytes = tile_k * (tile_m + tile_n) * bits // 8
        accumulators = tile_m * tile_n * ACCUMULATOR_BYTES
        if 2 * accumulators > machine.register_bytes or 2 * stage_bytes > machine.l1_bytes:
            continue
        k_tiles = ceil(shape.k / tile_k)
        tiles_m, tiles_n = ceil(shape.m / tile_m), ceil(shape.n / tile_n)
        raster = min(tiles_m, max(1, round(sqrt(machine.cores * tile_n / tile_m))))
        for resident, split in product((1, 2), SPLITS):
            stages = min(MAX_STAGES, machine.l1_bytes // resident // stage_bytes, k_tiles + 1)
            crowded = tiles_m * tiles_n * shape.batch * split > 4 * machine.cores
            if stages < 2 or split > max(1, k_tiles // 4) or (split > 1 and (shape.batch > 1 or crowded)):
                continue
            mapping = GemmMapping(tile_m, tile_n, tile_k, stages, split, raster)
            if split == 1 or fix_up_l1_bytes(mapping) <= machine.l1_bytes:
                yield mapping


def _gemm_steps(shape: GemmShape, mapping: GemmMapping) -> int:
    tiles = ceil(shape.m / mapping.tile_m) * ceil(shape.n / mapping.tile_n)
    return shape.batch * tiles * (ceil(shape.k / mapping.tile_k) + 2 * mapping.split_k)


def _gemm_seconds(
    chip: Chip,
    machine: Machine,
    shape: GemmShape,
    mapping: GemmMapping,
    array_seconds: float,
    bits: int,
    refreshed: float,
) -> float:
    """Closed-form time: the slowest of arrays, ports, L2 and DRAM, plus start and end."""
    tiles_m, tiles_n = ceil(shape.m / mapping.tile_m), ceil(shape.n / mapping.tile_n)
    blocks = tiles_m * tiles_n * shape.batch * mapping.split_k
    steps = ceil(ceil(shape.k / mapping.tile_k) / mapping.split_k)
    m, n = min(mapping.tile_m, shape.m), min(mapping.tile_n, shape.n)
    step_bytes = mapping.tile_k * (m + n) * bits / 8
    port = chip.noc.read_bytes_per_cycle_per_core * chip.clock.l2_hz
    gap_seconds = machine.step_gap_ps / PS_PER_SECOND
    resident = max(
        1, min(machine.l1_bytes // max(1, mapping.stages * int(step_bytes)), 4, ceil(blocks / machine.cores))
    )
    array_seconds = max(array_seconds, (array_seconds + gap_seconds) / resident)
    store_seconds = m * n * bits / 8 / (chip.noc.write_bytes_per_cycle_per_core * chip.clock.l2_hz)
    latency = chip.l2.latency_seconds + chip.memory.latency_seconds + 1e-7
    cores = ceil(blocks / machine.cores) * (steps * max(array_seconds, step_bytes / port) + store_seconds / resident)

    bytes_in = shape.batch * (shape.m * shape.k + shape.k * shape.n) * bits / 8
    bytes_out = shape.batch * shape.m * shape.n * bits / 8
    in_flight = min(blocks, machine.cores * resident) * mapping.stages * step_bytes
    bandwidth = min(chip.memory.data_bytes_per_second, in_flight / latency)
    dram = (bytes_in + bytes_out) / (bandwidth * refreshed)
    below, beside = min(chip.noc.multicast_cores, mapping.raster_rows), chip.noc.multicast_cores // mapping.raster_rows
    shared_bytes = mapping.tile_k * (m / max(1, beside) + n / below) * bits / 8
    l2 = (blocks * steps * shared_bytes + bytes_out) / chip.l2_bytes_per_second
    seconds = max(cores, dram, l2) + 2 * latency + store_seconds
    if mapping.split_k > 1:
        partial = 2 * shape.m * shape.n * ACCUMULATOR_BYTES * mapping.split_k
        spilt = max(0.0, partial - chip.l2.bytes)
        seconds += partial / chip.l2_bytes_per_second + spilt / chip.memory.data_bytes_per_second + 4 * latency
        seconds += chip.launch.kernel_seconds
    return seconds


def rank_attention(chip: Chip, shape: AttentionShape, *, dtype: str = "fp16") -> list[Estimate[FlashMapping]]:
    """All mappings that fit the chip's cores, best closed-form time first.

    Raises :class:`InputError` if none fits.
    """
    machine, refreshed = lower(chip, dtype), _refreshed(chip)
    ranked = []
    for mapping in _flash_mappings(machine, shape, ELEMENT_BITS[dtype]):
        rows = min(mapping.tile_q, shape.q_len) * mapping.pack
        tiles = np.array([(rows, mapping.tile_k, shape.head_dim), (rows, shape.head_dim, mapping.tile_k)], np.int64)
        busy = float(tile_busy_ps(machine, tiles).sum()) / PS_PER_SECOND
        seconds = _flash_seconds(chip, machine, shape, mapping, busy, ELEMENT_BITS[dtype], refreshed)
        steps = -(-shape.q_len // mapping.tile_q) * (-(-shape.kv_len // mapping.tile_k) + 2 * mapping.splits)
        ranked.append(Estimate(mapping, seconds, steps))
    if not ranked:
        raise InputError(f"attention {shape}: no tile fits into {machine.l1_bytes} bytes of L1 of {chip.name}")
    return _best_first(ranked)


def _flash_mappings(machine: Machine, shape: AttentionShape, bits: int) -> Iterable[FlashMapping]:
    decode = shape.q_len * shape.group <= max(TILE_SIZES)
    pack = shape.group if decode else 1
    sizes_q = [shape.q_len] if decode else _up_to((32, 64, 128), shape.q_len)
    for tile_q, tile_k, stages, splits in product(sizes_q, (32, 64, 128, 256), (2, 4, 6, 8), SPLITS):
        rows = tile_q * pack
        key_tiles = ceil(shape.kv_len / tile_k)
        l1_bytes = (stages * tile_k + rows) * shape.head_dim * bits // 8
        registers = rows * (tile_k + shape.head_dim) * ACCUMULATOR_BYTES
        if l1_bytes > machine.l1_bytes or registers > machine.register_bytes:
            continue
        if stages > 2 * key_tiles + 1 or (tile_k > shape.kv_len and tile_k > 32):
            continue
        if splits > 1 and (not decode or splits > key_tiles // 2 or (shape.causal and shape.q_len > tile_k)):
            continue
        mapping = FlashMapping(tile_q, tile_k, stages, pack, splits)
        if splits == 1 or merge_l1_bytes(shape, mapping) <= machine.l1_bytes:
            yield mapping


def _flash_seconds(
    chip: Chip,
    machine: Machine,
    shape: AttentionShape,
    mapping: FlashMapping,
    array_seconds: float,
    bits: int,
    refreshed: float,
) -> float:
    rows = min(mapping.tile_q, shape.q_len) * mapping.pack
    units = shape.batch * shape.q_heads // mapping.pack * ceil(shape.q_len / mapping.tile_q)
    visible = shape.kept_scores / shape.q_len + (mapping.tile_k if shape.causal else 0) / 2
    steps = ceil(min(visible, shape.kv_len) / mapping.tile_k / mapping.splits)
    scores = rows * mapping.tile_k
    softmax = max(6 * scores * machine.vector_op, scores * machine.special_op) / (PS_PER_SECOND << 20)
    l1_bytes = (mapping.stages * mapping.tile_k + rows) * shape.head_dim * bits // 8
    registers = rows * (mapping.tile_k + shape.head_dim) * ACCUMULATOR_BYTES
    resident = max(
        1, min(machine.l1_bytes // l1_bytes, machine.register_bytes // registers, machine.max_resident_blocks)
    )
    blocks = units * mapping.splits
    resident = min(resident, ceil(blocks / machine.cores))
    serial = array_seconds + softmax + 4 * (machine.l1_latency_ps + 64 * 500) / PS_PER_SECOND
    step = max(serial / resident, array_seconds, softmax)
    compute = ceil(blocks / machine.cores) * steps * step
    latency = chip.l2.latency_seconds + chip.memory.latency_seconds + 1e-7
    kv_bytes = 2 * shape.batch * shape.kv_heads * shape.kv_len * shape.head_dim * bits / 8
    in_flight = min(blocks, machine.cores * resident) * mapping.stages * mapping.tile_k * shape.head_dim * bits / 8
    dram = kv_bytes / (min(chip.memory.data_bytes_per_second, in_flight / latency) * refreshed)
    seconds = max(compute, dram) + 4 * latency
    if mapping.splits > 1:
        partial = 2 * units * rows * shape.head_dim * ACCUMULATOR_BYTES * mapping.splits
        seconds += partial / chip.l2_bytes_per_second + 4 * latency
    return seconds


def _refreshed(chip: Chip) -> float:
    """Fraction of time in which DRAM is not refreshing."""
    timing = lower_dram(chip, "tile")
    return 1 - timing.refresh_ps / timing.refresh_interval_ps


def _best_first(ranked: Iterable[Estimate[M]]) -> list[Estimate[M]]:
    """Fastest first; among those that the closed form cannot tell apart (2 %), the one with the fewest, largest steps."""
    distinct = {estimate.mapping: estimate for estimate in ranked}.values()
    return sorted(distinct, key=lambda estimate: (round(log(estimate.seconds) / _INDISTINCT), estimate.steps))


def _up_to(sizes: Sequence[int], limit: int) -> list[int]:
    """Sizes of a menu that are not much larger than needed: up to the first that covers ``limit``."""
    covering = next((size for size in sizes if size >= limit), sizes[-1])
    return [size for size in sizes if size <= covering]


def _varied(ranked: Sequence[Estimate[Mapping]]) -> list[Estimate[Mapping]]:
    """The first candidates, but few of any one tile shape: the closed form tells its variants (stages) least apart."""
    taken: Counter[tuple[int, ...]] = Counter()
    varied = []
    for estimate in ranked:
        tile = _tile_of(estimate.mapping)
        if taken[tile] < TRIALS_PER_TILE:
            varied.append(estimate)
        taken[tile] += 1
    return varied[:TRIALS]


def _tile_of(mapping: GemmMapping | FlashMapping) -> tuple[int, ...]:
    if isinstance(mapping, GemmMapping):
        return mapping.tile_m, mapping.tile_n, mapping.split_k
    return mapping.tile_q, mapping.tile_k, mapping.splits


def _fastest(
    chip: Chip, ranked: Sequence[Estimate[Mapping]], build: Callable[[Mapping], TileProgram]
) -> tuple[Mapping, int]:
    """The fastest on the engine among the best few, wherever the operands lie, and how many were tried.

    Of those that are within ``_EQUALLY_FAST`` of the fastest, the one with the fewest steps.
    """
    tried: list[tuple[float, int, Mapping]] = []
    for estimate in _varied(ranked):
        best_seconds = min((seconds for seconds, _, _ in tried), default=float("inf"))
        if estimate.seconds >= best_seconds or sum(steps for _, steps, _ in tried) > TRIAL_STEPS:
            break
        program = build(estimate.mapping).relocated()
        tried.append((execute(chip, program)[0].seconds, program.dynamic_steps, estimate.mapping))
    best_seconds = min(seconds for seconds, _, _ in tried)
    equal = [
        (steps, seconds, i) for i, (seconds, steps, _) in enumerate(tried) if seconds <= best_seconds * _EQUALLY_FAST
    ]
    return tried[min(equal)[2]][2], len(tried)
