"""Identical waves: once the machine repeats itself, the rest of a long kernel is extrapolated instead of executed.

A *wave* is as many blocks as the chip holds at a time. When the last waves of a run of identical blocks have taken equally
long and moved equally much, all further ones but the last are skipped: their time, events and causes are the mean of the
two periods that were observed. Blocks that differ (edges, causal tiles, fix-ups) are always executed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uarch.arrays import IntArray
from uarch.engine.chip_state import ChipState, Program, charge
from uarch.events import Cause, Event
from uarch.jit import inline
from uarch.program.records import NONE, OPERAND, STEP, executions

PERIOD = 128
"""Waves of a period: enough for the order of tiles to repeat itself."""
WARM_UP_WAVES = 128
"""Waves before the first period that counts: cores drift apart from their common start."""
KEPT_WAVES = 3
"""Waves that are executed after the skipped ones, besides what is under way: the end of the kernel."""
_HISTORY = 2 * PERIOD + 1
_TOLERANCE = 200
"""Two periods count as equal if they differ by less than one part in this number.

Batches of writes do not keep step with waves, so that equal periods differ a little.
"""

_MASKS = {name for name in STEP.names or () if name.startswith("mask")}
"""Fields of a step that say which scores a mask keeps; the engine does not look at them."""
_IDLE = int(Cause.IDLE)
_DRAM_READ_BYTES = int(Event.DRAM_READ_BYTES)
_COORDINATES = ("batch", "row", "col", "table")


class Waves(NamedTuple):
    """Observations of the waves so far: a ring of snapshots, one at the end of each wave."""

    blocks_per_wave: int
    first_block: int
    """Index of the first block of the run of identical blocks."""
    end_block: int
    per_block: IntArray
    """Counts of each event in every block of the run, where its steps tell them, else -1; shape ``(events,)``."""
    time_ps: IntArray
    events: IntArray
    cause_ps: IntArray
    """Picoseconds of each core by cause at the end of each wave, shape ``(_HISTORY, cores, causes)``."""
    taken: IntArray
    """Snapshots taken and picoseconds skipped, shape ``(2,)``."""


def watch_waves(blocks_per_wave: int, cores: int, program: Program, run: tuple[int, int]) -> Waves:
    """Observations at the start, when there are none; ``run`` is the range of identical blocks."""
    return Waves(
        blocks_per_wave,
        run[0],
        run[1],
        _events_of_block(program, run[0]),
        np.zeros(_HISTORY, np.int64),
        np.zeros((_HISTORY, len(Event)), np.int64),
        np.zeros((_HISTORY, cores, len(Cause)), np.int64),
        np.zeros(2, np.int64),
    )


def _events_of_block(program: Program, number: int) -> IntArray:
    block = program.blocks[number]
    part = slice(block["first_step"], block["first_step"] + block["n_steps"])
    steps, costs = program.steps[part], program.costs[part]
    times = executions(steps)
    known = np.full(len(Event), NONE, np.int64)
    known[Event.STEPS] = times.sum()
    known[Event.MACS] = (times * costs["macs"]).sum()
    if not program.operands[part]["cached"].any():
        known[Event.L1_BYTES] = (times * costs["l1_bytes"]).sum()
    known[Event.VECTOR_OPS] = (times * steps["vector_ops"]).sum()
    known[Event.SPECIAL_OPS] = (times * steps["special_ops"]).sum()
    return known


def longest_identical_run(program: Program) -> tuple[int, int]:
    """Longest range of blocks that differ only in where their tiles lie, not in what they do.

    Only programs in which all blocks have equally many steps and wait for nobody are looked at; others give an empty range.
    """
    blocks, steps, operands = program.blocks, program.steps, program.operands
    n_steps = int(blocks["n_steps"][0])
    plain = (blocks["wait_counter"] == NONE).all() and (blocks["signal_counter"] == NONE).all()
    if not plain or (blocks["n_steps"] != n_steps).any():
        return 0, 0
    shape = len(blocks), n_steps
    differs = np.zeros(len(blocks) - 1, np.bool_)
    for name in set(STEP.names or ()) - _MASKS:
        step_values = steps[name].reshape(shape)
        differs |= (step_values[1:] != step_values[:-1]).any(axis=1)
    for name in OPERAND.names or ():
        if name not in _COORDINATES:
            values = operands[name].reshape(*shape, 3)
            differs |= (values[1:] != values[:-1]).any(axis=(1, 2))
    edges = np.concatenate([[0], np.flatnonzero(differs) + 1, [len(blocks)]])
    longest = int(np.argmax(np.diff(edges)))
    return int(edges[longest]), int(edges[longest + 1])


@inline
def end_of_wave(chip: ChipState, waves: Waves, now_ps: int) -> None:
    """Take a snapshot; if the machine repeats itself, skip the blocks that would repeat it further."""
    for core in range(chip.machine.cores):
        charge(chip, core, now_ps)
    number = waves.taken[0]
    slot = number % _HISTORY
    waves.time_ps[slot] = now_ps
    for event in range(len(chip.events)):
        waves.events[slot, event] = chip.events[event]
    for core in range(chip.machine.cores):
        for cause in range(waves.cause_ps.shape[2]):
            waves.cause_ps[slot, core, cause] = chip.cores[core]["cause_ps"][cause]
    waves.taken[0] = number + 1
    if waves.taken[1] == 0 and number >= WARM_UP_WAVES + 2 * PERIOD and _repeats(waves, number):
        _skip(chip, waves, number)


@inline
def _repeats(waves: Waves, number: int) -> bool:
    """Whether the last two periods took equally long and read equally much from DRAM."""
    last, middle, first = number % _HISTORY, (number - PERIOD) % _HISTORY, (number - 2 * PERIOD) % _HISTORY
    new_ps, old_ps = waves.time_ps[last] - waves.time_ps[middle], waves.time_ps[middle] - waves.time_ps[first]
    reads = waves.events[:, _DRAM_READ_BYTES]
    new_bytes, old_bytes = reads[last] - reads[middle], reads[middle] - reads[first]
    same_time = abs(new_ps - old_ps) * _TOLERANCE <= new_ps
    return bool(same_time and abs(new_bytes - old_bytes) * _TOLERANCE <= new_bytes)


@inline
def _skip(chip: ChipState, waves: Waves, number: int) -> None:
    """Count all further periods but the last blocks as executed."""
    shared = chip.shared[0]
    blocks = PERIOD * waves.blocks_per_wave
    left = waves.end_block - shared["next_block"] - KEPT_WAVES * waves.blocks_per_wave
    times = left // blocks
    if shared["next_block"] < waves.first_block + blocks or times < 1:
        return
    last, before = number % _HISTORY, (number - 2 * PERIOD) % _HISTORY
    shared["next_block"] += times * blocks
    shared["ended_blocks"] += times * blocks
    for event in range(len(chip.events)):
        counted = times * (waves.events[last, event] - waves.events[before, event]) // 2
        if waves.per_block[event] != NONE:
            counted = times * blocks * waves.per_block[event]
        chip.events[event] += counted
    skipped_ps = times * (waves.time_ps[last] - waves.time_ps[before]) // 2
    for core in range(chip.machine.cores):
        rest_ps = skipped_ps
        for cause in range(waves.cause_ps.shape[2]):
            gained_ps = times * (waves.cause_ps[last, core, cause] - waves.cause_ps[before, core, cause]) // 2
            chip.cores[core]["cause_ps"][cause] += gained_ps
            rest_ps -= gained_ps
        chip.cores[core]["cause_ps"][_IDLE] += rest_ps  # of rounding
    waves.taken[1] = skipped_ps
