"""The event loop: arrivals, ends of steps and transfers in order of time.

At one instant steps end first (in order of machines), then transfers (in order of requests), then requests arrive; then the
machines that anything happened to begin their next steps, in order.
"""

from __future__ import annotations

from uarch.jit import loop_kernel, merged
from workloads.serving.loop.completion import end_steps
from workloads.serving.loop.dispatch import arrive
from workloads.serving.loop.event_heap import NEVER, earliest_seconds, pop_event, set_event
from workloads.serving.loop.reallocation import (
    HYSTERESIS,
    MIXED_POOL,
    NO_REALLOCATION,
    reallocate,
    return_home,
)
from workloads.serving.loop.records import COMPLETE, GAVE_UP, OUT_OF_TIME, STUCK, State
from workloads.serving.loop.samples import take_sample
from workloads.serving.loop.steps import begin_steps
from workloads.serving.loop.transfers import decode_where_held, end_transfer, receive_expected
from workloads.serving.policies.registry import schedule


@loop_kernel
def run_events(state: State) -> None:
    """Serve all requests; ``state`` is changed in place, its cluster's ``outcome`` says how that ended.

    The run ends before its requests are served if ``end_seconds`` is reached, if more requests are late than allowed, or if no
    machine can go on, which is a defect of a policy.
    """
    cluster, total, machines = state.cluster[0], len(state.sequences), len(state.machines)
    if cluster["sample_seconds"] > 0:
        set_event(state.heap, machines + total, 0.0)
    if cluster["reallocation"] == HYSTERESIS:
        set_event(state.heap, machines + total + 1, cluster["interval_seconds"])
    cluster["outcome"] = COMPLETE
    while cluster["finished"] < total:
        now = earliest_seconds(state.heap)
        if cluster["arrived"] < total:
            now = min(now, state.sequences[cluster["arrived"]]["arrival_seconds"])
        if now > cluster["end_seconds"] or now == NEVER:
            cluster["outcome"] = STUCK if now == NEVER else OUT_OF_TIME
            return
        if cluster["allowed_late"] >= 0 and cluster["late"] > cluster["allowed_late"]:
            cluster["outcome"] = GAVE_UP
            return
        cluster["now_seconds"] = now
        _happen(state, now)
        _begin_steps_of_dirty(state)
        if _only_clocks_tick(state):
            cluster["outcome"] = STUCK
            return


@merged
def _happen(state: State, now: float) -> None:
    """Let everything happen that is due now."""
    cluster, total, machines = state.cluster[0], len(state.sequences), len(state.machines)
    while earliest_seconds(state.heap) == now:
        item = pop_event(state.heap)
        cluster["events"] += 1
        if item < machines:
            end_steps(state, item)
        elif item < machines + total:
            end_transfer(state, item - machines)
        elif item == machines + total:
            take_sample(state)
        else:
            reallocate(state)
            set_event(state.heap, item, now + cluster["interval_seconds"])
    while cluster["arrived"] < total and state.sequences[cluster["arrived"]]["arrival_seconds"] == now:
        arrive(state, cluster["arrived"])
        cluster["arrived"] += 1


@merged
def _only_clocks_tick(state: State) -> bool:
    """Whether requests are left, all have arrived and nothing is pending but the sampler and the reallocation."""
    cluster = state.cluster[0]
    if cluster["arrived"] < len(state.sequences) or cluster["finished"] == len(state.sequences):
        return False
    clocks = (cluster["sample_seconds"] > 0) + (cluster["reallocation"] == HYSTERESIS)
    return state.heap.size[0] <= clocks


@merged
def _begin_steps_of_dirty(state: State) -> None:
    """Let the machines that anything happened to go on, in order."""
    count = state.cluster[0]["dirty"]
    state.cluster[0]["dirty"] = 0
    for i in range(1, count):  # few: sorted by insertion
        m, at = state.dirty[i], i
        while at > 0 and state.dirty[at - 1] > m:
            state.dirty[at] = state.dirty[at - 1]
            at -= 1
        state.dirty[at] = m
    for i in range(count):
        m = state.dirty[i]
        state.machines[m]["dirty"] = 0
        if state.machines[m]["in_step"] == 0:
            _go_on(state, m)


@merged
def _go_on(state: State, m: int) -> None:
    """Compose and begin the next step of a machine between two steps."""
    receive_expected(state, m)
    while True:
        if _compose(state, m):
            return
        if state.cluster[0]["reallocation"] == NO_REALLOCATION or not decode_where_held(state, m):
            break
    if state.cluster[0]["reallocation"] == MIXED_POOL:
        return_home(state, m)


@merged
def _compose(state: State, m: int) -> bool:
    """Schedule and begin a step; once more if all that was running has been preempted."""
    machine = state.machines[m]
    while True:
        machine["single_step"] = 0
        preempted = machine["preemptions"]
        schedule(state, m)
        if begin_steps(state, m):
            return True
        if machine["preemptions"] == preempted:
            return False
