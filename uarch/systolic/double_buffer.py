"""Stalls of an array whose operands pass through double-buffered SRAMs behind a port of limited bandwidth.

Each operand has an SRAM of two halves and a port of its own, as in SCALE-Sim's USER mode. The array works from one half
while the port fills the other one (or, for outputs, drains it); when the array needs the next half and it is not ready,
all of the array waits. The first half of each operand is fetched before the first cycle.

What the port moves follows from the folds: an operand that fits in its SRAM is fetched once; otherwise a fold's tile is
fetched when it is next needed, and kept for consecutive folds that share it if it fits in a half. Outputs leave once.
Within a fold the words of a tile are used evenly over the fold's window for that operand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.jit import inline, kernel
from uarch.systolic.cycles import ceil_div

Integers = npt.NDArray[np.int64]

NEVER = -1


class Window(NamedTuple):
    """Cycles of a fold in which the array uses (or produces) an operand's words."""

    begin_cycle: int
    n_cycles: int


class Port(NamedTuple):
    """One operand's SRAM half and port, and the halves that pass through, in the order of first use.

    Cycles are those of a run without stalls; int64 ``(halves,)``.
    """

    words: Integers
    first_use_cycle: Integers
    release_cycle: Integers
    """First cycle in which the half is no longer needed."""
    words_per_cycle: int
    is_output: bool

    @property
    def initial_cycles(self) -> int:
        """Cycles of the first half's transfer, which nothing hides: before the run for inputs."""
        return ceil_div(int(self.words[0]), self.words_per_cycle)

    @property
    def final_cycles(self) -> int:
        """Cycles of the last half's transfer: after the run for outputs."""
        return ceil_div(int(self.words[-1]), self.words_per_cycle)


def port(
    words: Integers,
    tile: Integers,
    fold_cycles: int,
    window: Window,
    sram_words: int,
    words_per_cycle: int,
    output: bool,
) -> Port:
    """Halves of one operand.

    Args:
        words: words that each fold uses, int64 ``(folds,)``; 0 for a fold that uses none.
        tile: name of the tile that these words are, int64 ``(folds,)``.
        fold_cycles: cycles of a fold.
        window: when in a fold the words are used.
        sram_words: size of the SRAM; a half must hold at least what the array uses in two cycles.
        words_per_cycle: bandwidth of the port.
        output: the array produces the words.
    """
    half_words = sram_words // 2
    first, last = _transfers(words, tile, half_words)
    moved = words[first]
    halves = ceil_div(int(moved.sum()), half_words)
    table = np.zeros((3, halves), np.int64)
    _cut_into_halves(moved, first, last, fold_cycles, window, half_words, table)
    return Port(table[0], table[1], table[2], words_per_cycle, output)


def _transfers(words: Integers, tile: Integers, half_words: int) -> tuple[Integers, Integers]:
    """First and last fold of each transfer between memory and SRAM, in order."""
    used = np.flatnonzero(words)
    _, once = np.unique(tile[used], return_index=True)
    if words[used[once]].sum() <= 2 * half_words:
        first = np.sort(used[once])
        return first, np.full(first.size, used[-1])
    names = tile[used]
    starts = np.r_[True, (names[1:] != names[:-1]) | (words[used][1:] > half_words)]
    first = used[starts]
    last = used[np.r_[np.flatnonzero(starts)[1:] - 1, used.size - 1]]
    return first, last


@kernel
def _cut_into_halves(
    words: Integers, first: Integers, last: Integers, fold_cycles: int, window: Window, half_words: int, table: Integers
) -> None:
    """Cut transfers into halves; fills ``table`` (words, first use, release) x halves."""
    half, room = 0, half_words
    for index in range(words.size):
        done = 0
        while done < words[index]:
            if room == 0:
                half, room = half + 1, half_words
            taken = room if room < words[index] - done else words[index] - done
            if room == half_words:
                used = window.begin_cycle + done * window.n_cycles // words[index]
                table[1, half] = first[index] * fold_cycles + used
            done += taken
            room -= taken
            used = window.begin_cycle + (done - 1) * window.n_cycles // words[index]
            table[0, half] += taken
            table[2, half] = last[index] * fold_cycles + used + 1


def stall_cycles(ports: tuple[Port, ...]) -> int:
    """Cycles for which the array waits for any of the ports."""
    transfer = np.concatenate([-(-one.words // one.words_per_cycle) for one in ports])
    first_use = np.concatenate([one.first_use_cycle for one in ports])
    release = np.concatenate([one.release_cycle for one in ports])
    first_half = np.cumsum([0] + [one.words.size for one in ports])
    is_output = np.array([one.is_output for one in ports])
    return int(_run_ports(transfer, first_use, release, first_half, is_output))


def calculated_words_per_cycle(one: Port, run_cycles: int) -> int:
    """Least bandwidth that never stalls the array and moves all words in the cycles of the run."""
    low = ceil_div(int(one.words.sum()), run_cycles)
    step = 0  # most runs need little more than their average, so that the search goes up from there
    while stall_cycles((one._replace(words_per_cycle=low + step),)) > 0:
        low, step = low + step + 1, 2 * step + 1
    high = low + step
    while low < high:
        middle = (low + high) // 2
        if stall_cycles((one._replace(words_per_cycle=middle),)) == 0:
            high = middle
        else:
            low = middle + 1
    return low


@inline
def _next_event(ports: int, times: Integers, upcoming: Integers, first_half: Integers) -> int:
    """Port with the earliest upcoming time, or NEVER."""
    which = NEVER
    for p in range(ports):
        if upcoming[p] == first_half[p + 1]:
            continue
        if which == NEVER or times[upcoming[p]] < times[upcoming[which]]:
            which = p
    return which


@inline
def _move(half: int, first: int, room_from: int, transfer: Integers, moved: Integers) -> None:
    """The port moves a half after the one before it, and when the array has let go of the SRAM."""
    port_free_from = moved[half - 1] if half > first else 0
    moved[half] = max(room_from, port_free_from) + transfer[half]


@kernel
def _run_ports(
    transfer: Integers, first_use: Integers, release: Integers, first_half: Integers, is_output: npt.NDArray[np.bool_]
) -> int:
    """Walk through uses and releases of all halves in the order of the run without stalls, adding up waits.

    A release in the same cycle comes first. Half h of an input goes into the room of half h - 2 and must be there when
    it is used; half h of an output is moved when the array has filled it, and must have left before half h + 2 is used.
    """
    n_ports = is_output.size
    moved = np.zeros(transfer.size, np.int64)  # when the port is done with the half; at 0 with an input's first
    released = np.zeros(transfer.size, np.int64)
    next_use = first_half[:-1].copy()
    next_release = first_half[:-1].copy()
    stall = 0
    while True:
        user = _next_event(n_ports, first_use, next_use, first_half)
        p = _next_event(n_ports, release, next_release, first_half)
        if p != NEVER and (user == NEVER or release[next_release[p]] <= first_use[next_use[user]]):
            half = next_release[p]
            next_release[p] += 1
            released[half] = release[half] + stall
            if is_output[p]:
                _move(half, first_half[p], released[half], transfer, moved)
            continue
        if user == NEVER:
            return stall
        half, first = next_use[user], first_half[user]
        next_use[user] += 1
        if is_output[user]:
            awaited = half - 2
        else:
            awaited = half
            if half > first:
                _move(half, first, released[half - 2] if half >= first + 2 else 0, transfer, moved)
        if awaited >= first:
            stall = max(stall, moved[awaited] - first_use[half])
