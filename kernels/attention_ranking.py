"""Closed-form ranking of the mappings of streamed attention."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from math import ceil

import numpy as np

from kernels.attention_shape import AttentionShape, FlashMapping
from kernels.datatypes import ACCUMULATOR_BYTES, ELEMENT_BITS
from kernels.ranking import SPLITS, TILE_SIZES, Estimate, best_first, refreshed, up_to
from uarch.chip import Chip
from uarch.errors import InputError
from uarch.machine import Machine, lower
from uarch.rates import PS_PER_SECOND
from uarch.step_costs import tile_busy_ps


def rank_attention(chip: Chip, shape: AttentionShape, *, dtype: str = "fp16") -> list[Estimate[FlashMapping]]:
    """All mappings that fit the chip's cores, best closed-form time first.

    Raises :class:`InputError` if none fits.
    """
    machine, running = lower(chip, dtype), refreshed(chip)
    ranked = []
    for mapping in _flash_mappings(machine, shape, ELEMENT_BITS[dtype]):
        rows = min(mapping.tile_q, shape.q_len) * mapping.pack
        tiles = np.array([(rows, mapping.tile_k, shape.head_dim), (rows, shape.head_dim, mapping.tile_k)], np.int64)
        busy = float(tile_busy_ps(machine, tiles).sum()) / PS_PER_SECOND
        seconds = _flash_seconds(chip, machine, shape, mapping, busy, ELEMENT_BITS[dtype], running)
        steps = -(-shape.q_len // mapping.tile_q) * (-(-shape.kv_len // mapping.tile_k) + 2 * mapping.splits)
        ranked.append(Estimate(mapping, seconds, steps))
    if not ranked:
        raise InputError(f"attention {shape}: no tile fits into {machine.l1_bytes} bytes of L1 of {chip.name}")
    return best_first(ranked)


def _flash_mappings(machine: Machine, shape: AttentionShape, bits: int) -> Iterable[FlashMapping]:
    decode = shape.q_len * shape.group <= max(TILE_SIZES)
    pack = shape.group if decode else 1
    sizes_q = [shape.q_len] if decode else up_to((32, 64, 128), shape.q_len)
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
        yield FlashMapping(tile_q, tile_k, stages, pack, splits)


def _flash_seconds(
    chip: Chip,
    machine: Machine,
    shape: AttentionShape,
    mapping: FlashMapping,
    array_seconds: float,
    bits: int,
    running: float,
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
    dram = kv_bytes / (min(chip.memory.bandwidth_bytes_per_second, in_flight / latency) * running)
    seconds = max(compute, dram) + 4 * latency
    if mapping.splits > 1:
        partial = 2 * units * rows * shape.head_dim * ACCUMULATOR_BYTES * mapping.splits
        seconds += partial / chip.l2_bytes_per_second + 4 * latency
    return seconds
