"""State of the resident blocks: where each is in its program and what it waits for.

A *context* holds one resident block; context ``c`` belongs to core ``c % cores``. The array and the vector unit of a core
are shared by its contexts. Each context walks its block's steps twice: the *load* walk asks for operands up to
``stages`` steps ahead, the *execute* walk follows in order.
"""

from __future__ import annotations

import numpy as np

from uarch.jit import inline
from uarch.program.records import StructArray

MAX_STAGES = 16

NO_BLOCK, STARTING, READY, EXECUTING, STORING, WAITING_COUNTER, FINISHED = 0, 1, 2, 3, 4, 5, 6
"""Phases of a context."""
PHASES = ("without a block", "starting", "ready", "executing", "storing", "waiting for a counter", "finished")
"""Names of the phases, for messages."""

CONTEXT = np.dtype(
    [
        ("phase", np.int64),
        ("block", np.int64),
        ("cause", np.int64),  # what the context's time is charged to until its next change
        ("end_pc", np.int64),
        ("first_stage", np.int64),  # ring of stages: the one whose step executes next, and how many are in use
        ("n_stages", np.int64),
    ]
)

WALK = np.dtype([("pc", np.int64), ("loop_start", np.int64), ("iteration", np.int64)])

STAGE = np.dtype(
    [
        ("pending", np.int64),  # pieces of the step's operands that are still in DRAM
        ("ready_ps", np.int64),  # arrival of the last of the others
        ("cause", np.int64),  # the farthest place that a piece comes from
    ]
)

EXECUTE, LOAD = 0, 1
"""Index of a context's two walks."""


@inline
def start_walk(walk: StructArray, first_pc: int, end_pc: int, steps: StructArray) -> None:
    """Put a walk at the first step of a block that is executed at all."""
    pc = _skip_empty_loops(first_pc, end_pc, steps)
    walk["pc"] = pc
    walk["loop_start"] = pc
    walk["iteration"] = 0


@inline
def advance_walk(walk: StructArray, end_pc: int, steps: StructArray) -> None:
    """Go to the next step in execution order; at the end the counter is ``end_pc``."""
    pc, start = int(walk["pc"] + 1), int(walk["loop_start"])
    if pc == start + steps[start]["body"]:
        if walk["iteration"] + 1 < steps[start]["repeat"]:
            walk["iteration"] += 1
            pc = start
        else:
            pc = _skip_empty_loops(pc, end_pc, steps)
            walk["loop_start"] = pc
            walk["iteration"] = 0
    walk["pc"] = pc


@inline
def _skip_empty_loops(pc: int, end_pc: int, steps: StructArray) -> int:
    while pc < end_pc and steps[pc]["repeat"] == 0:
        pc += steps[pc]["body"]
    return pc
