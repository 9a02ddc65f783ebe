"""Closed-form ranking of the mappings of streamed attention."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from math import ceil, log

import numpy as np

from kernels.attention.attention import Attention, FlashMapping, merge_l1_bytes
from kernels.mapping.ranking import SPLITS, TILE_SIZES, Estimate, best_first, for_arrays, refreshed, up_to
from kernels.mapping.visited_tiles import VisitedTiles
from uarch.chip.schema import Chip
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.engine.inline_ecc import data_bytes_per_second
from uarch.engine.machine import Machine, lower
from uarch.engine.step_costs import tile_busy_ps
from uarch.errors import InputError
from uarch.picoseconds import PS_PER_SECOND

_INDISTINCT = 0.05
_KEY_TILES = (32, 64, 128, 256)


def rank_attention(chip: Chip, attention: Attention) -> list[Estimate[FlashMapping]]:
    """All mappings that fit the chip's cores, best closed-form time first.

    Raises :class:`InputError` if none fits.
    """
    machine, running, visited = lower(chip, attention.dtype), refreshed(chip), VisitedTiles(attention)
    ranked = []
    for mapping in _flash_mappings(machine, visited):
        rows = min(mapping.tile_q, attention.q_len) * mapping.pack
        products = [(rows, mapping.tile_k, attention.head_dim), (rows, attention.value_width, mapping.tile_k)]
        busy = float(tile_busy_ps(machine, np.array(products, np.int64)).sum()) / PS_PER_SECOND
        seconds = _flash_seconds(chip, machine, visited, mapping, busy, running)
        ranked.append(Estimate(mapping, seconds, visited.steps(mapping)))
    if not ranked:
        raise InputError(f"attention {attention}: no tile fits into {machine.l1_bytes} bytes of L1 of {chip.name}")
    return best_first(ranked) if attention.is_plain else _coarse_first(ranked)


def _coarse_first(ranked: list[Estimate[FlashMapping]]) -> list[Estimate[FlashMapping]]:
    """Fastest first; those within 5 % of the best, then of the next 5 % and so on, with the fewest, largest steps first.

    Masks of long sequences leave time for one trial on the engine: a close call goes to the schedule that is faster to run.
    """
    best = min(estimate.seconds for estimate in ranked)
    return sorted(ranked, key=lambda estimate: (int(log(estimate.seconds / best) / _INDISTINCT), estimate.steps))


def _flash_mappings(machine: Machine, visited: VisitedTiles) -> Iterable[FlashMapping]:
    """Tiles of queries and heads that fill the arrays, tiles of keys, stages, and splits where query tiles are few."""
    attention = visited.attention
    menu = for_arrays(_KEY_TILES, machine.lanes * machine.cols)
    key_tiles = [
        keys for keys in menu if attention.most_keys is None or keys <= max(attention.most_keys, _KEY_TILES[0])
    ]
    for (tile_q, pack), tile_k, stages, splits in product(
        _row_tiles(machine, visited), key_tiles, (2, 4, 6, 8), SPLITS
    ):
        mapping = FlashMapping(tile_q, tile_k, stages, pack, splits)
        tiles = ceil(attention.kv_len / tile_k)
        if not _fits(machine, visited, mapping):
            continue
        if stages > 2 * tiles + 1 or (tile_k > attention.kv_len and tile_k > 32):
            continue
        if splits > 1 and (splits > tiles // 2 or not _may_split(machine, visited, mapping)):
            continue
        if splits > 1 and merge_l1_bytes(attention, mapping) > machine.l1_bytes:
            continue
        yield mapping


def _row_tiles(machine: Machine, visited: VisitedTiles) -> list[tuple[int, int]]:
    """(query positions, packed heads) of a block: all of a group, as far as a core has room, if its rows are few."""
    attention = visited.attention
    if attention.row_tile is not None:
        return [attention.row_tile]
    if attention.q_len * attention.group <= max(TILE_SIZES):
        return [(attention.q_len, _largest_pack(machine, visited))]
    tiles = [(tile_q, 1) for tile_q in up_to(for_arrays((32, 64, 128), machine.rows), attention.q_len)]
    if attention.is_plain or attention.group == 1:
        return tiles
    packs = [pack for pack in (attention.group, 64, 32, 16) if pack <= attention.group and attention.group % pack == 0]
    packed = [(max(1, rows // pack), pack) for pack in packs for rows in (64, 128, 256) if rows >= pack]
    return list(dict.fromkeys([*tiles, *((min(tile_q, attention.q_len), pack) for tile_q, pack in packed)]))


def _largest_pack(machine: Machine, visited: VisitedTiles) -> int:
    """Heads of a block: all of a group, or half of them, and so on, until a block of the smallest tiles fits a core."""
    attention, pack = visited.attention, visited.attention.group
    while pack % 2 == 0 and not _fits(machine, visited, FlashMapping(attention.q_len, min(_KEY_TILES), 2, pack)):
        pack //= 2
    return pack


def _fits(machine: Machine, visited: VisitedTiles, mapping: FlashMapping) -> bool:
    """Whether a block's stages and queries fit into L1, and its scores and sums into registers."""
    columns = mapping.tile_k + visited.attention.value_width
    registers = mapping.tile_q * mapping.pack * columns * ACCUMULATOR_BYTES
    return visited.l1_bytes(mapping) <= machine.l1_bytes and registers <= machine.register_bytes


