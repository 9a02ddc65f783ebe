"""KV memory of a machine: blocks that requests take and give back, and the units that they share through the prefix cache."""

from __future__ import annotations

from uarch.jit import inline, merged, sub_kernel
from workloads.serving.loop.prefix_cache import (
    evict_oldest,
    find_unit,
    hashed_units,
    insert_unit,
    make_idle,
    make_used,
    unit_key,
)
from workloads.serving.loop.progress import pending_tokens
from workloads.serving.loop.queues import prepend_waiting
from workloads.serving.loop.records import NOBODY, State


@inline
def blocks_for(state: State, m: int, tokens: int) -> int:
    """Blocks that hold so many tokens."""
    size = state.machines[m]["block_tokens"]
    return (tokens + size - 1) // size


@inline
def unit_blocks(state: State, m: int) -> int:
    """Blocks of a unit of the prefix cache."""
    return state.machines[m]["unit_tokens"] // state.machines[m]["block_tokens"]


@sub_kernel
def take_blocks(state: State, m: int, count: int) -> None:
    """Take free blocks, which must be there; idle units give way."""
    machine = state.machines[m]
    machine["free_blocks"] -= count
    while machine["idle_units"] * unit_blocks(state, m) > machine["free_blocks"]:
        evict_oldest(state, m)
    used = machine["kv_blocks"] - machine["free_blocks"]
    machine["peak_blocks"] = max(machine["peak_blocks"], used)


@inline
def covered_tokens(state: State, m: int, r: int, tokens: int) -> int:
    """Tokens for which request ``r`` needs memory in a step that computes up to ``tokens`` of it."""
    if state.machines[m]["full_reservation"] == 0:
        return tokens
    sequence = state.sequences[r]
    if sequence["decode_machine"] == m:
        return sequence["input_tokens"] + sequence["output_tokens"]
    return max(sequence["input_tokens"], tokens)


@inline
def missing_blocks(state: State, m: int, r: int, tokens: int) -> int:
    """Blocks beyond those that request ``r`` has, to hold ``tokens`` of it; at least 0."""
    sequence = state.sequences[r]
    shared = sequence["shared_units"] * state.machines[m]["unit_tokens"]
    covered = covered_tokens(state, m, r, tokens)
    return max(0, blocks_for(state, m, covered - shared) - sequence["blocks"])


@inline
def grow(state: State, m: int, r: int, new_tokens: int) -> bool:
    """Give a running request memory for ``new_tokens`` more; False, and nothing is changed, if there is too little."""
    count = missing_blocks(state, m, r, state.sequences[r]["computed_tokens"] + new_tokens)
    if count > state.machines[m]["free_blocks"]:
        return False
    if count > 0:
        take_blocks(state, m, count)
        state.sequences[r]["blocks"] += count
    return True


@sub_kernel
def cached_units(state: State, m: int, r: int) -> int:
    """Units at the start of a waiting request that the prefix cache has; its last token is always computed."""
    if state.machines[m]["prefix_cache"] == 0:
        return 0
    sequence = state.sequences[r]
    total = sequence["input_tokens"] + sequence["generated_tokens"]
    most = (total - 1) // state.machines[m]["unit_tokens"]
    if sequence["preemptions"] == 0:
        most = min(most, hashed_units(state, m, r))
    units = 0
    while units < most and find_unit(state, m, unit_key(state, m, r, units)) != NOBODY:
        units += 1
    return units


@sub_kernel
def take_memory(state: State, m: int, r: int, units: int, tokens: int) -> bool:
    """Give a waiting request the first ``units`` units from the prefix cache and blocks up to ``tokens`` tokens.

    False, and nothing is changed, if there is too little memory.
    """
    machine, sequence = state.machines[m], state.sequences[r]
    own = blocks_for(state, m, covered_tokens(state, m, r, tokens) - units * machine["unit_tokens"])
    idle = 0
    for unit in range(units):
        slot = find_unit(state, m, unit_key(state, m, r, unit))
        idle += state.slots[slot]["references"] == 0
    if own + idle * unit_blocks(state, m) > machine["free_blocks"]:
        return False
    for unit in range(units):
        slot = find_unit(state, m, unit_key(state, m, r, unit))
        if state.slots[slot]["references"] == 0:
            make_used(state, m, slot)
            machine["free_blocks"] -= unit_blocks(state, m)
        state.slots[slot]["references"] += 1
    take_blocks(state, m, own)
    sequence["blocks"] = own
    sequence["shared_units"] = units
    sequence["computed_tokens"] = units * machine["unit_tokens"]
    return True


@sub_kernel
def share_units(state: State, m: int, r: int) -> None:
    """Put the whole units of a prompt that have been computed into the prefix cache, or refer to those that are there."""
    machine, sequence = state.machines[m], state.sequences[r]
    if machine["prefix_cache"] == 0:
        return
    ready = min(hashed_units(state, m, r), sequence["computed_tokens"] // machine["unit_tokens"])
    while sequence["shared_units"] < ready:
        key = unit_key(state, m, r, sequence["shared_units"])
        slot = find_unit(state, m, key)
        sequence["blocks"] -= unit_blocks(state, m)
        sequence["shared_units"] += 1
        if slot == NOBODY:
            insert_unit(state, m, key, 1)
        elif state.slots[slot]["references"] > 0:
            state.slots[slot]["references"] += 1
            machine["free_blocks"] += unit_blocks(state, m)
        else:  # its blocks are not free any more, those of the copy are
            make_used(state, m, slot)
            state.slots[slot]["references"] = 1


@sub_kernel
def release(state: State, m: int, r: int) -> None:
    """Give back all memory of a request; its shared units stay in the prefix cache, the last one the first to go."""
    machine, sequence = state.machines[m], state.sequences[r]
    machine["free_blocks"] += sequence["blocks"]
    sequence["blocks"] = 0
    for back in range(sequence["shared_units"]):
        unit = sequence["shared_units"] - 1 - back
        slot = find_unit(state, m, unit_key(state, m, r, unit))
        state.slots[slot]["references"] -= 1
        if state.slots[slot]["references"] == 0:
            machine["free_blocks"] += unit_blocks(state, m)
            make_idle(state, m, slot)
    sequence["shared_units"] = 0


@sub_kernel
def preempt_last(state: State, m: int) -> int:
    """Take all memory from the request that was admitted last, put it at the head of the queue and return it.

    With a prefix cache the units that it had computed stay there until others need the blocks.
    """
    machine = state.machines[m]
    machine["running"] -= 1
    r = state.running[m, machine["running"]]
    sequence = state.sequences[r]
    total = sequence["input_tokens"] + sequence["generated_tokens"]
    machine["pending_prompt_tokens"] += total - pending_tokens(state, r)
    sequence["preemptions"] += 1
    machine["preemptions"] += 1
    if machine["prefix_cache"] == 1:
        _keep_units(state, m, r)
    release(state, m, r)
    sequence["computed_tokens"] = 0
    sequence["scheduled_tokens"] = 0
    sequence["skips"] = 0
    prepend_waiting(state, m, r)
    return r


@merged
def _keep_units(state: State, m: int, r: int) -> None:
    """Make idle units of what a request has computed beyond its shared units."""
    machine, sequence = state.machines[m], state.sequences[r]
    size = unit_blocks(state, m)
    units = sequence["computed_tokens"] // machine["unit_tokens"]
    for back in range(units - sequence["shared_units"]):
        key = unit_key(state, m, r, units - 1 - back)
        sequence["blocks"] -= size
        machine["free_blocks"] += size
        if find_unit(state, m, key) == NOBODY:
            insert_unit(state, m, key, 0)
