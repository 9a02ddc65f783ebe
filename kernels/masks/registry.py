"""Masks that users can ask for: a line for each, from which its parser, the help text and error messages follow.

To add one: a class with the methods of :class:`kernels.masks.score_masks.ScoreMask` and
:class:`kernels.masks.score_masks.WrittenMask`, and a line here. Modules are imported when a mask is asked for, so that the
command line can show the list without loading them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from uarch.errors import InputError

if TYPE_CHECKING:
    from kernels.masks.native_sparse import NativeSparse
    from kernels.masks.score_masks import ScoreMask


class MaskKind(NamedTuple):
    """A kind of masks under the name that stands before the colon."""

    usages: tuple[str, ...]
    """Forms that users may write; the last says the names of the numbers."""
    module: str
    class_name: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arguments."""
        arguments = self.usages[-1].partition(":")[2]
        return tuple(arguments.split(",")) if arguments else ()

    def accepts(self, colon: str) -> bool:
        """Whether some form has a colon, or has none."""
        return any((":" in usage) == bool(colon) for usage in self.usages)


KINDS: dict[str, MaskKind] = {
    "causal": MaskKind(("causal",), "score_masks", "CausalMask"),
    "full": MaskKind(("full",), "score_masks", "FullMask"),
    "window": MaskKind(("window:W",), "score_masks", "WindowMask"),
    "sink": MaskKind(("sink:S,W",), "score_masks", "SinkMask"),
    "blocks": MaskKind(("blocks:FILE", "blocks:BLOCK,SHARE"), "block_sparse", "BlockSparseMask"),
    "vslash": MaskKind(("vslash:V,S",), "score_masks", "VerticalSlashMask"),
    "topk": MaskKind(("topk:PAGE,BUDGET",), "score_masks", "PagesMask"),
    "nsa": MaskKind(("nsa", "nsa:BLOCK,STRIDE,SELECTION,COUNT,WINDOW"), "native_sparse", "NativeSparse"),
    "tree": MaskKind(("tree:FILE",), "draft_tree", "TreeMask"),
}

ALLOWED = ", ".join(usage for kind in KINDS.values() for usage in kind.usages)
"""All forms that a mask can have."""


def parse_mask(text: str) -> ScoreMask | NativeSparse:
    """The mask that ``text`` names; :class:`uarch.InputError` says what is allowed.

    >>> parse_mask("window:4096").window
    4096
    """
    from uarch.files.reading import one_line

    name, colon, arguments = text.partition(":")
    kind = KINDS.get(name)
    if kind is None or not kind.accepts(colon):
        raise InputError(f"mask = {one_line(text)!r}: not known; allowed: {ALLOWED}")
    written: Any = getattr(import_module(f"kernels.masks.{kind.module}"), kind.class_name)
    mask: ScoreMask | NativeSparse = written.written(text, arguments, kind.names)
    return mask


def check_mask(mask: Any, text: str | None, q_len: int, kv_len: int, phase: str) -> None:
    """Raise :class:`uarch.InputError` for a mask (None: causal) that does not suit the lengths or the phase."""
    problem = "" if mask is None else mask.problem(q_len, kv_len, phase)
    if problem:
        raise InputError(f"mask = {text!r}: {problem}")
