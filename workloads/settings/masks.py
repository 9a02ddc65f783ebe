"""Attention masks as users write them: ``window:4096``, ``blocks:FILE``, ..."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from kernels.masks.native_sparse import INITIAL_BLOCKS, LOCAL_BLOCKS, NativeSparse
from kernels.masks.score_masks import (
    BlockSparseMask,
    CausalMask,
    FullMask,
    PagesMask,
    RandomBlocksMask,
    ScoreMask,
    SinkMask,
    TreeMask,
    VerticalSlashMask,
    WindowMask,
)
from uarch.errors import InputError
from uarch.files.reading import one_line, read_json, validate
from uarch.files.section import Section, TomlArray

LARGEST = 1 << 24
LARGEST_CHAIN = 1024

ALLOWED = (
    "causal, full, window:W, sink:S,W, blocks:FILE, blocks:BLOCK,SHARE, vslash:V,S, topk:PAGE,BUDGET, "
    "nsa[:BLOCK,STRIDE,SELECTION,COUNT,WINDOW], tree:FILE"
)


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


class DraftTree(Section):
    """A file of ``tree:FILE``: the parent of each drafted token, -1 for the root."""

    parents: Annotated[TomlArray[int], Field(min_length=1, max_length=4096)]

    @model_validator(mode="after")
    def _check(self) -> DraftTree:
        if self.parents[0] != -1:
            raise ValueError("parents.0 must be -1: the root, which is the last token that is certain")
        for node, parent in enumerate(self.parents[1:], 1):
            if not 0 <= parent < node:
                raise ValueError(f"parents.{node} must be the number of an earlier node, 0 to {node - 1}")
        return self


def read_tree(path: str) -> TreeMask:
    """The tree in a JSON file ``{"parents": [-1, 0, 0, 1, ...]}``; :class:`InputError` if it is none."""
    return TreeMask(validate(DraftTree, read_json(Path(path)), path).parents)


def parse_mask(text: str) -> ScoreMask | NativeSparse:
    """The mask that ``text`` names; :class:`InputError` says what is allowed."""
    kind, colon, arguments = text.partition(":")
    if kind == "nsa":
        return _native_sparse(text, arguments) if colon else NativeSparse()
    if kind == "blocks" and colon:
        return _blocks(text, arguments)
    if kind == "tree" and arguments:
        return read_tree(arguments)
    if kind not in _KINDS or bool(colon) != bool(_KINDS[kind][0]):
        raise InputError(f"mask = {one_line(text)!r}: not known; allowed: {ALLOWED}")
    names, build = _KINDS[kind]
    mask = build(*_numbers(text, arguments, names))
    if isinstance(mask, PagesMask) and mask.budget % mask.page:
        raise InputError(f"mask = {one_line(text)!r}: BUDGET must be a multiple of PAGE")
    return mask


@dataclass(frozen=True)
class Draft:
    """What is verified for each request: the last certain token and the drafted ones."""

    q_len: int
    tree: TreeMask | None
    """None: a chain, which is causal."""


def parse_draft(text: str) -> Draft:
    """``chain:K`` for K drafted tokens, or ``tree:FILE``; :class:`InputError` for anything else."""
    kind, _, argument = text.partition(":")
    if kind == "tree" and argument:
        tree = read_tree(argument)
        return Draft(len(tree.parents), tree)
    if kind == "chain" and argument.isdecimal() and 1 <= int(argument) <= LARGEST_CHAIN:
        return Draft(int(argument) + 1, None)
    raise InputError(
        f"draft = {one_line(text)!r}: not known; allowed: chain:K with K from 1 to {LARGEST_CHAIN}, tree:FILE"
    )


def check_mask(mask: ScoreMask | NativeSparse | None, text: str | None, q_len: int, kv_len: int, phase: str) -> None:
    """Raise :class:`InputError` for a mask that does not suit the lengths or the phase."""
    if isinstance(mask, PagesMask) and phase == "prefill":
        raise InputError(f"mask = {text!r}: pages are selected for single new tokens, in decode")
    if isinstance(mask, BlockSparseMask) and kv_len > mask.block * len(mask.rows):
        raise InputError(
            f"mask = {text!r}: has {len(mask.rows)} rows of blocks of {mask.block}: fewer than {kv_len} keys need"
        )
    if isinstance(mask, TreeMask) and q_len != len(mask.parents):
        raise InputError(f"mask = {text!r}: has {len(mask.parents)} nodes; q_len = {q_len} must be as many")


_KINDS: dict[str, tuple[tuple[str, ...], Callable[..., ScoreMask]]] = {
    "causal": ((), CausalMask),
    "full": ((), FullMask),
    "window": (("W",), WindowMask),
    "sink": (("S", "W"), SinkMask),
    "vslash": (("V", "S"), VerticalSlashMask),
    "topk": (("PAGE", "BUDGET"), PagesMask),
}


def _numbers(text: str, arguments: str, names: tuple[str, ...]) -> list[int]:
    parts = [part.strip() for part in arguments.split(",")] if names else []
    numbers = [int(part) for part in parts if part.isdecimal() and 1 <= int(part) <= LARGEST]
    if len(numbers) != len(names) or len(parts) != len(names):
        kind = text.partition(":")[0]
        raise InputError(
            f"mask = {one_line(text)!r}: must be {kind}:{','.join(names)} with numbers from 1 to {LARGEST}"
        )
    return numbers


def _native_sparse(text: str, arguments: str) -> NativeSparse:
    names = ("BLOCK", "STRIDE", "SELECTION", "COUNT", "WINDOW")
    pattern = NativeSparse(*_numbers(text, arguments, names))
    if pattern.block % pattern.stride or pattern.selection % pattern.stride:
        raise InputError(f"mask = {one_line(text)!r}: STRIDE must divide BLOCK and SELECTION")
    if pattern.block > pattern.selection or pattern.chosen < 0:
        least = INITIAL_BLOCKS + LOCAL_BLOCKS
        raise InputError(f"mask = {one_line(text)!r}: BLOCK must be at most SELECTION, and COUNT at least {least}")
    return pattern


def _blocks(text: str, arguments: str) -> ScoreMask:
    block, comma, share = arguments.partition(",")
    if comma and block.strip().isdecimal():
        try:
            numbers = int(block), float(share)
        except ValueError:
            numbers = 0, 0.0
        if not (1 <= numbers[0] <= 4096 and 0 <= numbers[1] <= 1):
            raise InputError(
                f"mask = {one_line(text)!r}: must be blocks:BLOCK,SHARE with BLOCK from 1 to 4096 and SHARE from 0 to 1"
            )
        return RandomBlocksMask(*numbers)
    return validate(BlockPattern, read_json(Path(arguments)), arguments).mask()
