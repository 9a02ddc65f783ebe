"""KV caches on their way from the machine that prefilled a request to the one that decodes it.

The receiver keeps memory and a place for the request first; until it can, the cache stays where it is (first come, first
served). A private link has its bandwidth for each request alone; shared links belong to a machine, one for each direction, and
serve one cache after the other. Layer by layer, the cache flows while the prefill computes, and what remains at its end
is the last layer or what the link has not managed.
"""

from __future__ import annotations

from uarch.jit import merged, sub_kernel
from workloads.serving.loop.event_heap import set_event
from workloads.serving.loop.kv_blocks import blocks_for, covered_tokens, release, take_blocks
from workloads.serving.loop.queues import append_expected, mark_dirty, remove_expected
from workloads.serving.loop.records import HELD, MOVING, NOBODY, RUNNING, State
from workloads.serving.loop.steps import cut_run, fit_run_to_memory, promised_blocks, settle_evictions


@merged
def hold(state: State, r: int) -> None:
    """Keep a prefilled request where it is and let the machine that decodes it know."""
    sequence = state.sequences[r]
    sequence["state"] = HELD
    state.machines[sequence["machine"]]["held"] += 1
    append_expected(state, sequence["decode_machine"], r)


@sub_kernel
def receive_expected(state: State, m: int) -> None:
    """Start the transfers to machine ``m`` for which it has memory and a place."""
    while state.machines[m]["expected_first"] != NOBODY:
        r = state.machines[m]["expected_first"]
        if not _keep_memory(state, m, r):
            break
        remove_expected(state, m, NOBODY, r)
        _start(state, m, r)


@merged
def _keep_memory(state: State, m: int, r: int) -> bool:
    """Keep blocks and a place for a request at machine ``m``; False if there are none or preempted requests go first."""
    machine, sequence = state.machines[m], state.sequences[r]
    if machine["preempted"] > 0 or machine["running"] + machine["inbound"] >= machine["max_sequences"]:
        return False
    count = blocks_for(state, m, covered_tokens(state, m, r, sequence["computed_tokens"] + 1))
    if count > machine["free_blocks"] - promised_blocks(state, m):
        return False
    take_blocks(state, m, count)
    settle_evictions(state, m)
    sequence["arriving_blocks"] = count
    machine["inbound"] += 1
    fit_run_to_memory(state, m)
    return True


@merged
def _start(state: State, m: int, r: int) -> None:
    """Start the transfer of a request's KV cache to machine ``m``."""
    cluster, sequence = state.cluster[0], state.sequences[r]
    source, target = state.machines[sequence["machine"]], state.machines[m]
    now = cluster["now_seconds"]
    bandwidth = min(source["link_bytes_per_second"], target["link_bytes_per_second"])
    total_bytes = sequence["computed_tokens"] * source["kv_bytes_per_token"]
    left_bytes = total_bytes
    if cluster["layerwise_transfer"] == 1:
        layers = source["layers"]
        computing = (sequence["first_token_seconds"] - sequence["admitted_seconds"]) * (layers - 1) / layers
        left_bytes = max(total_bytes / layers, total_bytes - bandwidth * computing)
    begin = now
    if cluster["shared_links"] == 1:
        begin = max(now, max(source["send_free_seconds"], target["receive_free_seconds"]))
    end = begin + cluster["transfer_latency_seconds"] + left_bytes / bandwidth
    source["send_free_seconds"] = end
    target["receive_free_seconds"] = end
    target["received_bytes"] += total_bytes
    sequence["state"] = MOVING
    set_event(state.heap, len(state.machines) + r, end)


@sub_kernel
def end_transfer(state: State, r: int) -> None:
    """Let a request join the running ones of the machine that decodes it, and free its memory where it was prefilled."""
    sequence = state.sequences[r]
    source, target = sequence["machine"], sequence["decode_machine"]
    settle_evictions(state, source)
    release(state, source, r)
    state.machines[source]["held"] -= 1
    state.machines[source]["assigned"] -= 1
    state.machines[source]["assigned_kv_tokens"] -= sequence["input_tokens"]
    machine = state.machines[target]
    sequence["blocks"] = sequence["arriving_blocks"]
    sequence["arriving_blocks"] = 0
    sequence["machine"] = target
    sequence["state"] = RUNNING
    sequence["scheduled_tokens"] = 0
    sequence["transfer_seconds"] = state.cluster[0]["now_seconds"] - sequence["first_token_seconds"]
    state.running[target, machine["running"]] = r
    machine["running"] += 1
    machine["inbound"] -= 1
    cut_run(state, target)
    mark_dirty(state, target)
    receive_expected(state, source)
    cut_run(state, source)
    mark_dirty(state, source)


@sub_kernel
def decode_where_held(state: State, m: int) -> bool:
    """Let an idle machine decode the first request that it holds for another one; False if it holds none that waits."""
    if state.machines[m]["held"] == 0:
        return False
    for other in range(len(state.machines)):
        before, r = NOBODY, state.machines[other]["expected_first"]
        while r != NOBODY:
            if state.sequences[r]["machine"] == m:
                remove_expected(state, other, before, r)
                _decode_here(state, m, other, r)
                return True
            before, r = r, state.sequences[r]["next"]
    return False


@merged
def _decode_here(state: State, m: int, other: int, r: int) -> None:
    """Move what machine ``other`` was to do for a request to machine ``m``, which holds it."""
    sequence, here, there = state.sequences[r], state.machines[m], state.machines[other]
    left = sequence["output_tokens"] - sequence["generated_tokens"]
    reserved = sequence["input_tokens"] + sequence["output_tokens"]
    there["assigned"] -= 1
    there["assigned_kv_tokens"] -= sequence["input_tokens"] + sequence["generated_tokens"]
    there["pending_output_tokens"] -= left
    there["reserved_tokens"] -= reserved
    here["assigned_kv_tokens"] += sequence["generated_tokens"]
    here["pending_output_tokens"] += left
    here["reserved_tokens"] += reserved
    here["held"] -= 1
    sequence["decode_machine"] = m
    sequence["state"] = RUNNING
    sequence["scheduled_tokens"] = 0
    state.running[m, here["running"]] = r
    here["running"] += 1
