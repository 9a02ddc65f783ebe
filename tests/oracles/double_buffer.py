"""Double-buffered SRAMs cycle by cycle: words have addresses, halves are filled, used and given back."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple


class Operand(NamedTuple):
    """What the array uses (or produces): words and tile of each fold, and when in the fold."""

    words: list[int]
    tiles: list[int]
    begin_cycle: int
    n_cycles: int
    half_words: int
    words_per_cycle: int
    is_output: bool


class _SRAM:
    """One operand's SRAM: halves needed in each cycle of a run without stalls, and where its port is."""

    def __init__(self, operand: Operand, fold_cycles: int) -> None:
        self.is_output = operand.is_output
        self.needed: dict[int, set[int]] = defaultdict(set)
        self.last_use: dict[int, int] = {}
        copies: dict[tuple[int, int], int] = {}  # word -> its place in the order of transfers
        total, everything_fits = 0, self._total(operand) <= 2 * operand.half_words
        before = -1
        for fold, (words, tile) in enumerate(zip(operand.words, operand.tiles, strict=True)):
            if words == 0:
                continue
            kept = everything_fits or (tile == before and words <= operand.half_words)
            for word in range(words):
                if not (kept and (tile, word) in copies):
                    copies[tile, word] = total
                    total += 1
                half = copies[tile, word] // operand.half_words
                cycle = fold * fold_cycles + operand.begin_cycle + word * operand.n_cycles // words
                self.needed[cycle].add(half)
                self.last_use[half] = max(cycle, self.last_use.get(half, 0))
            before = tile
        sizes = [min(operand.half_words, total - first) for first in range(0, total, operand.half_words)]
        self.cycles = [-(-size // operand.words_per_cycle) for size in sizes]
        self.moved_at: dict[int, int] = {} if operand.is_output else {0: 0}
        self.unused_since: dict[int, int] = {}
        self.port_free_at = 0

    @staticmethod
    def _total(operand: Operand) -> int:
        return sum({tile: words for words, tile in zip(operand.words, operand.tiles, strict=True) if words}.values())

    def work(self, now: int) -> None:
        """The port starts the next half if it is idle and may."""
        half = len(self.moved_at)
        source = half if self.is_output else half - 2
        may = source < 0 or self.unused_since.get(source, now + 1) <= now
        if half < len(self.cycles) and self.port_free_at <= now and may:
            self.port_free_at = now + self.cycles[half]
            self.moved_at[half] = self.port_free_at

    def is_ready(self, position: int, now: int) -> bool:
        """Whether the array can do the cycle ``position`` of the run without stalls."""
        awaited = (half - 2 if self.is_output else half for half in self.needed.get(position, ()))
        return all(half < 0 or self.moved_at.get(half, now + 1) <= now for half in awaited)

    def used(self, position: int, now: int) -> None:
        for half in self.needed.get(position, ()):
            if self.last_use[half] == position:
                self.unused_since[half] = now + 1


def stalls(operands: list[Operand], folds: int, fold_cycles: int) -> int:
    """Cycles in which the array waits."""
    srams = [_SRAM(operand, fold_cycles) for operand in operands]
    now = 0
    for position in range(folds * fold_cycles):
        while True:
            for sram in srams:
                sram.work(now)
            if all(sram.is_ready(position, now) for sram in srams):
                break
            now += 1
        for sram in srams:
            sram.used(position, now)
        now += 1
    return now - folds * fold_cycles
