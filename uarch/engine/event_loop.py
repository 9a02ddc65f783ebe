"""The engine's event loop: cores execute the blocks of a tile program and contend for L2, NoC, DRAM and link.

A deterministic discrete-event simulation in one jitted call. Two things happen in it, in order of time: a context (a
resident block) is woken because its present phase is over, or DRAM completes a granule. L2 slices, NoC ports, link,
arrays and vector units are resources with a clock of their own: who asks first reserves them first.
"""

from __future__ import annotations

from uarch.dram.channels.interface import failure, next_completion, pop_completion
from uarch.engine.chip_state import ChipState, Program, charge, set_cause
from uarch.engine.identical_waves import Waves, end_of_wave
from uarch.engine.memory_path import fill, move_box
from uarch.engine.recorder import is_full, record_block, record_block_start, record_request, record_step, record_store
from uarch.engine.resident_blocks import (
    EXECUTE,
    EXECUTING,
    FINISHED,
    LOAD,
    MAX_STAGES,
    NO_BLOCK,
    READY,
    STARTING,
    STORING,
    WAITING_COUNTER,
    advance_walk,
    start_walk,
)
from uarch.events import Cause, Event
from uarch.jit import constant, inline, loop_kernel
from uarch.program.records import NONE, OUT, A, B, Op, StructArray
from uarch.wake_tree import NEVER, earliest_sleeper, set_wake

_MATMUL = int(Op.MATMUL)
_MATRIX, _VECTOR, _L1, _L2_NOC, _DRAM, _LINK, _DEPENDENCY, _LAUNCH, _IDLE = (constant(cause) for cause in Cause)
_MACS, _VECTOR_OPS, _SPECIAL_OPS = int(Event.MACS), int(Event.VECTOR_OPS), int(Event.SPECIAL_OPS)
_L1_BYTES, _STEPS = int(Event.L1_BYTES), int(Event.STEPS)

DEADLOCK, PAUSED, ENDLESS, TOO_LONG, DRAM_FAILED = -1, -2, -3, -4, -5
"""Values that :func:`run` returns instead of a time.

Blocks wait for each other; the recorder's buffer is full; there were more turns than the program can have; time has come to
``LATEST_PS``; DRAM cannot go on.
"""
LATEST_PS = NEVER // 2
"""Longest execution in picoseconds, 27 days: later times of resources that are reserved from then on still fit."""


@inline
def _has_loads(program: Program, pc: int) -> bool:
    return bool(program.operands[pc, A]["tensor"] != NONE or program.operands[pc, B]["tensor"] != NONE)


@inline
def _issue_loads(chip: ChipState, program: Program, c: int, now_ps: int) -> None:
    """Run the load walk ahead until the block's stages are full."""
    context, walk = chip.contexts[c], chip.walks[c, LOAD]
    limit = program.blocks[context["block"]]["stages"]
    while walk["pc"] < context["end_pc"]:
        pc = walk["pc"]
        if _has_loads(program, pc):
            if context["n_stages"] == limit:
                return
            number = (context["first_stage"] + context["n_stages"]) % MAX_STAGES
            context["n_stages"] += 1
            stage = chip.stages[c, number]
            stage["pending"] = 0
            stage["ready_ps"] = now_ps
            stage["cause"] = _L2_NOC
            record_request(chip.recorder, program, pc, c, number, now_ps)
            for which in range(2):
                operand = program.operands[pc, which]
                if operand["tensor"] != NONE:
                    move_box(chip, program, operand, walk["iteration"], c, number, now_ps)
        advance_walk(walk, context["end_pc"], program.steps)


@inline
def _begin_block(chip: ChipState, program: Program, c: int, now_ps: int) -> None:
    """Take the next block, or wait for its counter, or have nothing left to do."""
    context, shared = chip.contexts[c], chip.shared[0]
    if context["block"] == NONE:
        if shared["next_block"] == len(program.blocks):
            context["phase"] = FINISHED
            set_cause(chip, c, _IDLE, now_ps)
            set_wake(chip.wake, c, NEVER)
            return
        context["block"] = shared["next_block"]
        shared["next_block"] += 1
    block = program.blocks[context["block"]]
    counter = block["wait_counter"]
    if counter != NONE and chip.counters[counter] < block["wait_value"]:
        context["phase"] = WAITING_COUNTER
        set_cause(chip, c, _DEPENDENCY, now_ps)
        set_wake(chip.wake, c, NEVER)
        return
    context["phase"] = STARTING
    record_block_start(chip.recorder, c, now_ps)
    context["end_pc"] = block["first_step"] + block["n_steps"]
    context["first_stage"] = 0
    context["n_stages"] = 0
    start_walk(chip.walks[c, EXECUTE], block["first_step"], context["end_pc"], program.steps)
    start_walk(chip.walks[c, LOAD], block["first_step"], context["end_pc"], program.steps)
    set_cause(chip, c, _LAUNCH, now_ps)
    set_wake(chip.wake, c, now_ps + chip.machine.block_launch_ps)


