"""Time series of the machines: regular samples, twice as far apart whenever the table is full."""

from __future__ import annotations

from uarch.jit import merged, sub_kernel
from workloads.serving.loop.event_heap import set_event
from workloads.serving.loop.records import State
from workloads.serving.loop.steps import promised_blocks


@sub_kernel
def take_sample(state: State) -> None:
    """Write the state of all machines into the next row, and plan the next sample."""
    cluster = state.cluster[0]
    if cluster["samples"] == len(state.sample_times):
        _drop_every_other(state)
    row = cluster["samples"]
    cluster["samples"] += 1
    state.sample_times[row] = cluster["now_seconds"]
    for m in range(len(state.machines)):
        machine, sample = state.machines[m], state.samples[row, m]
        sample["running"] = machine["running"]
        sample["waiting"] = machine["waiting"]
        sample["used_blocks"] = machine["kv_blocks"] - machine["free_blocks"] + promised_blocks(state, m)
        sample["role"] = machine["role"]
    sampler = len(state.machines) + len(state.sequences)
    set_event(state.heap, sampler, cluster["now_seconds"] + cluster["sample_seconds"])


@merged
def _drop_every_other(state: State) -> None:
    """Halve the number of samples and double the time between them."""
    cluster = state.cluster[0]
    kept = (cluster["samples"] + 1) // 2
    for row in range(kept):
        state.sample_times[row] = state.sample_times[2 * row]
        for m in range(len(state.machines)):
            state.samples[row, m] = state.samples[2 * row, m]
    cluster["samples"] = kept
    cluster["sample_seconds"] *= 2
