"""The end of a step or run: tokens are there, requests finish or move on."""

from __future__ import annotations

from uarch.jit import merged, sub_kernel
from workloads.serving.loop.gaps import add_gaps, bin_of
from workloads.serving.loop.kv_blocks import missing_blocks, release, share_units, take_blocks
from workloads.serving.loop.progress import is_decode, pending_tokens, uncomputed_tokens
from workloads.serving.loop.queues import mark_dirty
from workloads.serving.loop.records import FINISHED, State
from workloads.serving.loop.steps import run_joules, run_seconds
from workloads.serving.loop.transfers import hold, receive_expected


@sub_kernel
def end_steps(state: State, m: int) -> None:
    """End the step or run of machine ``m``, whose time has come."""
    machine = state.machines[m]
    machine["in_step"] = 0
    machine["steps"] += machine["run_steps"]
    machine["busy_seconds"] += machine["run_end_seconds"] - machine["run_start_seconds"]
    machine["step_joules_total"] += run_joules(state, m)
    if machine["run_is_decode"] == 1:
        _end_run(state, m)
    else:
        _end_mixed_step(state, m)
    _move_on(state, m)
    mark_dirty(state, m)


@merged
def _end_run(state: State, m: int) -> None:
    """Give each request of a run of decodes its tokens and their memory."""
    machine = state.machines[m]
    steps, start, end = machine["run_steps"], machine["run_start_seconds"], machine["run_end_seconds"]
    first_end = start + run_seconds(state, m, 1) if steps > 1 else end
    last = end - start - run_seconds(state, m, steps - 1) if steps > 1 else 0.0
    in_time = 0
    for place in range(machine["running"]):
        r = state.running[m, place]
        sequence = state.sequences[r]
        if sequence["scheduled_tokens"] == 0:
            continue
        missing = missing_blocks(state, m, r, sequence["computed_tokens"] + steps)
        if missing > 0:
            take_blocks(state, m, missing)
            sequence["blocks"] += missing
        sequence["computed_tokens"] += steps
        sequence["generated_tokens"] += steps
        gap = first_end - sequence["last_token_seconds"]
        if sequence["last_token_seconds"] == start:
            in_time += 1
        else:
            add_gaps(state, gap, 1)
        sequence["longest_gap_seconds"] = max(sequence["longest_gap_seconds"], max(gap, last))
        sequence["last_token_seconds"] = end
    if in_time > 0:
        add_gaps(state, first_end - start, in_time)
    _add_later_gaps(state, m, first_end, last)
    made = machine["run_decodes"] * steps
    machine["pending_output_tokens"] -= made
    machine["assigned_kv_tokens"] += made
    machine["decoded_tokens"] += made


@merged
def _add_later_gaps(state: State, m: int, first_end: float, last: float) -> None:
    """Count the gaps of a run after its first step."""
    machine = state.machines[m]
    steps, rows = machine["run_steps"], machine["run_decodes"]
    if steps == 1:
        return
    second = run_seconds(state, m, 2) - run_seconds(state, m, 1)
    if bin_of(second) == bin_of(last):
        mean = (machine["run_end_seconds"] - first_end) / (steps - 1)
        add_gaps(state, mean, rows * (steps - 1))
        return
    before = run_seconds(state, m, 1)
    for step in range(2, steps + 1):
        until = run_seconds(state, m, step)
        add_gaps(state, until - before, rows)
        before = until


@merged
def _end_mixed_step(state: State, m: int) -> None:
    """Give each request of one step what it computed, and its token if that is complete."""
    machine = state.machines[m]
    for place in range(machine["running"]):
        r = state.running[m, place]
        sequence = state.sequences[r]
        new_tokens = sequence["scheduled_tokens"]
        if new_tokens == 0:
            continue
        decode, pending = is_decode(state, r), pending_tokens(state, r)
        sequence["computed_tokens"] += new_tokens
        machine["pending_prompt_tokens"] += pending_tokens(state, r) - pending
        if decode:
            machine["decoded_tokens"] += 1
        else:
            machine["prefilled_tokens"] += new_tokens
            share_units(state, m, r)
        if uncomputed_tokens(state, r) == 0:
            _add_token(state, r, machine["run_end_seconds"])


@merged
def _add_token(state: State, r: int, now: float) -> None:
    """Give a request one more token."""
    sequence = state.sequences[r]
    sequence["generated_tokens"] += 1
    state.machines[sequence["decode_machine"]]["pending_output_tokens"] -= 1
    state.machines[sequence["decode_machine"]]["assigned_kv_tokens"] += 1
    if sequence["generated_tokens"] == 1:
        sequence["first_token_seconds"] = now
        if len(state.limits) > 0 and now - sequence["arrival_seconds"] > state.limits[r, 0]:
            state.cluster[0]["late"] += 1
    else:
        gap = now - sequence["last_token_seconds"]
        add_gaps(state, gap, 1)
        sequence["longest_gap_seconds"] = max(sequence["longest_gap_seconds"], gap)
    sequence["last_token_seconds"] = now


@merged
def _move_on(state: State, m: int) -> None:
    """Take requests that are finished, or decoded elsewhere, off the running ones."""
    machine = state.machines[m]
    kept = 0
    for place in range(machine["running"]):
        r = state.running[m, place]
        sequence = state.sequences[r]
        if sequence["generated_tokens"] == sequence["output_tokens"]:
            _finish(state, m, r)
        elif sequence["decode_machine"] != m and sequence["generated_tokens"] > 0:
            hold(state, r)
            receive_expected(state, sequence["decode_machine"])
        else:
            state.running[m, kept] = r
            kept += 1
    machine["running"] = kept


@sub_kernel
def _finish(state: State, m: int, r: int) -> None:
    """Give back what a request had on machine ``m`` and was to have elsewhere."""
    sequence = state.sequences[r]
    release(state, m, r)
    sequence["state"] = FINISHED
    decoder = state.machines[sequence["decode_machine"]]
    decoder["assigned"] -= 1
    decoder["assigned_kv_tokens"] -= sequence["input_tokens"] + sequence["output_tokens"]
    decoder["reserved_tokens"] -= sequence["input_tokens"] + sequence["output_tokens"]
    if sequence["decode_machine"] != m:
        state.machines[m]["assigned"] -= 1
        state.machines[m]["assigned_kv_tokens"] -= sequence["input_tokens"]
    state.cluster[0]["finished"] += 1
    later = sequence["output_tokens"] - 1
    if len(state.limits) > 0 and later > 0:
        mean = (sequence["last_token_seconds"] - sequence["first_token_seconds"]) / later
        if mean > state.limits[r, 1]:
            state.cluster[0]["late"] += 1
