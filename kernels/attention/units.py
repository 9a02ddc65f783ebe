"""The units of work of a streamed attention: query tiles, each with the key tiles that its block mask says.

What a unit visits is written into the program's tables once for all heads that share it, and for all sequences that have
equal masks and no pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernels.attention.attention import Attention, FlashMapping
from kernels.attention.sequences import Sequences
from kernels.masks.block_mask import BlockMask, block_mask
from kernels.masks.score_masks import ScoreMask
from kernels.program.tile_program import ProgramWriter
from uarch.arrays import IntArray
from uarch.program.records import NONE

UNIT = np.dtype(
    [
        ("sequence", np.int64),
        ("head", np.int64),  # first of the packed query heads
        ("q_row", np.int64),
        ("n_q", np.int64),
        ("base_row", np.int64),  # what the rows in the tables are counted from
        ("whole_tiles", np.int64),  # key tiles of tile_k keys
        ("short_tiles", np.int64),  # 0 or 1: the last key tile of a sequence, of short_width keys
        ("short_width", np.int64),
        ("gathered_tiles", np.int64),
        ("gather_run", np.int64),  # consecutive rows of a gathered tile
        ("key_table", np.int64),  # where the rows of its key tiles stand in the tables
        ("mask_table", np.int64),  # ... and their masks
        ("gathered_key_table", np.int64),
        ("gathered_mask_table", np.int64),
        ("first_page", np.int64),
        ("pages", np.int64),  # page-table entries that it reads
    ]
)

UnitArray = npt.NDArray[np.void]


@dataclass(frozen=True, eq=False)
class Units:
    """Array of ``UNIT`` in dispatch order, and how keys lie in memory."""

    units: UnitArray
    run: int
    """Consecutive rows of a key tile."""
    kept_scores: int
    """Kept scores of one query head, all sequences together."""
    computed_scores: int
    empty_after: IntArray
    """Blocks without work that are dispatched after each unit."""

    def __getitem__(self, name: str) -> IntArray:
        values: IntArray = self.units[name]
        return values

    @property
    def count(self) -> int:
        """Units."""
        return len(self.units)

    @property
    def tiles(self) -> IntArray:
        """Key tiles of each unit."""
        return self["whole_tiles"] + self["short_tiles"] + self["gathered_tiles"]

    def select(self, which: IntArray) -> Units:
        """Some of the units, or the same one several times."""
        return Units(self.units[which], self.run, self.kept_scores, self.computed_scores, self.empty_after[which])


@dataclass(frozen=True, eq=False)
class _Builder:
    writer: ProgramWriter
    attention: Attention
    mapping: FlashMapping
    sequences: Sequences
    mask: ScoreMask
    masks: dict[tuple[int, ...], BlockMask] = field(default_factory=dict)
    templates: dict[tuple[int, ...], UnitArray] = field(default_factory=dict)

    def units(self) -> Units:
        """Make the units of work in the order that the mapping says.

        The last query tiles of a head see most keys.
        """
        attention, pack = self.attention, self.mapping.pack
        first_heads = np.arange(0, attention.q_heads, pack)
        kv_heads = first_heads // attention.group if self.mask.drawn else np.zeros_like(first_heads)
        parts, work = [], []
        kept = computed = 0
        for s in range(self.sequences.count):
            masks = [self._mask(s, kv_head) for kv_head in kv_heads.tolist()]
            kept += pack * sum(mask.kept_scores for mask in masks)
            work.append(sum(mask.computed_scores for mask in masks))
            computed += pack * work[-1]
            templates = {kv_head: self._template(s, kv_head) for kv_head in set(kv_heads.tolist())}
            units = np.stack([templates[kv_head] for kv_head in kv_heads.tolist()])
            units["head"] = first_heads[:, None]
            parts.append(units)
        if self.mapping.as_grid:
            ordered = np.concatenate([units[:, ::-1] for units in parts], axis=1).ravel()
            empty = _empty_blocks([units.shape[1] for units in parts] * len(first_heads))
        else:
            order = np.argsort([-of_sequence for of_sequence in work], kind="stable")
            ordered = np.concatenate([parts[s].ravel() for s in order])
            empty = np.zeros(len(ordered), np.int64)
        heads, run = attention.q_heads, self.sequences.run(self.mapping.tile_k)
        return Units(ordered, run, kept // heads, computed // heads, empty)

    def _mask_key(self, s: int, kv_head: int) -> tuple[int, ...]:
        lengths = int(self.sequences.q_len[s]), int(self.sequences.kv_len[s])
        return (*lengths, s, kv_head) if self.mask.drawn else lengths

    def _mask(self, s: int, kv_head: int) -> BlockMask:
        key = self._mask_key(s, kv_head)
        if key not in self.masks:
            kept = self.mask.kept(key[0], key[1], key[2:])
            if not (kept.tile_counts(1, max(1, kept.kv_len)) > 0).all():
                raise ValueError(f"{self.writer.name}: the mask leaves some query without a key")
            run = self.sequences.run(self.mapping.tile_k) if self.sequences.page_size else 1
            self.masks[key] = block_mask(
                kept, self.mapping.tile_q, self.mapping.tile_k, run=run, visit_all=self.attention.padded
            )
        return self.masks[key]

    def _template(self, s: int, kv_head: int) -> UnitArray:
        """The units of a sequence for one head, tables written."""
        key = (*self._mask_key(s, kv_head), NONE, s if self.sequences.page_size else NONE)
        if key not in self.templates:
            self.templates[key] = self._write(s, self._mask(s, kv_head))
        units = self.templates[key].copy()
        units["sequence"] = s
        units["q_row"] += self.sequences.first_q[s]
        units["base_row"] = self.sequences.base_row(s)
        return units

    def _write(self, s: int, mask: BlockMask) -> UnitArray:
        n_tiles = len(mask.tiles)
        first, width = mask.starts[:-1], self.mapping.tile_k
        units = np.zeros(n_tiles, UNIT)
        units["q_row"] = np.arange(n_tiles) * mask.tile_q
        units["n_q"] = np.minimum(mask.tile_q, mask.q_len - units["q_row"])
        units["short_tiles"] = mask.has_short_tile
        units["short_width"] = mask.last_width
        units["whole_tiles"] = np.diff(mask.starts) - units["short_tiles"]
        units["gathered_tiles"] = np.diff(mask.gathered_starts)
        units["gather_run"] = mask.gather_run
        run = self.sequences.run(width)
        units["key_table"] = self.writer.table(self._rows(s, mask, run)) + first * (width // run)
        numbers = np.array([*map(self.writer.element_mask, mask.patterns), NONE])
        units["mask_table"] = self.writer.table(numbers[mask.pattern]) + first
        if len(mask.gathered_keys):
            first = mask.gathered_starts[:-1]
            rows = self.sequences.rows(s, mask.gathered_keys[:, :: mask.gather_run].ravel())
            units["gathered_key_table"] = self.writer.table(rows) + first * (width // mask.gather_run)
            units["gathered_mask_table"] = self.writer.table(numbers[mask.gathered_pattern]) + first
        if self.sequences.page_size:
            units["first_page"], units["pages"] = self._pages(mask)
        return units[::-1]

    def _rows(self, s: int, mask: BlockMask, run: int) -> IntArray:
        """First rows of the runs of each visited key tile, equally many for each; a short tile does not use its last ones."""
        offsets = np.arange(0, self.mapping.tile_k, run)
        keys = mask.key_tile[:, None] * self.mapping.tile_k + offsets
        return self.sequences.rows(s, np.minimum(keys, mask.kv_len - 1) // run * run).ravel()

    def _pages(self, mask: BlockMask) -> tuple[IntArray, IntArray]:
        """First page-table entry of each query tile and how many it reads: an entry for each page of its key tiles."""
        page = self.sequences.page_size
        runs = np.diff(mask.starts) * max(1, mask.tile_k // page)
        runs += np.diff(mask.gathered_starts) * (mask.tile_k // mask.gather_run)
        tile = np.append(mask.key_tile, 0)[np.minimum(mask.starts[:-1], len(mask.key_tile))]
        first = np.where(np.diff(mask.gathered_starts) > 0, 0, tile * mask.tile_k // page)
        in_table = -(-mask.kv_len // page)
        return first, np.minimum(np.maximum(runs, 1), in_table - first)


def _empty_blocks(lengths: list[int]) -> IntArray:
    """Empty blocks after each unit, where runs of units of these lengths are filled up to the longest."""
    after = np.zeros(sum(lengths), np.int64)
    after[np.cumsum(lengths) - 1] = max(lengths) - np.array(lengths)
    return after


def attention_units(
    writer: ProgramWriter,
    attention: Attention,
    mapping: FlashMapping,
    sequences: Sequences,
) -> Units:
    """Units of a streamed attention whose rows lie as ``sequences`` say, their tables and masks written to the program.

    Raises:
        ValueError: a query keeps no key, or tiles and pages do not fit into each other.
    """
    return _Builder(writer, attention, mapping, sequences, attention.score_mask).units()


def parts_of(units: Units, splits: int) -> IntArray:
    """Parts that each unit is cut into: ``splits`` for the one with most key tiles, for others as many that are as long."""
    tiles = units.tiles
    parts: IntArray = np.clip(-(-tiles * splits // max(1, int(tiles.max()))), 1, np.maximum(tiles, 1))
    return parts
