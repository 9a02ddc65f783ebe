"""How operands and results travel: L1 <- NoC <- L2 <- DRAM, results the other way, remote tensors over the link.

Tiles are moved granule by granule. A granule in L2 is read through its group of slices and the core's port; one that is
absent is asked from DRAM; one in flight is waited for with those who asked before. Neighbouring cores that ask for a
granule while a response with it is under way to one of them share that response.

A remote tensor stands for the same tensor of a peer. All chips of a tensor-parallel group run the same program at the
same time, so that for every granule this chip reads from a peer, a peer reads one of this chip's: the granule at the
remote tensor's address is read here, crosses the link, and stands for the one that arrives.
"""

from __future__ import annotations

from uarch.chip_state import RESPONSES, ChipState, Program
from uarch.contexts import READY, set_wake
from uarch.dram.bank_bus import enqueue_read, enqueue_write
from uarch.events import Cause, Event
from uarch.jit import inline
from uarch.l2 import ABSENT, IN_FLIGHT, RESIDENT, arrive, l2_group, pop_victim, reserve, touch, unlink
from uarch.program import NONE, Residence, StructArray
from uarch.rates import duration_ps

_REMOTE = int(Residence.REMOTE)
_L2_NOC, _DRAM, _LINK = int(Cause.L2_NOC), int(Cause.DRAM), int(Cause.LINK)
_L2_READ_BYTES, _L2_WRITE_BYTES, _NOC_BYTES = (
    int(Event.L2_READ_BYTES),
    int(Event.L2_WRITE_BYTES),
    int(Event.NOC_BYTES),
)
_L2_HITS, _L2_MISSES, _LINK_BYTES = int(Event.L2_HITS), int(Event.L2_MISSES), int(Event.LINK_BYTES)


