"""Steps and runs of steps: what a machine computes next, for how long, and where a run is cut when something happens.

As long as a batch has decodes alone, nobody finishes, memory lasts and nothing arrives, every step has the same requests
with one token more: such steps are one *run*, whose end is computed at once. A run under way is cut at the end of the step that
is being computed when a request or a KV cache arrives or memory becomes free, so that all happens at the times at which it
would happen step by step.
"""

from __future__ import annotations

from uarch.jit import inline, sub_kernel
from workloads.serving.loop.event_heap import set_event
from workloads.serving.loop.kv_blocks import missing_blocks, unit_blocks
from workloads.serving.loop.prefix_cache import evict_oldest
from workloads.serving.loop.progress import is_decode
from workloads.serving.loop.records import State
from workloads.serving.step_times.step_grid import JOULES, SECONDS, run_value, step_value, steps_until


@sub_kernel
def begin_steps(state: State, m: int) -> bool:
    """Begin what has been scheduled on machine ``m``, now; False if that is nothing."""
    machine = state.machines[m]
    sequences, decodes, contexts, tokens, pairs, most = 0, 0, 0, 0, 0.0, 1 << 40
    for place in range(machine["running"]):
        r = state.running[m, place]
        sequence = state.sequences[r]
        new_tokens, computed = sequence["scheduled_tokens"], sequence["computed_tokens"]
        if new_tokens == 0:
            continue
        sequences += 1
        if is_decode(state, r):
            decodes += 1
            contexts += computed + 1
            most = min(most, sequence["output_tokens"] - sequence["generated_tokens"])
        else:
            tokens += new_tokens
            pairs += new_tokens * computed + 0.5 * new_tokens * (new_tokens + 1)
    if sequences == 0:
        return False
    table, host, now = machine["table"], machine["host_seconds"], state.cluster[0]["now_seconds"]
    machine["in_step"] = 1
    machine["run_is_decode"] = 1 if tokens == 0 else 0
    machine["run_decodes"] = decodes
    machine["run_context"] = contexts / decodes if decodes > 0 else 0.0
    machine["run_start_seconds"] = now
    machine["run_steps"] = 1
    if tokens > 0:
        seconds = step_value(state.grid, table, sequences, decodes, contexts, tokens, pairs, SECONDS) + host
        machine["step_joules"] = step_value(state.grid, table, sequences, decodes, contexts, tokens, pairs, JOULES)
        machine["run_end_seconds"] = now + seconds
        set_event(state.heap, m, now + seconds)
        return True
    if machine["single_step"] == 1 or sequences < machine["running"]:
        most = 1
    _end_run_after(state, m, steps_by_memory(state, m, most))
    return True


@inline
def _end_run_after(state: State, m: int, steps: int) -> None:
    """Let a run of decodes end after so many steps."""
    machine = state.machines[m]
    machine["run_steps"] = steps
    end = machine["run_start_seconds"] + run_seconds(state, m, steps)
    machine["run_end_seconds"] = end
    set_event(state.heap, m, end)


@inline
def run_seconds(state: State, m: int, steps: int) -> float:
    """Seconds of the first ``steps`` steps of a run of decodes."""
    machine = state.machines[m]
    return run_value(
        state.grid,
        machine["table"],
        machine["run_decodes"],
        machine["run_context"],
        steps,
        machine["host_seconds"],
        SECONDS,
    )


@inline
def run_joules(state: State, m: int) -> float:
    """Joules of the step or run that is under way."""
    machine = state.machines[m]
    if machine["run_is_decode"] == 0:
        return machine["step_joules"]
    decodes, context, steps = machine["run_decodes"], machine["run_context"], machine["run_steps"]
    return run_value(state.grid, machine["table"], decodes, context, steps, 0.0, JOULES)


