"""vLLM V1's scheduler: one token budget for everything, running requests first, preemption by recomputation.

Source: ``Scheduler.schedule`` of vLLM 0.9 and later (vllm/v1/core/sched/scheduler.py, Apache-2.0), first come first served:
every running request in order of admission gets what it still has to compute, up to the budget; if memory is short the request
admitted last goes back to the head of the queue. Waiting requests follow, unless somebody was preempted in this step.
"""

from __future__ import annotations

from uarch.jit import sub_kernel
from workloads.serving.loop.progress import uncomputed_tokens
from workloads.serving.loop.records import State
from workloads.serving.policies.common import admit_first, may_admit, schedule_with_preemption


@sub_kernel
def schedule(state: State, m: int) -> None:
    """Compose the next step of machine ``m``."""
    machine = state.machines[m]
    budget, place, preempted = machine["max_batched_tokens"], 0, machine["preemptions"]
    while place < machine["running"]:
        r = state.running[m, place]
        new_tokens = min(uncomputed_tokens(state, r), budget)
        if new_tokens > 0:
            if not schedule_with_preemption(state, m, place, new_tokens):
                break
        else:
            state.sequences[r]["scheduled_tokens"] = 0
        budget -= new_tokens
        place += 1
    if machine["preemptions"] > preempted:
        return
    while budget > 0 and may_admit(state, m):
        admitted = admit_first(state, m, budget, False)
        if admitted == 0:
            break
        budget -= admitted
