"""Masks of whole blocks of scores: given block by block, or drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from kernels.masks.kept_keys import KeptKeys, from_blocks
from kernels.masks.score_masks import WrittenMask, positions
from uarch.arrays import IntArray
from uarch.errors import InputError
from uarch.files.reading import one_line, read_json, validate
from uarch.files.section import Section, TomlArray


@dataclass(frozen=True, eq=False)
class BlockSparseMask(WrittenMask):
    """Blocks of ``block x block`` scores; ``rows[r]``: ascending key blocks of query block r."""

    block: int
    rows: tuple[IntArray, ...]
    drawn: bool = False

    @classmethod
    def written(cls, text: str, arguments: str, names: tuple[str, ...]) -> BlockSparseMask | RandomBlocksMask:
        """See :class:`WrittenMask`: a file of blocks, or the size of blocks and the share that is kept of them."""
        block, comma, share = arguments.partition(",")
        if not (comma and block.strip().isdecimal()):
            return validate(BlockPattern, read_json(Path(arguments)), arguments).mask()
        try:
            size, kept = int(block), float(share)
        except ValueError:
            size, kept = 0, 0.0
        if not (1 <= size <= 4096 and 0 <= kept <= 1):
            raise InputError(
                f"mask = {one_line(text)!r}: must be blocks:BLOCK,SHARE with BLOCK from 1 to 4096 and SHARE from 0 to 1"
            )
        return RandomBlocksMask(size, kept)

    def problem(self, q_len: int, kv_len: int, phase: str) -> str:
        """See :class:`WrittenMask`: every key has to lie in some block."""
        if kv_len <= self.block * len(self.rows):
            return ""
        return f"has {len(self.rows)} rows of blocks of {self.block}: fewer than {kv_len} keys need"

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of a sequence's queries; ``ValueError`` if the pattern has no row for one of them."""
        position = positions(q_len, kv_len)
        if kv_len > self.block * len(self.rows):
            raise ValueError(f"{len(self.rows)} rows of blocks of {self.block}: fewer than {kv_len} positions need")
        return from_blocks(kv_len, position // self.block, position + 1, self.block, self._inside(kv_len))

    def _inside(self, kv_len: int) -> list[IntArray]:
        return [row[row * self.block < kv_len] for row in self.rows]


@dataclass(frozen=True)
class RandomBlocksMask(WrittenMask):
    """Blocks of ``block x block`` scores, each kept with probability ``share``, and those on the diagonal."""

    block: int
    share: float
    drawn: bool = True

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of a sequence's queries: see :class:`ScoreMask`."""
        random, n_blocks = np.random.default_rng(seed), -(-kv_len // self.block)
        rows = []
        for r in range(n_blocks):
            chosen = random.random(r + 1) < self.share
            chosen[r] = True
            rows.append(np.flatnonzero(chosen))
        return BlockSparseMask(self.block, tuple(rows)).kept(q_len, kv_len)


class BlockPattern(Section):
    """A file of ``blocks:FILE``: key blocks that each block of queries sees."""

    block: Annotated[int, Field(ge=1, le=4096)]
    rows: Annotated[TomlArray[TomlArray[int]], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> BlockPattern:
        for r, row in enumerate(self.rows):
            if list(row) != sorted(set(row)) or (row and row[0] < 0):
                raise ValueError(f"rows.{r} must be ascending numbers of key blocks from 0")
            if r not in row:
                raise ValueError(f"rows.{r} must have block {r}: the one of the queries' own keys")
        return self

    def mask(self) -> BlockSparseMask:
        """The mask that the pattern stands for."""
        return BlockSparseMask(self.block, tuple(np.array(row, np.int64) for row in self.rows))