@sub_kernel
def blocks_after(state: State, m: int, steps: int) -> int:
    """Free blocks that the requests of a run of decodes take from its begin to the end of step ``steps``."""
    count = 0
    for place in range(state.machines[m]["running"]):
        r = state.running[m, place]
        if state.sequences[r]["scheduled_tokens"] > 0:
            count += missing_blocks(state, m, r, state.sequences[r]["computed_tokens"] + steps)
    return count


@sub_kernel
def promised_blocks(state: State, m: int) -> int:
    """Free blocks that the run of decodes under way, if any, has taken with the steps that have begun, but for its first."""
    if state.machines[m]["in_step"] == 0 or state.machines[m]["run_steps"] == 1:
        return 0
    return blocks_after(state, m, steps_begun(state, m))


@sub_kernel
def settle_evictions(state: State, m: int) -> None:
    """Evict the idle units whose blocks the run under way has taken: before anybody looks at the prefix cache."""
    machine = state.machines[m]
    if machine["prefix_cache"] == 1 and machine["idle_units"] > 0:
        promised = promised_blocks(state, m)
        while machine["idle_units"] * unit_blocks(state, m) > machine["free_blocks"] - promised:
            evict_oldest(state, m)


@sub_kernel
def steps_by_memory(state: State, m: int, most: int) -> int:
    """Steps of a run, at most ``most``, for which the free blocks last; the first one has its memory."""
    machine = state.machines[m]
    free = machine["free_blocks"]
    if most == 1 or machine["full_reservation"] == 1:
        return most
    if machine["running"] * ((most + machine["block_tokens"] - 1) // machine["block_tokens"]) <= free:
        return most
    if blocks_after(state, m, most) <= free:
        return most
    enough, too_many = 1, most
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if blocks_after(state, m, middle) <= free:
            enough = middle
        else:
            too_many = middle
    return enough


@inline
def steps_begun(state: State, m: int) -> int:
    """Steps of the run under way that have begun by now, at least 1: one that ends now has, the next one has not."""
    machine = state.machines[m]
    if machine["run_is_decode"] == 0 or machine["run_steps"] == 1:
        return 1
    elapsed = state.cluster[0]["now_seconds"] - machine["run_start_seconds"]
    if elapsed <= 0:
        return 1
    return min(
        machine["run_steps"],
        steps_until(
            state.grid,
            machine["table"],
            machine["run_decodes"],
            machine["run_context"],
            machine["host_seconds"],
            elapsed,
        ),
    )


@inline
def steps_done(state: State, m: int) -> int:
    """Whole steps of the run of decodes under way that are over by now; 0 if none is under way."""
    machine = state.machines[m]
    if machine["in_step"] == 0 or machine["run_is_decode"] == 0:
        return 0
    now = state.cluster[0]["now_seconds"]
    if now >= machine["run_end_seconds"]:
        return machine["run_steps"]
    begun = steps_begun(state, m)
    return begun if machine["run_start_seconds"] + run_seconds(state, m, begun) <= now else begun - 1


@inline
def kv_tokens(state: State, m: int) -> int:
    """Tokens of KV cache of the requests that are or will be on machine ``m``, those of the run under way included."""
    machine = state.machines[m]
    return machine["assigned_kv_tokens"] + machine["run_decodes"] * steps_done(state, m)


@sub_kernel
def cut_run(state: State, m: int) -> None:
    """End the run of machine ``m``, if one is under way, with the step that is being computed."""
    if state.machines[m]["in_step"] == 1 and state.machines[m]["run_steps"] > 1:
        begun = steps_begun(state, m)
        if begun < state.machines[m]["run_steps"]:
            _end_run_after(state, m, begun)


@sub_kernel
def fit_run_to_memory(state: State, m: int) -> None:
    """End the run of machine ``m``, if one is under way, before its blocks run out, some having been given away."""
    machine = state.machines[m]
    if machine["in_step"] == 1 and machine["run_steps"] > 1:
        steps = max(steps_begun(state, m), steps_by_memory(state, m, machine["run_steps"]))
        if steps < machine["run_steps"]:
            _end_run_after(state, m, steps)