@inline
def _end_block(chip: ChipState, program: Program, c: int, now_ps: int) -> None:
    """Signal the block's counter and wake those who wait for one."""
    context = chip.contexts[c]
    counter = program.blocks[context["block"]]["signal_counter"]
    record_block(chip.recorder, c % chip.machine.cores, c, context["block"], now_ps)
    context["block"] = NONE
    context["phase"] = NO_BLOCK
    chip.shared[0]["ended_blocks"] += 1
    if counter != NONE:
        chip.counters[counter] += 1
        for other in range(len(chip.contexts)):
            if chip.contexts[other]["phase"] == WAITING_COUNTER:
                chip.contexts[other]["phase"] = NO_BLOCK
                set_wake(chip.wake, other, now_ps)


@inline
def _operands_here(chip: ChipState, c: int, now_ps: int) -> bool:
    """Whether the next step's operands are in L1; if not, the context waits for them."""
    stage = chip.stages[c, chip.contexts[c]["first_stage"]]
    if stage["pending"] > 0:
        set_cause(chip, c, stage["cause"], now_ps)
        set_wake(chip.wake, c, NEVER)
        return False
    if stage["ready_ps"] > now_ps:
        set_cause(chip, c, _L2_NOC if stage["cause"] == _DRAM else stage["cause"], now_ps)
        set_wake(chip.wake, c, stage["ready_ps"])
        return False
    return True


@inline
def _start_step(chip: ChipState, program: Program, c: int, now_ps: int) -> None:
    """Reserve the step's unit and sleep until its result can be used."""
    walk = chip.walks[c, EXECUTE]
    pc = walk["pc"]
    step, cost = program.steps[pc], program.costs[pc]
    core = chip.cores[c % chip.machine.cores]
    if step["op"] == _MATMUL:
        end_ps = max(now_ps, core["array_free_ps"]) + cost["busy_ps"]
        core["array_free_ps"] = end_ps
        set_cause(chip, c, _MATRIX, now_ps)
        chip.events[_MACS] += cost["macs"]
    else:
        end_ps = max(now_ps, core["vector_free_ps"]) + cost["busy_ps"]
        core["vector_free_ps"] = end_ps
        set_cause(chip, c, _VECTOR, now_ps)
        chip.events[_VECTOR_OPS] += step["vector_ops"]
        chip.events[_SPECIAL_OPS] += step["special_ops"]
    chip.events[_STEPS] += 1
    chip.events[_L1_BYTES] += cost["l1_bytes"]
    chip.contexts[c]["phase"] = EXECUTING
    record_step(chip.recorder, chip, program, c, end_ps)
    if step["op"] == _MATMUL:
        end_ps += chip.machine.step_gap_ps
    if step["op"] != _MATMUL or not _continues(program, walk, chip.contexts[c]["end_pc"]):
        end_ps += cost["drain_ps"]
    set_wake(chip.wake, c, end_ps)


@inline
def _continues(program: Program, walk: StructArray, end_pc: int) -> bool:
    """Whether the step executed next adds to the same accumulators, so that the array need not drain in between."""
    pc = walk["pc"]
    following = pc
    if program.steps[pc]["body"] != 1 or walk["iteration"] + 1 == program.steps[pc]["repeat"]:
        following = pc + 1
    if following >= end_pc or program.steps[following]["repeat"] == 0:
        return False
    step = program.steps[following]
    same_slot = program.operands[following, OUT]["slot"] == program.operands[pc, OUT]["slot"]
    return bool(step["op"] == _MATMUL and step["accumulate"] == 1 and same_slot)


@inline
def _charge_l1(chip: ChipState, c: int, cause: int, excess_ps: int, now_ps: int) -> None:
    """Move the time that a unit spent waiting for L1 from the unit's cause to the cause L1."""
    core = chip.cores[c % chip.machine.cores]
    charge(chip, c % chip.machine.cores, now_ps)
    moved_ps = min(excess_ps, core["cause_ps"][cause])
    core["cause_ps"][cause] -= moved_ps
    core["cause_ps"][_L1] += moved_ps


