"""Machines that change their role while they serve: Splitwise's mixed pool, and reallocation with hysteresis."""

from __future__ import annotations

from uarch.jit import constant, inline, sub_kernel
from workloads.serving.loop.records import DECODE, MIXED, NOBODY, PREFILL, State
from workloads.serving.loop.steps import kv_tokens

REALLOCATIONS = ("none", "mixed-pool", "hysteresis")
NO_REALLOCATION, MIXED_POOL, HYSTERESIS = map(constant, range(len(REALLOCATIONS)))


@sub_kernel
def _least(state: State, role: int, field_is_prompts: bool) -> int:
    """Machine of a role with the fewest prompt tokens pending, or tokens of KV cache reserved; -1 if there is none."""
    best, least = NOBODY, 0
    for m in range(len(state.machines)):
        machine = state.machines[m]
        if machine["role"] == role:
            load = machine["pending_prompt_tokens"] if field_is_prompts else machine["reserved_tokens"]
            if best == NOBODY or load < least:
                best, least = m, load
    return best


@inline
def _takes_prompt(state: State, m: int, r: int) -> bool:
    """Whether a machine's queue of prompts is short enough for one more."""
    if m == NOBODY:
        return False
    pending = state.machines[m]["pending_prompt_tokens"]
    return pending == 0 or pending + state.sequences[r]["input_tokens"] <= state.cluster[0]["threshold_tokens"]


@inline
def _takes_decode(state: State, m: int, r: int) -> bool:
    """Whether a machine has memory that no other request has reserved."""
    if m == NOBODY:
        return False
    machine, sequence = state.machines[m], state.sequences[r]
    reserved = machine["reserved_tokens"] + sequence["input_tokens"] + sequence["output_tokens"]
    return reserved <= machine["kv_blocks"] * machine["block_tokens"]


@inline
def _mix(state: State, m: int) -> None:
    """Let a machine take both phases until it is idle."""
    state.machines[m]["role"] = MIXED
    state.machines[m]["role_changes"] += 1


@sub_kernel
def choose_in_mixed_pool(state: State, r: int) -> tuple[int, int]:
    """Machines for both phases of a request, as SplitwiseSim's ``mixed_pool`` scheduler chooses them.

    The prefill machine with the fewest pending prompt tokens, else the mixed one; if their queues exceed the threshold, a
    decode machine becomes mixed. The decode machine with the least memory reserved, else the mixed one; if the request does not
    fit there, a prefill machine becomes mixed. If none is left for a phase, the other phase's machine takes it too.
    """
    prefill = _least(state, PREFILL, True)
    if not _takes_prompt(state, prefill, r):
        mixed = _least(state, MIXED, True)
        helper = _least(state, DECODE, True)
        if _takes_prompt(state, mixed, r):
            prefill = mixed
        elif helper != NOBODY:
            _mix(state, helper)
            prefill = helper
        elif prefill == NOBODY or (
            mixed != NOBODY
            and state.machines[mixed]["pending_prompt_tokens"] < state.machines[prefill]["pending_prompt_tokens"]
        ):
            prefill = mixed
    decode = _least(state, DECODE, False)
    if not _takes_decode(state, decode, r):
        mixed = _least(state, MIXED, False)
        helper = _least(state, PREFILL, False)
        if _takes_decode(state, mixed, r):
            decode = mixed
        elif helper != NOBODY and _takes_decode(state, helper, r):
            _mix(state, helper)
            decode = helper
        else:
            decode = prefill
    return prefill, decode


@inline
def return_home(state: State, m: int) -> None:
    """Give a machine of the mixed pool its own role back once nothing is assigned to it."""
    machine = state.machines[m]
    if machine["role"] == MIXED and machine["home_role"] != MIXED and machine["assigned"] == 0:
        machine["role"] = machine["home_role"]


@inline
def prefill_queue_seconds(state: State) -> float:
    """Mean time that the prefill machines need for the prompts that are pending there."""
    count, seconds = 0, 0.0
    for m in range(len(state.machines)):
        machine = state.machines[m]
        if machine["role"] == PREFILL:
            count += 1
            seconds += machine["pending_prompt_tokens"] * machine["prefill_seconds_per_token"]
    return seconds / count


@inline
def decode_occupancy(state: State) -> float:
    """Share of the decode machines' memory that the KV caches of their requests take or will take."""
    capacity, tokens = 0, 0
    for m in range(len(state.machines)):
        machine = state.machines[m]
        if machine["role"] == DECODE:
            capacity += machine["kv_blocks"] * machine["block_tokens"]
            tokens += kv_tokens(state, m)
    return tokens / capacity


@sub_kernel
def _flip(state: State, role: int, home: int, other: int) -> None:
    """Give one machine of ``role``, the least loaded of those at ``home``, the role ``other``; the last one keeps its role."""
    best, least, count = NOBODY, 0, 0
    for m in range(len(state.machines)):
        machine = state.machines[m]
        if machine["role"] == role:
            count += 1
            load = machine["pending_prompt_tokens"] if role == PREFILL else kv_tokens(state, m)
            if machine["home_role"] == home and (best == NOBODY or load < least):
                best, least = m, load
    if best != NOBODY and count > 1:
        state.machines[best]["role"] = other
        state.machines[best]["role_changes"] += 1


@sub_kernel
def reallocate(state: State) -> None:
    """Move at most one machine between the phases, by the load of both.

    A decode machine helps to prefill once the mean queue is longer than ``high_seconds`` while the decode machines' memory is
    less than ``low_occupancy`` full, and goes home below ``low_seconds``; a prefill machine helps to decode above
    ``high_occupancy`` while queues are shorter than ``low_seconds``, and goes home below ``low_occupancy``. What is under way
    on a machine that changes its role is brought to its end there.
    """
    cluster = state.cluster[0]
    queue, occupancy = prefill_queue_seconds(state), decode_occupancy(state)
    if queue > cluster["high_seconds"] and occupancy < cluster["low_occupancy"]:
        borrowed = _borrowed(state, DECODE, PREFILL)
        _flip(state, DECODE, PREFILL if borrowed else DECODE, PREFILL)
    elif occupancy > cluster["high_occupancy"] and queue < cluster["low_seconds"]:
        borrowed = _borrowed(state, PREFILL, DECODE)
        _flip(state, PREFILL, DECODE if borrowed else PREFILL, DECODE)
    elif queue < cluster["low_seconds"] and _borrowed(state, PREFILL, DECODE):
        _flip(state, PREFILL, DECODE, DECODE)
    elif occupancy < cluster["low_occupancy"] and _borrowed(state, DECODE, PREFILL):
        _flip(state, DECODE, PREFILL, PREFILL)


@inline
def _borrowed(state: State, role: int, home: int) -> bool:
    """Whether a machine at ``home`` in another role has the role ``role``."""
    found = 0
    for m in range(len(state.machines)):
        found += state.machines[m]["role"] == role and state.machines[m]["home_role"] == home
    return found > 0
