"""The prefix cache against an ordered dictionary, and what it saves a cluster."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.small_clusters import table
from uarch.jit import loop_kernel
from workloads.requests.records import Requests
from workloads.serving.loop.prefix_cache import evict_oldest, find_unit, insert_unit, make_idle, make_used
from workloads.serving.loop.records import State
from workloads.serving.simulation import Cluster, Limits, Machine, new_state, serve

TABLE = table(1.0)
WORK = Requests(np.zeros(1), np.full(1, 10), np.full(1, 2))
INSERT, TOUCH, EVICT = range(3)


@loop_kernel
def apply(state: State, actions: np.ndarray, keys: np.ndarray, found: np.ndarray) -> None:
    """Insert a key or use it again, forget the oldest; then look all keys up."""
    for i in range(len(actions)):
        slot = find_unit(state, 0, keys[i])
        if actions[i] == INSERT and slot < 0 and state.machines[0]["free_slot"] < len(state.slots):
            insert_unit(state, 0, keys[i], 0)
        elif actions[i] == TOUCH and slot >= 0:
            make_used(state, 0, slot)
            make_idle(state, 0, slot)
        elif actions[i] == EVICT and state.machines[0]["idle_units"] > 0:
            evict_oldest(state, 0)
    for key in range(len(found)):
        found[key] = find_unit(state, 0, key - len(found) // 2) >= 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-20, 19)), max_size=120))
def test_what_was_used_least_recently_goes_first(script: list[tuple[int, int]]) -> None:
    """Keys of both signs: hashes of prompts, and units of one request alone."""
    machine = Machine("both", "vllm-v1", 16 * 12, max_sequences=8, prefix_cache=True)
    state = new_state(Cluster((machine,), (TABLE,)), WORK, Limits(), 0)
    capacity = len(state.slots)
    expected: OrderedDict[int, None] = OrderedDict()
    for action, key in script:
        if action == INSERT and key not in expected and len(expected) < capacity:
            expected[key] = None
        elif action == TOUCH and key in expected:
            expected.move_to_end(key)
        elif action == EVICT and expected:
            expected.popitem(last=False)
    found = np.zeros(40, np.bool_)
    actions = np.array([action for action, _ in script], np.int64)
    apply(state, actions, np.array([key for _, key in script], np.int64), found)
    assert {int(key) - 20 for key in np.flatnonzero(found)} == set(expected)
    assert state.machines[0]["idle_units"] == len(expected)


def test_a_prompt_seen_before_is_not_computed_again() -> None:
    """Two prompts of 64 tokens with three of four units of 16 in common, the second long after the first."""
    blocks = np.array([1, 2, 3, 4, 1, 2, 3, 9])
    work = Requests(np.array([0.0, 100.0]), np.full(2, 65), np.full(2, 3), blocks, np.array([0, 4, 8]), 16)
    machine = Machine("both", "vllm-v1", 160, max_sequences=8, prefix_cache=True)
    served = serve(Cluster((machine,), (TABLE,)), work)
    assert served.sequences["cached_tokens"].tolist() == [0, 48]
    assert served.machines["prefilled_tokens"].tolist() == [65 + 17]


def test_dispatch_by_prefix_goes_where_the_prefix_is() -> None:
    """Prompts of two conversations in turns, four times the prompt of one on two machines."""
    rows = [np.arange(4) + 100 * (i % 2) for i in range(8)]
    arrivals = np.arange(8) * 10.0
    work = Requests(arrivals, np.full(8, 70), np.full(8, 3), np.concatenate(rows), np.arange(9) * 4, 16)
    machines = (Machine("both", "vllm-v1", 160, max_sequences=8, prefix_cache=True),) * 2
    hits = {
        rule: int(serve(Cluster(machines, (TABLE,), prefill_dispatch=rule), work).sequences["cached_tokens"].sum())
        for rule in ("prefix", "least-requests")
    }
    assert hits["prefix"] == 6 * 64
    assert hits["least-requests"] <= hits["prefix"]
