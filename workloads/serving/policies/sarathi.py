"""Sarathi-Serve: chunked prefill beside decodes that are never held up (Agrawal et al., OSDI 2024).

The token budget ``max_batched_tokens`` (the chunk size) goes to decodes first, then to prefills under way, then to new ones,
whose whole prompt must have memory.
"""

from __future__ import annotations

from uarch.jit import sub_kernel
from workloads.serving.loop.kv_blocks import grow
from workloads.serving.loop.progress import is_decode, uncomputed_tokens
from workloads.serving.loop.records import State
from workloads.serving.policies.common import (
    admit_first,
    may_admit,
    schedule_decodes,
)


@sub_kernel
def schedule(state: State, m: int) -> None:
    """Compose the next step of machine ``m``."""
    machine = state.machines[m]
    preempted = machine["preemptions"]
    budget = schedule_decodes(state, m, machine["max_batched_tokens"])
    for place in range(machine["running"]):
        r = state.running[m, place]
        new_tokens = min(uncomputed_tokens(state, r), budget)
        if new_tokens > 0 and not is_decode(state, r) and grow(state, m, r, new_tokens):
            state.sequences[r]["scheduled_tokens"] = new_tokens
            budget -= new_tokens
    while budget > 0 and machine["preemptions"] == preempted and may_admit(state, m):
        admitted = admit_first(state, m, budget, True)
        if admitted == 0:
            break
        budget -= admitted
