"""Everything on a chip that has state while a kernel runs: struct arrays that the jitted parts of the engine share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uarch.arrays import IntArray
from uarch.dram.channels.interface import Dram, DramTiming, open_dram
from uarch.engine.l1_cache import open_l1_cache
from uarch.engine.l2 import FETCH, NO_FETCH, L2State, open_l2
from uarch.engine.machine import Machine
from uarch.engine.recorder import AnyRecorder, new_recorder, record_core_time
from uarch.engine.resident_blocks import CONTEXT, MAX_STAGES, STAGE, WALK
from uarch.events import Cause, Event
from uarch.jit import inline
from uarch.program.records import NONE, StructArray
from uarch.wake_tree import new_wake_tree

CORE = np.dtype(
    [
        ("array_free_ps", np.int64),  # when each unit and port is free again
        ("vector_free_ps", np.int64),
        ("read_port_free_ps", np.int64),
        ("write_port_free_ps", np.int64),
        ("dram_write_ps", np.int64),  # until when its stores have to wait for room in DRAM's write buffers
        ("charged_ps", np.int64),  # up to when the core's time has been charged to a cause
        ("cause_ps", np.int64, (len(Cause),)),
    ]
)

WAITER = np.dtype(
    [
        ("context", np.int64),
        ("stage", np.int64),
        ("rows", np.int64),  # the set of the granule's rows that the stage waits for
        ("part", np.int64),  # what of these rows: bytes, from bit 16 on the first column, bit 48 whether L1 keeps them
        ("remote", np.int64),
        ("next", np.int64),
    ]
)

RESPONSE = np.dtype(
    [
        ("key", np.int64),  # granule and cluster of cores
        ("rows", np.int64),  # the set of the granule's rows that it carries
        ("part", np.int64),  # what of these rows: bytes, and from bit 16 on the first column
        ("until_ps", np.int64),
    ]
)
RESPONSES = 1 << 14
"""Responses of L2 that can be shared at a time; a newer one takes the place of an older one with the same hash."""

SHARED = np.dtype(
    [
        ("next_block", np.int64),
        ("ended_blocks", np.int64),
        ("link_free_ps", np.int64),
        ("free_waiter", np.int64),
        ("free_fetch", np.int64),
        ("turns_left", np.int64),  # of the event loop, before it is taken for endless
    ]
)


class Program(NamedTuple):
    """The arrays of a tile program and its step costs."""

    tensors: StructArray
    blocks: StructArray
    steps: StructArray
    operands: StructArray
    tables: IntArray
    costs: StructArray


class ChipState(NamedTuple):
    """Everything on the chip that changes while one kernel executes, and the timings by which it does."""

    machine: Machine
    dram_timing: DramTiming
    dram: Dram
    granules: StructArray
    groups: StructArray
    users: IntArray
    """Rows of each granule in L2 that cores of each partition have used, shape ``(granules, partitions)``; see ``L2State``."""
    contexts: StructArray
    walks: StructArray
    """Records ``WALK``, shape ``(contexts, 2)``: where each context executes and where it loads."""
    stages: StructArray
    """Records ``STAGE``, shape ``(contexts, MAX_STAGES)``: operands in L1 or on their way there."""
    wake: IntArray
    cores: StructArray
    fetches: StructArray
    waiters: StructArray
    responses: StructArray
    l1_cache: StructArray
    """Records ``LINE``, shape ``(cores, sets, ways)``: what L1 keeps of cached loads."""
    counters: IntArray
    """Counters of the program, which its blocks wait for and signal."""
    events: IntArray
    shared: StructArray
    """One record ``SHARED``: what all cores have in common."""
    recorder: AnyRecorder


def open_chip(
    machine: Machine,
    dram_timing: DramTiming,
    l2_state: L2State,
    resident_blocks: int,
    n_granules: int,
    n_counters: int,
    n_waiters: int,
    n_stores: int,
    l1_cache_bytes: int = 0,
    most_intervals: int = 0,
) -> ChipState:
    """An idle chip with a given L2 content and room for ``resident_blocks`` on each core.

    ``n_waiters`` and ``n_stores``: granules for which all contexts together can wait, and that they can store at a time.
    ``l1_cache_bytes``: L1 of each core for loads that are cached. ``most_intervals``: room in its timeline; 0 records none.
    """
    n_contexts = machine.cores * resident_blocks
    granules, groups, users = open_l2(l2_state, n_granules, machine.l2_groups, machine.l2_partitions)
    contexts = np.zeros(n_contexts, CONTEXT)
    contexts["block"] = NONE
    waiters, fetches = np.empty(n_waiters, WAITER), np.empty(n_waiters + 1, FETCH)
    waiters["next"] = np.append(np.arange(1, n_waiters), NONE)
    fetches["next"] = np.append(np.arange(1, n_waiters + 1), NO_FETCH)
    shared = np.zeros(1, SHARED)
    shared["free_fetch"] = fetches["next"][NO_FETCH]
    return ChipState(
        machine=machine,
        dram_timing=dram_timing,
        dram=open_dram(dram_timing, n_waiters, n_stores),
        granules=granules,
        groups=groups,
        users=users,
        contexts=contexts,
        walks=np.zeros((n_contexts, 2), WALK),
        stages=np.zeros((n_contexts, MAX_STAGES), STAGE),
        wake=new_wake_tree(n_contexts),
        cores=np.zeros(machine.cores, CORE),
        fetches=fetches,
        waiters=waiters,
        responses=np.zeros(RESPONSES, RESPONSE),
        l1_cache=open_l1_cache(machine.cores, l1_cache_bytes),
        counters=np.zeros(max(1, n_counters), np.int64),
        events=np.zeros(len(Event), np.int64),
        shared=shared,
        recorder=new_recorder(most_intervals, machine.cores, n_contexts),
    )


@inline
def charge(chip: ChipState, core: int, now_ps: int) -> None:
    """Charge the core's time since the last call to the most important cause among its contexts."""
    elapsed_ps = now_ps - chip.cores[core]["charged_ps"]
    if elapsed_ps <= 0:
        return
    first = chip.contexts[core]["cause"]
    for c in range(core + chip.machine.cores, len(chip.contexts), chip.machine.cores):
        first = min(first, chip.contexts[c]["cause"])
    chip.cores[core]["cause_ps"][first] += elapsed_ps
    record_core_time(chip.recorder, core, first, now_ps - elapsed_ps, now_ps)
    chip.cores[core]["charged_ps"] = now_ps


@inline
def set_cause(chip: ChipState, c: int, cause: int, now_ps: int) -> None:
    """Charge the context's time up to now, and let what follows belong to ``cause``."""
    if chip.contexts[c]["cause"] != cause:
        charge(chip, c % chip.machine.cores, now_ps)
        chip.contexts[c]["cause"] = cause