@inline
def move_box(
    chip: ChipState, program: Program, operand: StructArray, iteration: int, c: int, stage: int, now_ps: int
) -> int:
    """Load the granules of an operand's box for a stage, or store them if ``stage`` is NONE.

    A load changes the stage's ready time and pending count; a store returns when the core's port has accepted all.
    """
    tensor = program.tensors[operand["tensor"]]
    granule_rows, granule_cols = tensor["granule_rows"], tensor["granule_cols"]
    across = (tensor["cols"] + granule_cols - 1) // granule_cols
    first_col = operand["col"] + iteration * operand["step_col"]
    end_col = first_col + operand["n_cols"]
    j_first, j_last = first_col // granule_cols, (end_col - 1) // granule_cols
    accepted_ps = now_ps
    for b in range(operand["n_batch"]):
        batch = operand["batch"] + iteration * operand["step_batch"] + b
        first_row = batch * tensor["rows"] + operand["row"] + iteration * operand["step_row"]
        end_row = first_row + operand["n_rows"]
        for i in range(first_row // granule_rows, (end_row - 1) // granule_rows + 1):
            rows = min(end_row, (i + 1) * granule_rows) - max(first_row, i * granule_rows)
            for j in range(j_first, j_last + 1):
                cols = min(end_col, (j + 1) * granule_cols) - max(first_col, j * granule_cols)
                size_bytes = (rows * cols * tensor["element_bits"] + 7) >> 3
                if stage == NONE:
                    accepted_ps = max(accepted_ps, _write(chip, tensor, i, j, across, size_bytes, c, now_ps))
                else:
                    _read(chip, tensor, i, j, across, size_bytes, c, stage, now_ps)
    return accepted_ps


@inline
def fill(chip: ChipState, granule: int, now_ps: int) -> None:
    """DRAM has delivered a granule: put it into L2 and pass it to all who wait."""
    group = l2_group(granule, chip.machine.l2_groups)
    arrive(chip.granules, chip.groups, granule, group, 0)
    _make_room(chip, group, now_ps)
    w = chip.granules[granule]["first_waiter"]
    chip.granules[granule]["first_waiter"] = NONE
    shared = chip.shared[0]
    while w != NONE:
        waiter = chip.waiters[w]
        c, stage = waiter["context"], chip.stages[waiter["context"], waiter["stage"]]
        arrival_ps = _deliver(chip, granule, group, waiter["size_bytes"], waiter["remote"], c, now_ps)
        stage["ready_ps"] = max(stage["ready_ps"], arrival_ps)
        stage["pending"] -= 1
        context = chip.contexts[c]
        if stage["pending"] == 0 and context["phase"] == READY and context["first_stage"] == waiter["stage"]:
            set_wake(chip.wake, c, now_ps)
        following = waiter["next"]
        waiter["next"] = shared["free_waiter"]
        shared["free_waiter"] = w
        w = following


@inline
def _granule_bytes(tensor: StructArray, i: int, j: int) -> int:
    """Bytes of a tensor's granule: less than the full size at the tensor's edges."""
    rows = min(tensor["granule_rows"], tensor["batch"] * tensor["rows"] - i * tensor["granule_rows"])
    cols = min(tensor["granule_cols"], tensor["cols"] - j * tensor["granule_cols"])
    return int((rows * cols * tensor["element_bits"] + 7) >> 3)


@inline
def _address(tensor: StructArray, local: int) -> int:
    """Byte address of a tensor's granule: granules are stored one after the other."""
    slot_bytes = (tensor["granule_rows"] * tensor["granule_cols"] * tensor["element_bits"]) >> 3
    return int(tensor["base_address"] + local * slot_bytes)


@inline
def _read(
    chip: ChipState, tensor: StructArray, i: int, j: int, across: int, size_bytes: int, c: int, stage: int, now_ps: int
) -> None:
    """Load (part of) a granule for a stage: from L2, or as a waiter for DRAM."""
    local = i * across + j
    granule = tensor["first_granule"] + local
    group = l2_group(granule, chip.machine.l2_groups)
    remote = tensor["residence"] == _REMOTE
    record = chip.granules[granule]
    waiting = chip.stages[c, stage]
    if record["status"] == RESIDENT and record["missing_bytes"] == 0:
        chip.events[_L2_HITS] += 1
        touch(chip.granules, chip.groups, granule, group)
        arrival_ps = _deliver(chip, granule, group, size_bytes, remote, c, now_ps)
        waiting["ready_ps"] = max(waiting["ready_ps"], arrival_ps)
        if remote:
            waiting["cause"] = _LINK
        return
    if record["status"] == IN_FLIGHT:
        chip.events[_L2_HITS] += 1
    else:
        chip.events[_L2_MISSES] += 1
        _fetch(chip, tensor, i, j, local, granule, group, now_ps)
    _wait_for(chip, granule, size_bytes, remote, c, stage)


@inline
def _fetch(
    chip: ChipState, tensor: StructArray, i: int, j: int, local: int, granule: int, group: int, now_ps: int
) -> None:
    """Ask DRAM for a granule that is absent or only partly written."""
    filled_bytes = _granule_bytes(tensor, i, j)
    address = _address(tensor, local)
    if chip.granules[granule]["status"] == RESIDENT:
        unlink(chip.granules, chip.groups, granule, group)
        chip.granules[granule]["status"] = IN_FLIGHT
    else:
        reserve(chip.granules, chip.groups, granule, group, address, filled_bytes)
    asked_ps = now_ps + chip.machine.l2_latency_ps // 2
    enqueue_read(chip.dram, chip.dram_timing, granule, address, filled_bytes, asked_ps, chip.events)


@inline
def _wait_for(chip: ChipState, granule: int, size_bytes: int, remote: bool, c: int, stage: int) -> None:
    """Enter a stage in the granule's list of waiters."""
    shared = chip.shared[0]
    w = shared["free_waiter"]
    waiter = chip.waiters[w]
    shared["free_waiter"] = waiter["next"]
    waiter["context"] = c
    waiter["stage"] = stage
    waiter["size_bytes"] = size_bytes
    waiter["remote"] = remote
    waiter["next"] = chip.granules[granule]["first_waiter"]
    chip.granules[granule]["first_waiter"] = w
    waiting = chip.stages[c, stage]
    waiting["pending"] += 1
    waiting["cause"] = max(waiting["cause"], _LINK if remote else _DRAM)


@inline
def _deliver(chip: ChipState, granule: int, group: int, size_bytes: int, remote: bool, c: int, now_ps: int) -> int:
    """Through the group of slices, the link if the reader is a peer's, and the core's port; returns the arrival in L1."""
    machine = chip.machine
    core = c % machine.cores
    port = chip.cores[core]
    key = granule * machine.cores + core // machine.multicast_cores + 1
    response = chip.responses[((key * 2654435769) & 0xFFFFFFFF) * RESPONSES >> 32]
    begin_ps = now_ps
    if response["key"] != key or response["until_ps"] < now_ps or remote:
        chip.events[_L2_READ_BYTES] += size_bytes
        begin_ps = max(now_ps, chip.groups[group]["free_ps"])
        chip.groups[group]["free_ps"] = begin_ps + duration_ps(size_bytes, machine.l2_group_byte)
        response["key"] = key
        response["until_ps"] = begin_ps + machine.l2_latency_ps
    if remote:
        chip.events[_LINK_BYTES] += size_bytes
        shared = chip.shared[0]
        shared["link_free_ps"] = max(begin_ps, shared["link_free_ps"]) + duration_ps(size_bytes, machine.link_byte)
        begin_ps = shared["link_free_ps"] + machine.link_latency_ps
    chip.events[_NOC_BYTES] += size_bytes
    port["read_port_free_ps"] = max(begin_ps, port["read_port_free_ps"]) + duration_ps(size_bytes, machine.noc_read_byte)
    return int(port["read_port_free_ps"] + machine.l2_latency_ps)


@inline
def _write(
    chip: ChipState, tensor: StructArray, i: int, j: int, across: int, size_bytes: int, c: int, now_ps: int
) -> int:
    """Write (part of) a granule into L2 without fetching the rest; returns when the path is free again."""
    machine = chip.machine
    chip.events[_L2_WRITE_BYTES] += size_bytes
    chip.events[_NOC_BYTES] += size_bytes
    local = i * across + j
    granule = tensor["first_granule"] + local
    group = l2_group(granule, machine.l2_groups)
    port = chip.cores[c % machine.cores]
    path = chip.groups[group]
    port_ps = max(now_ps, port["write_port_free_ps"]) + duration_ps(size_bytes, machine.noc_write_byte)
    group_ps = max(now_ps, path["free_ps"]) + duration_ps(size_bytes, machine.l2_group_byte)
    port["write_port_free_ps"] = port_ps
    path["free_ps"] = group_ps
    record = chip.granules[granule]
    if record["status"] == ABSENT:
        full_bytes = _granule_bytes(tensor, i, j)
        reserve(chip.granules, chip.groups, granule, group, _address(tensor, local), full_bytes)
        arrive(chip.granules, chip.groups, granule, group, full_bytes - size_bytes)
        _make_room(chip, group, now_ps)
    elif record["status"] == RESIDENT:
        record["missing_bytes"] = max(0, record["missing_bytes"] - size_bytes)
        touch(chip.granules, chip.groups, granule, group)
    record["dirty"] = 1
    return int(max(port_ps, group_ps))


@inline
def _make_room(chip: ChipState, group: int, now_ps: int) -> None:
    """Evict from a group until it fits; dirty granules go to DRAM."""
    while True:
        victim = pop_victim(chip.granules, chip.groups, group, chip.machine.l2_group_bytes)
        if victim == NONE:
            return
        record = chip.granules[victim]
        if record["dirty"]:
            written_bytes = record["size_bytes"] - record["missing_bytes"]
            enqueue_write(chip.dram, chip.dram_timing, record["address"], written_bytes, now_ps, chip.events)
