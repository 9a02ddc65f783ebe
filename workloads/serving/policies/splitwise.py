"""Splitwise's machines: prompts first and whole, decodes in what the token limit leaves (Patel et al., ISCA 2024).

As in SplitwiseSim (Mutinifni/splitwise-sim 8f99e7d, MIT): decodes that were left out four times in a row; waiting prompts,
first come first served, up to ``max_batched_tokens``, a larger one alone; decodes that the last step left out; other
decodes. What is left out keeps its memory.
"""

from __future__ import annotations

from uarch.jit import constant, merged, sub_kernel
from workloads.serving.loop.progress import is_decode
from workloads.serving.loop.records import State
from workloads.serving.policies.common import (
    admit_first,
    first_uncached_tokens,
    may_admit,
    schedule_with_preemption,
)

_NONE, _ONCE, _MOST_SKIPS = constant(0), constant(1), constant(4)


@sub_kernel
def schedule(state: State, m: int) -> None:
    """Compose the next step of machine ``m``."""
    machine = state.machines[m]
    decodes, preempted = machine["running"], machine["preemptions"]
    for place in range(decodes):
        state.sequences[state.running[m, place]]["scheduled_tokens"] = 0
    rows = _schedule_skipped(state, m, decodes, _MOST_SKIPS, _NONE)
    rows += _admit_prompts(state, m, rows)
    decodes = min(decodes, machine["running"])
    rows += _schedule_skipped(state, m, decodes, _ONCE, rows)
    rows += _schedule_skipped(state, m, decodes, _NONE, rows)
    for place in range(min(decodes, machine["running"])):
        sequence = state.sequences[state.running[m, place]]
        if sequence["scheduled_tokens"] == 0:
            sequence["skips"] += 1
            machine["single_step"] = 1
        else:
            sequence["skips"] = 0
    if machine["preemptions"] > preempted:
        machine["single_step"] = 1


@sub_kernel
def _schedule_skipped(state: State, m: int, decodes: int, skips: int, taken: int) -> int:
    """Schedule decodes that were left out at least ``skips`` times while tokens are left; return how many."""
    machine = state.machines[m]
    place, added = 0, 0
    while place < min(decodes, machine["running"]) and taken + added < machine["max_batched_tokens"]:
        r = state.running[m, place]
        sequence = state.sequences[r]
        if sequence["scheduled_tokens"] == 0 and sequence["skips"] >= skips and is_decode(state, r):
            if not schedule_with_preemption(state, m, place, _ONCE):
                break
            added += 1
        place += 1
    return added


@merged
def _admit_prompts(state: State, m: int, taken: int) -> int:
    """Admit whole prompts into what ``taken`` tokens leave; return their tokens."""
    tokens = 0
    while may_admit(state, m):
        new_tokens = first_uncached_tokens(state, m)
        fits = taken + tokens + new_tokens <= state.machines[m]["max_batched_tokens"]
        if not (fits or taken + tokens == 0) or admit_first(state, m, new_tokens, True) == 0:
            break
        tokens += new_tokens
    return tokens
