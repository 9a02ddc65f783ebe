"""Drafts of tokens to verify, as users write them: ``chain:4``, ``tree:FILE``."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.masks.draft_tree import TreeMask, read_tree
from uarch.errors import InputError
from uarch.files.reading import one_line

LARGEST_CHAIN = 1024


@dataclass(frozen=True)
class Draft:
    """What is verified for each request: the last certain token and the drafted ones."""

    q_len: int
    tree: TreeMask | None
    """Tree of the drafted tokens; None: a chain, which is causal."""


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
