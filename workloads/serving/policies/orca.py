"""Orca: continuous batching of whole prompts beside decodes (Yu et al., OSDI 2022).

Every running request gets its token; waiting ones are admitted with their whole prompt while there are places and memory and
``max_batched_tokens`` holds them; a larger prompt is admitted as the only one of its step.
"""

from __future__ import annotations

from uarch.jit import sub_kernel
from workloads.serving.loop.records import State
from workloads.serving.policies.common import admit_first, first_uncached_tokens, may_admit, schedule_decodes


@sub_kernel
def schedule(state: State, m: int) -> None:
    """Compose the next step of machine ``m``."""
    machine = state.machines[m]
    preempted, running = machine["preemptions"], machine["running"]
    schedule_decodes(state, m, running)
    budget, first = machine["max_batched_tokens"] - machine["running"], True
    while machine["preemptions"] == preempted and may_admit(state, m):
        new_tokens = first_uncached_tokens(state, m)
        if (new_tokens > budget and not first) or admit_first(state, m, new_tokens, True) == 0:
            break
        budget -= new_tokens
        first = False