@inline
def _finish_step(chip: ChipState, program: Program, c: int, now_ps: int) -> None:
    """Store the result of a step that has been executed, if it has a box, and free its stage."""
    context, walk = chip.contexts[c], chip.walks[c, EXECUTE]
    pc = walk["pc"]
    if context["phase"] == EXECUTING:
        excess_ps = program.costs[pc]["l1_excess_ps"]
        if excess_ps > 0:
            _charge_l1(chip, c, _MATRIX if program.steps[pc]["op"] == _MATMUL else _VECTOR, excess_ps, now_ps)
        out = program.operands[pc, OUT]
        if out["tensor"] != NONE:
            accepted_ps = move_box(chip, program, out, walk["iteration"], c, None, now_ps)
            core = c % chip.machine.cores
            record_store(chip.recorder, program, pc, core, context["block"], now_ps, accepted_ps)
            if accepted_ps > now_ps:
                context["phase"] = STORING
                held_by_dram = chip.cores[c % chip.machine.cores]["dram_write_ps"] >= accepted_ps
                set_cause(chip, c, _DRAM if held_by_dram else _L2_NOC, now_ps)
                set_wake(chip.wake, c, accepted_ps)
                return
    if _has_loads(program, pc):
        context["first_stage"] = (context["first_stage"] + 1) % MAX_STAGES
        context["n_stages"] -= 1
    advance_walk(walk, context["end_pc"], program.steps)
    context["phase"] = READY


@inline
def _progress(chip: ChipState, program: Program, c: int, now_ps: int) -> None:
    """Take a context whose phase is over to the next one."""
    context = chip.contexts[c]
    if context["phase"] == STARTING:
        context["phase"] = READY
    elif context["phase"] == EXECUTING or context["phase"] == STORING:
        _finish_step(chip, program, c, now_ps)
    if context["phase"] == READY:
        _issue_loads(chip, program, c, now_ps)
        pc = chip.walks[c, EXECUTE]["pc"]
        if pc == context["end_pc"]:
            _end_block(chip, program, c, now_ps)
        elif not _has_loads(program, pc) or _operands_here(chip, c, now_ps):
            _start_step(chip, program, c, now_ps)
    if context["phase"] == NO_BLOCK:
        _begin_block(chip, program, c, now_ps)


@loop_kernel
def run(chip: ChipState, program: Program, waves: Waves, launch_ps: int) -> int:
    """Execute all blocks, or extrapolate; returns the time in picoseconds at which the last one has ended.

    The launch of the kernel takes the first ``launch_ps``. All other results are in the arrays of ``chip``. Returns
    ``DEADLOCK`` if blocks wait for counters that nobody is left to signal, and ``PAUSED`` when the recorder's buffer is full:
    call it again, with ``launch_ps`` below 0, when that has been emptied. All other values below 0 are failures.
    """
    if launch_ps >= 0:
        for c in range(len(chip.contexts)):
            chip.contexts[c]["cause"] = _LAUNCH
            set_wake(chip.wake, c, launch_ps)
    now_ps = launch_ps
    shared = chip.shared[0]
    wave_end = waves.blocks_per_wave
    while shared["ended_blocks"] < len(program.blocks):
        if is_full(chip.recorder, chip.machine.cores):
            return PAUSED
        wake_ps = chip.wake[1]
        completion_ps = next_completion(chip.dram, chip.dram_timing, wake_ps, chip.events)
        if failure(chip.dram) != 0:
            return DRAM_FAILED
        if wake_ps == NEVER and completion_ps == NEVER:
            return DEADLOCK
        if min(wake_ps, completion_ps) > LATEST_PS:
            return TOO_LONG
        shared["turns_left"] -= 1
        if shared["turns_left"] < 0:
            return ENDLESS
        if completion_ps <= wake_ps:
            fill(chip, pop_completion(chip.dram), completion_ps)
        else:
            now_ps = wake_ps
            _progress(chip, program, earliest_sleeper(chip.wake), now_ps)
            if shared["ended_blocks"] >= wave_end:
                end_of_wave(chip, waves, now_ps)
                wave_end = shared["ended_blocks"] + waves.blocks_per_wave
    for core in range(chip.machine.cores):
        charge(chip, core, now_ps)
    # What still waits to be written counts, but takes no time.
    next_completion(chip.dram, chip.dram_timing, NEVER, chip.events)
    if failure(chip.dram) != 0:
        return DRAM_FAILED
    return int(now_ps + waves.taken[1])
