"""Dispatch of a request to machines when it arrives: the one that prefills it and the one that decodes it.

Rules take the machine with the least of something, the first among equals. To add one: a name in ``DISPATCHES`` and a line in
``load_of``.
"""

from __future__ import annotations

from uarch.jit import constant, inline, merged, sub_kernel
from workloads.serving.loop.kv_blocks import cached_units
from workloads.serving.loop.queues import append_waiting, mark_dirty
from workloads.serving.loop.reallocation import MIXED_POOL, choose_in_mixed_pool
from workloads.serving.loop.records import BOTH, DECODE, MIXED, NOBODY, PREFILL, State
from workloads.serving.loop.steps import cut_run, kv_tokens, settle_evictions, steps_done

DISPATCHES = ("round-robin", "least-requests", "least-tokens", "least-kv", "least-time", "prefix")
_ROUND_ROBIN, _REQUESTS, _TOKENS, _KV, _TIME, _PREFIX = map(constant, range(len(DISPATCHES)))


@merged
def load_of(state: State, m: int, rule: int, r: int) -> float:
    """What the rule minimises, of machine ``m`` for request ``r``.

    ``least-requests``: unfinished requests; ``least-tokens``: prompt tokens to be prefilled and tokens to be generated;
    ``least-kv``: tokens of KV cache here and on their way; ``least-time``: seconds for the tokens of ``least-tokens`` at the
    machine's own speed; ``prefix``: prompt tokens to be prefilled, this request's included but for what the cache has.
    """
    machine = state.machines[m]
    if rule == _REQUESTS:
        return machine["assigned"]
    if rule == _PREFIX:
        settle_evictions(state, m)
        cached = cached_units(state, m, r) * machine["unit_tokens"]
        return machine["pending_prompt_tokens"] + state.sequences[r]["input_tokens"] - cached
    if rule == _KV:
        return kv_tokens(state, m)
    outputs = machine["pending_output_tokens"] - machine["run_decodes"] * steps_done(state, m)
    if rule == _TOKENS:
        return machine["pending_prompt_tokens"] + outputs
    prompts = machine["pending_prompt_tokens"] * machine["prefill_seconds_per_token"]
    return prompts + outputs * machine["decode_seconds_per_token"]


@inline
def takes(role: int, wanted: int) -> bool:
    """Whether a machine in this role takes work of the phase ``wanted``, ``PREFILL`` or ``DECODE``."""
    return role in (wanted, MIXED) or (role == BOTH and wanted == PREFILL)


@sub_kernel
def choose(state: State, rule: int, wanted: int, turn: int, r: int) -> int:
    """Machine for one phase of request ``r``; ``turn``: where round robin goes on."""
    count = len(state.machines)
    best, least = NOBODY, 0.0
    for offset in range(count):
        m = (turn + offset) % count if rule == _ROUND_ROBIN else offset
        if takes(state.machines[m]["role"], wanted):
            if rule == _ROUND_ROBIN:
                return m
            load = float(load_of(state, m, rule, r))
            if best == NOBODY or load < least:
                best, least = m, load
    return best


@sub_kernel
def arrive(state: State, r: int) -> None:
    """Send an arriving request to its machines."""
    cluster, sequence = state.cluster[0], state.sequences[r]
    if cluster["reallocation"] == MIXED_POOL:
        prefill, decode = choose_in_mixed_pool(state, r)
    else:
        prefill = choose(state, cluster["prefill_dispatch"], PREFILL, cluster["prefill_turn"], r)
        cluster["prefill_turn"] = prefill + 1
        decode = prefill
        if state.machines[prefill]["role"] != BOTH:
            decode = choose(state, cluster["decode_dispatch"], DECODE, cluster["decode_turn"], r)
            cluster["decode_turn"] = decode + 1
    sequence["machine"] = prefill
    sequence["prefill_machine"] = prefill
    sequence["decode_machine"] = decode
    _assign(state, prefill, decode, r)
    if state.machines[prefill]["waiting"] == 0:  # else the head of the queue waits for what no arrival brings
        cut_run(state, prefill)
    append_waiting(state, prefill, r)
    mark_dirty(state, prefill)


@merged
def _assign(state: State, prefill: int, decode: int, r: int) -> None:
    """Add a request to the load of its machines."""
    sequence, first, second = state.sequences[r], state.machines[prefill], state.machines[decode]
    first["assigned"] += 1
    first["pending_prompt_tokens"] += sequence["input_tokens"]
    first["assigned_kv_tokens"] += sequence["input_tokens"]
    if decode != prefill:
        second["assigned"] += 1
        second["assigned_kv_tokens"] += sequence["input_tokens"]
    second["pending_output_tokens"] += sequence["output_tokens"]
    second["reserved_tokens"] += sequence["input_tokens"] + sequence["output_tokens"]