def _may_split(machine: Machine, visited: VisitedTiles, mapping: FlashMapping) -> bool:
    """Whether parts of the keys may go to different blocks."""
    attention = visited.attention
    if attention.is_plain:
        few = attention.q_len * attention.group <= max(TILE_SIZES)
        return few and not (attention.causal and attention.q_len > mapping.tile_k)
    blocks = visited.query_tiles(mapping.tile_q) * (attention.q_heads // mapping.pack) * mapping.splits
    return blocks <= 16 * machine.cores


def _flash_seconds(
    chip: Chip, machine: Machine, visited: VisitedTiles, mapping: FlashMapping, array_seconds: float, running: float
) -> float:
    attention, tile_k = visited.attention, mapping.tile_k
    rows = min(mapping.tile_q, attention.q_len) * mapping.pack
    units = attention.q_heads // mapping.pack * visited.query_tiles(mapping.tile_q)
    scores = rows * tile_k
    kv_width = (attention.head_dim if attention.latent else attention.head_dim + attention.value_width) / 2
    vector_ops = 6 * scores + attention.dequantise_ops * 2 * kv_width * tile_k
    softmax = max(vector_ops * machine.vector_op, scores * machine.special_op) / (PS_PER_SECOND << 20)
    registers = rows * (tile_k + attention.value_width) * ACCUMULATOR_BYTES
    resident = max(
        1,
        min(
            machine.l1_bytes // visited.l1_bytes(replace(mapping, tile_q=rows // mapping.pack)),
            machine.register_bytes // registers,
            machine.max_resident_blocks,
        ),
    )
    blocks = units * mapping.splits
    resident = min(resident, ceil(blocks / machine.cores))
    serial = array_seconds + softmax + 4 * (machine.l1_latency_ps + 64 * 500) / PS_PER_SECOND
    step = max(serial / resident, array_seconds, softmax)
    compute = visited.tiles_of_core(mapping, machine.cores) * step
    latency = chip.l2.latency_seconds + chip.memory.latency_seconds + 1e-7
    row_bytes = kv_width * attention.stored_bits / 8
    kv_bytes = 2 * attention.kv_heads * row_bytes * visited.loaded_rows(mapping)
    in_flight = min(blocks, machine.cores * resident) * mapping.stages * tile_k * row_bytes
    dram = kv_bytes / (min(data_bytes_per_second(chip.memory, int(row_bytes)), in_flight / latency) * running)
    seconds = max(compute, dram, visited.l2_seconds(mapping, chip.l2_bytes_per_second)) + 4 * latency
    if mapping.splits > 1:
        partial = 2 * units * rows * attention.value_width * ACCUMULATOR_BYTES * mapping.splits
        seconds += partial / chip.l2_bytes_per_second + 4 * latency
    return seconds
