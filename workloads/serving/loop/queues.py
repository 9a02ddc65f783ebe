"""Queues of requests as linked lists: those that wait at a machine, and those that it expects from others."""

from __future__ import annotations

from uarch.jit import inline, sub_kernel
from workloads.serving.loop.records import NOBODY, WAITING, State


@inline
def mark_dirty(state: State, m: int) -> None:
    """Have machine ``m`` looked at before time goes on."""
    if state.machines[m]["dirty"] == 0:
        state.machines[m]["dirty"] = 1
        state.dirty[state.cluster[0]["dirty"]] = m
        state.cluster[0]["dirty"] += 1


@sub_kernel
def append_waiting(state: State, m: int, r: int) -> None:
    """Put request ``r`` at the end of the queue of machine ``m``."""
    machine = state.machines[m]
    state.sequences[r]["next"] = NOBODY
    state.sequences[r]["state"] = WAITING
    if machine["waiting"] == 0:
        machine["waiting_first"] = r
    else:
        state.sequences[machine["waiting_last"]]["next"] = r
    machine["waiting_last"] = r
    machine["waiting"] += 1


@sub_kernel
def prepend_waiting(state: State, m: int, r: int) -> None:
    """Put a preempted request ``r`` at the head of the queue of machine ``m``."""
    machine = state.machines[m]
    state.sequences[r]["next"] = machine["waiting_first"] if machine["waiting"] > 0 else NOBODY
    state.sequences[r]["state"] = WAITING
    if machine["waiting"] == 0:
        machine["waiting_last"] = r
    machine["waiting_first"] = r
    machine["waiting"] += 1
    machine["preempted"] += 1


@sub_kernel
def remove_first_waiting(state: State, m: int) -> None:
    """Take the head of the queue of machine ``m`` away."""
    machine = state.machines[m]
    r = machine["waiting_first"]
    machine["waiting_first"] = state.sequences[r]["next"]
    machine["waiting"] -= 1
    if state.sequences[r]["preemptions"] > 0:
        machine["preempted"] -= 1


@sub_kernel
def append_expected(state: State, m: int, r: int) -> None:
    """Let request ``r``, held elsewhere, wait for memory of machine ``m``."""
    machine = state.machines[m]
    state.sequences[r]["next"] = NOBODY
    if machine["expected_first"] == NOBODY:
        machine["expected_first"] = r
    else:
        state.sequences[machine["expected_last"]]["next"] = r
    machine["expected_last"] = r


@sub_kernel
def remove_expected(state: State, m: int, before: int, r: int) -> None:
    """Take request ``r`` out of the list of machine ``m``; ``before`` is the one in front of it, ``NOBODY`` if it is first."""
    machine = state.machines[m]
    following = state.sequences[r]["next"]
    if before == NOBODY:
        machine["expected_first"] = following
    else:
        state.sequences[before]["next"] = following
    if following == NOBODY:
        machine["expected_last"] = before
