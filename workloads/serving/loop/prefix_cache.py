"""Prefix cache of a machine: units of prompts by their hash, the least recently used one evicted first.

Units to which running requests refer stay; others are idle, and their blocks count as free. Each cache has slots, a hash table
(linear probing, backward-shift deletion) and a doubly linked list of idle slots, all in parts of common arrays.
"""

from __future__ import annotations

from uarch.jit import constant, inline, merged, sub_kernel
from workloads.serving.loop.records import NOBODY, State

_PRIVATE = constant(-1)
"""Keys below: units of one request alone, kept after it was preempted."""
_UNITS_BITS = constant(24)
_LOW_BITS = constant(0x7FFFFFFF)
_MULTIPLIER = constant(2654435769)  # 2**32 over the golden ratio


@inline
def hashed_units(state: State, m: int, r: int) -> int:
    """Whole units of the prompt of request ``r`` whose hashes are known."""
    if len(state.prefix_starts) == 0:
        return 0
    known = state.prefix_starts[r + 1] - state.prefix_starts[r]
    return min(known, state.sequences[r]["input_tokens"] // state.machines[m]["unit_tokens"])


@inline
def unit_key(state: State, m: int, r: int, unit: int) -> int:
    """Key of a unit of request ``r``: its hash, or one that no other request has."""
    if unit < hashed_units(state, m, r):
        return state.prefix_blocks[state.prefix_starts[r] + unit]
    return _PRIVATE - ((r << _UNITS_BITS) + unit)


@inline
def _bucket_of(state: State, m: int, key: int) -> int:
    """Where the search for a key starts, counted from the cache's first bucket."""
    mixed = ((key ^ (key >> 31)) & _LOW_BITS) * _MULTIPLIER
    return (mixed >> 12) & (state.machines[m]["buckets"] - 1)


@sub_kernel
def find_unit(state: State, m: int, key: int) -> int:
    """Slot of a key in the cache of machine ``m``; -1 if it is not there."""
    machine = state.machines[m]
    first, mask = machine["first_bucket"], machine["buckets"] - 1
    at = _bucket_of(state, m, key)
    while state.buckets[first + at] != 0:
        slot = state.buckets[first + at] - 1
        if state.slots[slot]["key"] == key:
            return slot
        at = (at + 1) & mask
    return NOBODY


@sub_kernel
def insert_unit(state: State, m: int, key: int, references: int) -> int:
    """Put a key that is not there into the cache and return its slot; without references it becomes the newest idle unit."""
    machine = state.machines[m]
    first, mask = machine["first_bucket"], machine["buckets"] - 1
    slot = machine["free_slot"]
    machine["free_slot"] = state.slots[slot]["newer"]
    state.slots[slot]["key"] = key
    state.slots[slot]["references"] = references
    at = _bucket_of(state, m, key)
    while state.buckets[first + at] != 0:
        at = (at + 1) & mask
    state.buckets[first + at] = slot + 1
    if references == 0:
        make_idle(state, m, slot)
    return slot


@inline
def make_idle(state: State, m: int, slot: int) -> None:
    """Nobody refers to a slot any more: it becomes the newest idle one."""
    machine = state.machines[m]
    newest = machine["newest_idle"]
    state.slots[slot]["older"] = newest
    state.slots[slot]["newer"] = NOBODY
    if newest == NOBODY:
        machine["oldest_idle"] = slot
    else:
        state.slots[newest]["newer"] = slot
    machine["newest_idle"] = slot
    machine["idle_units"] += 1


@inline
def make_used(state: State, m: int, slot: int) -> None:
    """Take a slot out of the list of idle ones."""
    machine = state.machines[m]
    older, newer = state.slots[slot]["older"], state.slots[slot]["newer"]
    if older == NOBODY:
        machine["oldest_idle"] = newer
    else:
        state.slots[older]["newer"] = newer
    if newer == NOBODY:
        machine["newest_idle"] = older
    else:
        state.slots[newer]["older"] = older
    machine["idle_units"] -= 1


@sub_kernel
def evict_oldest(state: State, m: int) -> None:
    """Forget the idle unit that was used least recently."""
    machine = state.machines[m]
    slot = machine["oldest_idle"]
    make_used(state, m, slot)
    _remove_bucket(state, m, slot)
    state.slots[slot]["newer"] = machine["free_slot"]
    machine["free_slot"] = slot


@merged
def _remove_bucket(state: State, m: int, slot: int) -> None:
    """Take a slot out of the hash table; keys behind it move up if their search would miss them."""
    machine = state.machines[m]
    first, mask = machine["first_bucket"], machine["buckets"] - 1
    hole = _bucket_of(state, m, state.slots[slot]["key"])
    while state.buckets[first + hole] != slot + 1:
        hole = (hole + 1) & mask
    at = (hole + 1) & mask
    while state.buckets[first + at] != 0:
        home = _bucket_of(state, m, state.slots[state.buckets[first + at] - 1]["key"])
        if ((at - home) & mask) >= ((at - hole) & mask):
            state.buckets[first + hole] = state.buckets[first + at]
            hole = at
        at = (at + 1) & mask
    state.buckets[first + hole] = 0
