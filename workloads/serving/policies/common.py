"""What several policies do: let running requests grow, admit waiting ones."""

from __future__ import annotations

from uarch.jit import constant, inline, sub_kernel
from workloads.serving.loop.kv_blocks import cached_units, grow, preempt_last, take_memory
from workloads.serving.loop.progress import is_decode, pending_tokens, uncomputed_tokens
from workloads.serving.loop.queues import remove_first_waiting
from workloads.serving.loop.records import RUNNING, State

_ONE = constant(1)


@sub_kernel
def schedule_with_preemption(state: State, m: int, place: int, new_tokens: int) -> bool:
    """Schedule ``new_tokens`` of a running request; while memory is short the one that was admitted last is preempted.

    False if that was the request itself: then nobody behind it is left.
    """
    r = state.running[m, place]
    while not grow(state, m, r, new_tokens):
        state.machines[m]["single_step"] = 1
        if preempt_last(state, m) == r:
            return False
    state.sequences[r]["scheduled_tokens"] = new_tokens
    return True


@sub_kernel
def schedule_decodes(state: State, m: int, budget: int) -> int:
    """Schedule all decodes up to ``budget``, nothing of the others; return what is left of the budget."""
    place = 0
    while place < state.machines[m]["running"]:
        r = state.running[m, place]
        state.sequences[r]["scheduled_tokens"] = 0
        if is_decode(state, r) and budget > 0:
            if not schedule_with_preemption(state, m, place, _ONE):
                break
            budget -= 1
        place += 1
    return budget


@inline
def may_admit(state: State, m: int) -> bool:
    """Whether somebody waits and there is a free place among the running requests."""
    machine = state.machines[m]
    return machine["waiting"] > 0 and machine["running"] + machine["inbound"] < machine["max_sequences"]


@sub_kernel
def admit_first(state: State, m: int, most_tokens: int, whole: bool) -> int:
    """Admit the head of the queue and schedule at most ``most_tokens`` of it; return how many, 0 if memory is short.

    ``whole``: memory is taken for all of its tokens, not only for those that are scheduled.
    """
    machine = state.machines[m]
    r = machine["waiting_first"]
    sequence = state.sequences[r]
    units = cached_units(state, m, r)
    cached = units * machine["unit_tokens"]
    total = sequence["input_tokens"] + sequence["generated_tokens"]
    new_tokens = min(total - cached, most_tokens)
    if not take_memory(state, m, r, units, total if whole else cached + new_tokens):
        return 0
    remove_first_waiting(state, m)
    state.running[m, machine["running"]] = r
    machine["running"] += 1
    machine["pending_prompt_tokens"] += pending_tokens(state, r) - total
    sequence["state"] = RUNNING
    sequence["cached_tokens"] += cached
    sequence["scheduled_tokens"] = new_tokens
    if sequence["preemptions"] == 0:
        sequence["admitted_seconds"] = state.cluster[0]["now_seconds"]
    else:
        machine["single_step"] = 1  # with nobody preempted any more, a KV cache may be received
    return new_tokens


@sub_kernel
def first_uncached_tokens(state: State, m: int) -> int:
    """Tokens that the head of the queue would have to compute."""
    r = state.machines[m]["waiting_first"]
    return uncomputed_tokens(state, r) - cached_units(state, m, r) * state.machines[m]["unit_tokens"]
