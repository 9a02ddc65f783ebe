"""How operands and results travel: L1 <- NoC <- L2 <- DRAM, results the other way, remote tensors over the link.

Tiles are moved granule by granule. Rows of a granule that are in L2 are read through its group of slices and the core's
port; those that are absent are asked from DRAM; those that are on their way are waited for with whoever asked first.
Neighbouring cores that ask for the same part of a granule while a response with it is under way to one of them share it.
Loads that go through a core's L1 cache ask for those rows only that the cache does not hold.

A remote tensor stands for the same tensor of a peer. All chips of a tensor-parallel group run the same program at the
same time, so that for every granule this chip reads from a peer, a peer reads one of this chip's: the granule at the
remote tensor's address is read here, crosses the link, and stands for the one that arrives.
"""

from __future__ import annotations

from uarch.dram.channels.interface import enqueue_read, enqueue_write
from uarch.engine.chip_state import RESPONSES, ChipState, Program
from uarch.engine.l1_cache import ABSENT, arrival_in_l1, keep_in_l1
from uarch.engine.l2 import (
    NO_FETCH,
    add_rows,
    first_row_of,
    l2_group,
    own_rows,
    pop_victim,
    row_count,
    row_set,
    touch,
    use_rows,
)
from uarch.engine.resident_blocks import READY
from uarch.events import Cause, Event
from uarch.jit import hash_bucket, inline
from uarch.picoseconds import duration_ps
from uarch.program.boxes import first_row_of_part
from uarch.program.records import NONE, Residence, StructArray
from uarch.wake_tree import set_wake

_REMOTE = int(Residence.REMOTE)
_L2_NOC, _DRAM, _LINK = int(Cause.L2_NOC), int(Cause.DRAM), int(Cause.LINK)
_L2_READ_BYTES, _L2_WRITE_BYTES, _NOC_BYTES = (
    int(Event.L2_READ_BYTES),
    int(Event.L2_WRITE_BYTES),
    int(Event.NOC_BYTES),
)
_L1_BYTES = int(Event.L1_BYTES)
_L2_HITS, _L2_MISSES, _LINK_BYTES = int(Event.L2_HITS), int(Event.L2_MISSES), int(Event.LINK_BYTES)

_CACHED_BIT = 48
"""Bit of a request's ``part`` that says that L1 keeps the rows.

The bits below hold the bytes that are asked for (0 to 15) and the first column (from 16 on).
"""


@inline
def move_box(
    chip: ChipState, program: Program, operand: StructArray, iteration: int, c: int, stage: int | None, now_ps: int
) -> int:
    """Load the granules of an operand's box for a stage, or store them if ``stage`` is None.

    Numba compiles loads and stores apart, by the type of ``stage``. A load changes the stage's ready time and pending count;
    a store returns when the core's port has accepted all.
    """
    tensor = program.tensors[operand["tensor"]]
    row_shift, col_shift = tensor["row_shift"], tensor["col_shift"]
    first_col = operand["col"] + iteration * operand["step_col"]
    end_col = first_col + operand["n_cols"]
    j_first, j_end = first_col >> col_shift, ((end_col - 1) >> col_shift) + 1
    accepted_ps = now_ps
    for b in range(operand["n_batch"]):
        first_row = first_row_of_part(program.tables, tensor, operand, iteration, b)
        end_row = first_row + operand["n_rows"]
        for i in range(first_row >> row_shift, ((end_row - 1) >> row_shift) + 1):
            top = max(first_row - (i << row_shift), 0)
            rows = min(end_row - (i << row_shift), 1 << row_shift) - top
            for j in range(j_first, j_end):
                left = max(first_col - (j << col_shift), 0)
                cols = min(end_col - (j << col_shift), 1 << col_shift) - left
                size_bytes = (rows * cols * tensor["element_bits"] + 7) >> 3
                row_bits = row_set(top, rows)
                if stage is None:
                    accepted_ps = max(accepted_ps, _write(chip, tensor, i, j, row_bits, size_bytes, c, now_ps))
                elif operand["cached"] == 0 or not _in_l1(chip, tensor, i, j, top, rows, c, stage, now_ps):
                    part = (operand["cached"] << _CACHED_BIT) + (left << 16) + size_bytes
                    _read(chip, tensor, i, j, row_bits, part, c, stage, now_ps)
    return accepted_ps


