"""The mask of a tree of drafted tokens, and the file that describes one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from kernels.masks.kept_keys import KeptKeys, from_elements
from kernels.masks.score_masks import WrittenMask
from uarch.files.reading import read_json, validate
from uarch.files.section import Section, TomlArray


@dataclass(frozen=True)
class TreeMask(WrittenMask):
    """The drafted tokens of a tree see all keys before the draft and their own ancestors in it (Medusa, EAGLE).

    ``parents[i]``: index of the node that node i continues, below i; -1 for the root, the last token that is certain.
    """

    parents: tuple[int, ...]
    drawn: bool = False

    @classmethod
    def written(cls, text: str, arguments: str, names: tuple[str, ...]) -> TreeMask:
        """See :class:`WrittenMask`: a file."""
        return read_tree(arguments)

    def problem(self, q_len: int, kv_len: int, phase: str) -> str:
        """See :class:`WrittenMask`: the new tokens are the nodes."""
        if q_len == len(self.parents):
            return ""
        return f"has {len(self.parents)} nodes; q_len = {q_len} must be as many"

    def ancestors(self) -> npt.NDArray[np.bool_]:
        """Whether node i sees node j; shape ``(nodes, nodes)``."""
        seen = np.eye(len(self.parents), dtype=np.bool_)
        for i, parent in enumerate(self.parents):
            if parent >= 0:
                seen[i] |= seen[parent]
        return seen

    def kept(self, q_len: int, kv_len: int, seed: tuple[int, ...] = ()) -> KeptKeys:
        """Kept keys of a sequence's queries: see :class:`ScoreMask`; ``ValueError`` if ``q_len`` is not the number of nodes."""
        if q_len != len(self.parents):
            raise ValueError(f"{q_len} queries, but a tree of {len(self.parents)} nodes")
        context = np.ones((q_len, kv_len - q_len), np.bool_)
        return from_elements(np.concatenate([context, self.ancestors()], axis=1))


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
