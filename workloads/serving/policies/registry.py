"""All policies by name. To add one: a module beside this one with a ``schedule``, and a line in each of the two places here."""

from __future__ import annotations

from uarch.jit import constant, merged
from workloads.serving.loop.records import State
from workloads.serving.policies import orca, sarathi, splitwise, vllm_v1

POLICIES = ("vllm-v1", "sarathi", "orca", "splitwise")
_VLLM_V1, _SARATHI, _ORCA, _SPLITWISE = map(constant, range(len(POLICIES)))

RESERVES_OUTPUT = {"vllm-v1": False, "sarathi": False, "orca": True, "splitwise": True}
"""Whether a policy, unless told otherwise, keeps memory for a request's whole output from the start."""

TAKES_WHOLE_PROMPTS = {"vllm-v1": False, "sarathi": False, "orca": True, "splitwise": True}
"""Whether a step may have more new tokens than ``max_batched_tokens`` because prompts are not divided."""


@merged
def schedule(state: State, m: int) -> None:
    """Compose the next step of machine ``m`` by its policy: set ``scheduled_tokens`` of all its running requests."""
    policy = state.machines[m]["policy"]
    if policy == _VLLM_V1:
        vllm_v1.schedule(state, m)
    elif policy == _SARATHI:
        sarathi.schedule(state, m)
    elif policy == _ORCA:
        orca.schedule(state, m)
    elif policy == _SPLITWISE:
        splitwise.schedule(state, m)