@inline
def fill(chip: ChipState, fetch_number: int, now_ps: int) -> None:
    """Put what DRAM has delivered for a fetch into L2, and pass it to all who wait for it."""
    fetch, shared = chip.fetches[fetch_number], chip.shared[0]
    granule = fetch["granule"]
    group = l2_group(granule, chip.machine.l2_groups)
    _remove_fetch(chip, granule, fetch_number)
    add_rows(chip.granules, chip.groups, granule, group, fetch["rows"])
    _make_room(chip, group, NONE, now_ps)
    w = fetch["first_waiter"]
    while w != NONE:
        waiter = chip.waiters[w]
        following = waiter["next"]
        if waiter["rows"] & chip.granules[granule]["in_flight"] != 0:  # the rest of the rows is still on its way
            other = _fetch_of(chip, granule, waiter["rows"])
            waiter["next"] = chip.fetches[other]["first_waiter"]
            chip.fetches[other]["first_waiter"] = w
            w = following
            continue
        c, stage = waiter["context"], chip.stages[waiter["context"], waiter["stage"]]
        stage["pending"] -= 1
        arrival_ps = _deliver(chip, granule, group, waiter["rows"], waiter["part"], waiter["remote"], c, now_ps)
        stage["ready_ps"] = max(stage["ready_ps"], arrival_ps - chip.machine.l2_latency_ps // 2)
        context = chip.contexts[c]
        if stage["pending"] == 0 and context["phase"] == READY and context["first_stage"] == waiter["stage"]:
            set_wake(chip.wake, c, now_ps)
        waiter["next"] = shared["free_waiter"]
        shared["free_waiter"] = w
        w = following
    fetch["next"] = shared["free_fetch"]
    shared["free_fetch"] = fetch_number


@inline
def _remove_fetch(chip: ChipState, granule: int, fetch_number: int) -> None:
    """Take a fetch out of its granule's list."""
    fetch, record = chip.fetches[fetch_number], chip.granules[granule]
    record["in_flight"] &= ~fetch["rows"]
    if fetch["previous"] == NO_FETCH:
        record["first_fetch"] = fetch["next"]
    else:
        chip.fetches[fetch["previous"]]["next"] = fetch["next"]
    if fetch["next"] != NO_FETCH:
        chip.fetches[fetch["next"]]["previous"] = fetch["previous"]


@inline
def _open_granule(chip: ChipState, tensor: StructArray, granule: int, local: int, j: int) -> None:
    """Note address and row size of a granule that L2 did not hold; granules are stored one after the other."""
    record = chip.granules[granule]
    slot_bytes = (tensor["element_bits"] << (tensor["row_shift"] + tensor["col_shift"])) >> 3
    cols = min(1 << tensor["col_shift"], tensor["cols"] - (j << tensor["col_shift"]))
    record["address"] = tensor["base_address"] + local * slot_bytes
    record["row_bytes"] = (cols * tensor["element_bits"] + 7) >> 3


@inline
def _in_l1(
    chip: ChipState, tensor: StructArray, i: int, j: int, first: int, rows: int, c: int, stage_number: int, now_ps: int
) -> bool:
    """Whether the core's cache has rows of a granule or is being sent them; if so, make the stage wait for their arrival."""
    granule = int(tensor["first_granule"] + i * tensor["granules_across"] + j)
    arrival_ps = arrival_in_l1(chip.l1_cache, c % chip.machine.cores, granule, first, rows, now_ps)
    if arrival_ps == ABSENT:
        return False
    stage = chip.stages[c, stage_number]
    stage["ready_ps"] = max(stage["ready_ps"], arrival_ps)
    return True


@inline
def _read(
    chip: ChipState,
    tensor: StructArray,
    i: int,
    j: int,
    rows: int,
    part: int,
    c: int,
    stage_number: int,
    now_ps: int,
) -> None:
    """Load rows of a granule for a stage: from L2, or as a waiter for DRAM.

    ``part``: whether L1 keeps them, first column and bytes.
    """
    local = int(i * tensor["granules_across"] + j)
    granule = int(tensor["first_granule"] + local)
    group = l2_group(granule, chip.machine.l2_groups)
    remote = tensor["residence"] == _REMOTE
    record, stage = chip.granules[granule], chip.stages[c, stage_number]
    if rows & ~record["valid"] == 0:
        chip.events[_L2_HITS] += 1
        touch(chip.granules, chip.groups, granule, group)
        arrival_ps = _deliver(chip, granule, group, rows, part, remote, c, now_ps)
        stage["ready_ps"] = max(stage["ready_ps"], arrival_ps)
        if remote:
            stage["cause"] = _LINK
        return
    if record["valid"] == 0 and record["first_fetch"] == NO_FETCH:
        _open_granule(chip, tensor, granule, local, j)
    stage["cause"] = max(stage["cause"], _LINK if remote else _DRAM)
    asked = rows & ~(record["valid"] | record["in_flight"])
    if asked != 0:
        chip.events[_L2_MISSES] += 1
        number = _fetch(chip, tensor, i, j, granule, asked, now_ps)
    else:
        chip.events[_L2_HITS] += 1
        number = _fetch_of(chip, granule, rows)
    stage["pending"] += 1
    _wait_for(chip, number, rows, part, remote, c, stage_number)


@inline
def _fetch_of(chip: ChipState, granule: int, rows: int) -> int:
    """A fetch that brings some of these rows of a granule, of which some are in flight."""
    number = chip.granules[granule]["first_fetch"]
    while chip.fetches[number]["rows"] & rows == 0:
        number = chip.fetches[number]["next"]
    return int(number)


@inline
def _fetch(chip: ChipState, tensor: StructArray, i: int, j: int, granule: int, rows: int, now_ps: int) -> int:
    """Ask DRAM for rows of a granule; returns the number of the fetch."""
    shared, record = chip.shared[0], chip.granules[granule]
    number = shared["free_fetch"]
    fetch = chip.fetches[number]
    shared["free_fetch"] = fetch["next"]
    fetch["granule"] = granule
    fetch["rows"] = rows
    fetch["first_waiter"] = NONE
    fetch["previous"] = NO_FETCH
    fetch["next"] = record["first_fetch"]
    if record["first_fetch"] != NO_FETCH:
        chip.fetches[record["first_fetch"]]["previous"] = number
    record["first_fetch"] = number
    record["in_flight"] |= rows
    count = row_count(rows)
    address = record["address"]
    if 2 * count <= 1 << tensor["row_shift"]:
        address = _row_address(tensor, int(i << tensor["row_shift"]) + first_row_of(rows), j)
    asked_ps = now_ps + chip.machine.l2_latency_ps // 2
    size_bytes = count * record["row_bytes"]
    enqueue_read(chip.dram, chip.dram_timing, number, address, size_bytes, asked_ps, chip.events)
    return int(number)


@inline
def _row_address(tensor: StructArray, row: int, j: int) -> int:
    """Address at which few rows of a granule begin in the row-major matrix, beside the same rows of its neighbours.

    Kernels that go by rows read whole rows at a time, and DRAM pages see that; tiles are taken to lie together.
    """
    pitch_bytes = (tensor["element_bits"] << tensor["col_shift"]) >> 3
    return int(tensor["base_address"] + (row * tensor["granules_across"] + j) * pitch_bytes)


@inline
def _wait_for(chip: ChipState, fetch_number: int, rows: int, part: int, remote: bool, c: int, stage: int) -> None:
    """Enter a stage in a fetch's list of waiters."""
    shared = chip.shared[0]
    w = shared["free_waiter"]
    waiter = chip.waiters[w]
    shared["free_waiter"] = waiter["next"]
    waiter["context"] = c
    waiter["stage"] = stage
    waiter["rows"] = rows
    waiter["part"] = part
    waiter["remote"] = remote
    waiter["next"] = chip.fetches[fetch_number]["first_waiter"]
    chip.fetches[fetch_number]["first_waiter"] = w


@inline
def _deliver(chip: ChipState, granule: int, group: int, rows: int, part: int, remote: bool, c: int, now_ps: int) -> int:
    """Send rows through the group of slices, the link to a peer's reader, and the core's port; returns the arrival in L1."""
    machine = chip.machine
    size_bytes = part & 0xFFFF
    core = c % machine.cores
    if machine.l2_partitions > 1:
        use_rows(chip.granules, chip.groups, chip.users, granule, group, rows, _partition(chip, core))
    key = granule * machine.cores + core // machine.multicast_cores + 1
    response = chip.responses[hash_bucket(key, RESPONSES)]
    sent_ps = now_ps
    shared_response = response["key"] == key and response["rows"] == rows and response["part"] == part
    if not shared_response or response["until_ps"] < now_ps or remote:
        chip.events[_L2_READ_BYTES] += size_bytes
        sent_ps = max(now_ps, chip.groups[group]["free_ps"]) + duration_ps(size_bytes, machine.l2_group_byte)
        chip.groups[group]["free_ps"] = sent_ps
        response["key"] = key
        response["rows"] = rows
        response["part"] = part
        response["until_ps"] = sent_ps + machine.multicast_ps
    else:
        sent_ps = max(now_ps, response["until_ps"] - machine.multicast_ps)
    if remote:
        chip.events[_LINK_BYTES] += size_bytes
        shared = chip.shared[0]
        shared["link_free_ps"] = max(sent_ps, shared["link_free_ps"]) + duration_ps(size_bytes, machine.link_byte)
        sent_ps = shared["link_free_ps"] + machine.link_latency_ps
    chip.events[_NOC_BYTES] += size_bytes
    port = chip.cores[core]
    port_ps = duration_ps(size_bytes, machine.noc_read_byte)
    port["read_port_free_ps"] = max(now_ps, port["read_port_free_ps"]) + port_ps
    arrival_ps = int(max(port["read_port_free_ps"], sent_ps) + machine.l2_latency_ps)
    if part >> _CACHED_BIT:
        chip.events[_L1_BYTES] += size_bytes
        keep_in_l1(chip.l1_cache, core, granule, rows, arrival_ps, now_ps)
    return arrival_ps


@inline
def _partition(chip: ChipState, core: int) -> int:
    """Partition of L2 that serves a core: neighbouring cores share one."""
    return chip.machine.l2_partitions * core // chip.machine.cores


@inline
def _write(
    chip: ChipState, tensor: StructArray, i: int, j: int, rows: int, size_bytes: int, c: int, now_ps: int
) -> int:
    """Write rows of a granule into L2 without fetching the others; returns when the path is free again."""
    machine = chip.machine
    chip.events[_L2_WRITE_BYTES] += size_bytes
    chip.events[_NOC_BYTES] += size_bytes
    local = int(i * tensor["granules_across"] + j)
    granule = int(tensor["first_granule"] + local)
    group = l2_group(granule, machine.l2_groups)
    port, path, record = chip.cores[c % machine.cores], chip.groups[group], chip.granules[granule]
    port_ps = max(now_ps, port["write_port_free_ps"]) + duration_ps(size_bytes, machine.noc_write_byte)
    group_ps = max(now_ps, path["free_ps"]) + duration_ps(size_bytes, machine.l2_group_byte)
    port["write_port_free_ps"] = port_ps
    path["free_ps"] = group_ps
    if record["valid"] == 0 and record["first_fetch"] == NO_FETCH:
        _open_granule(chip, tensor, granule, local, j)
    add_rows(chip.granules, chip.groups, granule, group, rows)
    if machine.l2_partitions > 1:
        own_rows(chip.granules, chip.groups, chip.users, granule, group, rows, _partition(chip, c % machine.cores))
    record["dirty"] |= rows
    complete = machine.l2_eager == 1 and row_count(record["dirty"]) == 1 << tensor["row_shift"]
    taken_ps = _make_room(chip, group, granule if complete else NONE, now_ps)
    port["dram_write_ps"] = max(port["dram_write_ps"], taken_ps)
    return int(max(port_ps, group_ps, taken_ps))


@inline
def _make_room(chip: ChipState, group: int, complete: int, now_ps: int) -> int:
    """Evict from a group until it fits; dirty granules go to DRAM, ``complete`` (or NONE) too unless it has been evicted.

    Returns when DRAM's write buffers have taken them.
    """
    taken_ps = now_ps
    while True:
        victim = pop_victim(chip.granules, chip.groups, chip.users, group, chip.machine.l2_group_bytes)
        if victim == NONE:
            victim, complete = complete, NONE
        if victim == NONE:
            return taken_ps
        record = chip.granules[victim]
        if record["dirty"] != 0:
            size_bytes = row_count(record["dirty"]) * record["row_bytes"]
            record["dirty"] = 0
            done_ps = enqueue_write(chip.dram, chip.dram_timing, record["address"], size_bytes, now_ps, chip.events)
            taken_ps = max(taken_ps, done_ps)
