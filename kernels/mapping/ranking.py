"""What the closed-form rankings of mappings share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import Generic, TypeVar

from uarch.chip.schema import Chip
from uarch.dram.standards.standard import load_standard

TILE_SIZES = (16, 32, 64, 128, 256)
TILE_K_SIZES = (32, 64, 128)
"""Sizes along k for cores with arrays like those of GPUs; :func:`for_arrays` extends such menus for larger arrays."""
SPLITS = (1, 2, 3, 4, 6, 8, 12, 16)

_INDISTINCT = 0.02

M = TypeVar("M")


@dataclass(frozen=True)
class Estimate(Generic[M]):
    """Candidate of a mapping with its closed-form time and the number of steps that its blocks execute."""

    mapping: M
    seconds: float
    steps: int


def refreshed(chip: Chip) -> float:
    """Fraction of time in which DRAM is not refreshing."""
    if chip.memory.refresh_mode == "none":
        return 1.0
    timing = load_standard(chip.memory.standard).timing
    return 1 - timing.nRFCab / timing.nREFI


def best_first(ranked: Iterable[Estimate[M]]) -> list[Estimate[M]]:
    """Fastest first; among those that the closed form cannot tell apart (2 %), the one with the fewest, largest steps."""
    distinct = {estimate.mapping: estimate for estimate in ranked}.values()
    return sorted(distinct, key=lambda estimate: (round(log(estimate.seconds) / _INDISTINCT), estimate.steps))


def for_arrays(sizes: Sequence[int], extent: int) -> list[int]:
    """A menu of sizes, with doubled ones up to twice what the arrays span if that is more: larger tiles hide fill and drain."""
    longer = list(sizes)
    while longer[-1] < 2 * extent:
        longer.append(2 * longer[-1])
    return longer


def up_to(sizes: Sequence[int], limit: int) -> list[int]:
    """Sizes of a menu that are not much larger than needed: up to the first that covers ``limit``."""
    covering = next((size for size in sizes if size >= limit), sizes[-1])
    return [size for size in sizes if size <= covering]
