"""The L2's replacement against a naive model: an ordered dictionary for each group of slices."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from uarch.l2 import (
    ABSENT,
    IN_FLIGHT,
    RESIDENT,
    L2State,
    arrive,
    close_l2,
    l2_group,
    open_l2,
    pop_victim,
    reserve,
    touch,
)
from uarch.program import NONE, StructArray

N_GRANULES = 24
SIZES = (100, 250, 400)

Line = tuple[int, bool]
"""Bytes, dirty."""


class NaiveL2:
    """Granules in the order of their last use, group by group; those in flight are counted, but not in the order."""

    def __init__(self, groups: int, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.lines: list[OrderedDict[int, Line]] = [OrderedDict() for _ in range(groups)]
        self.in_flight: list[dict[int, int]] = [{} for _ in range(groups)]

    def used_bytes(self, group: int) -> int:
        return sum(size for size, _ in self.lines[group].values()) + sum(self.in_flight[group].values())

    def make_room(self, group: int) -> list[tuple[int, bool]]:
        """Evicted granules, oldest first, and whether they are dirty."""
        victims = []
        while self.used_bytes(group) > self.capacity_bytes and self.lines[group]:
            granule, (_, dirty) = self.lines[group].popitem(last=False)
            victims.append((granule, dirty))
        return victims


class JittedL2:
    """The simulator's arrays behind the same operations."""

    def __init__(self, granules: StructArray, groups: StructArray, capacity_bytes: int) -> None:
        self.granules, self.groups, self.capacity_bytes = granules, groups, capacity_bytes

    def make_room(self, group: int) -> list[tuple[int, bool]]:
        victims = []
        while (victim := pop_victim(self.granules, self.groups, group, self.capacity_bytes)) != NONE:
            victims.append((int(victim), bool(self.granules[victim]["dirty"])))
        return victims


operations = st.lists(
    st.tuples(st.sampled_from(["read", "write", "arrive"]), st.integers(0, N_GRANULES - 1)), max_size=80
)


def step(naive: NaiveL2, jitted: JittedL2, action: str, granule: int) -> None:
    """One access or arrival, as the engine makes them, on both; the victims must be the same."""
    groups = len(naive.lines)
    group, size = int(l2_group(granule, groups)), SIZES[granule % len(SIZES)]
    status = int(jitted.granules[granule]["status"])
    resident, in_flight = granule in naive.lines[group], granule in naive.in_flight[group]
    assert status == (RESIDENT if resident else IN_FLIGHT if in_flight else ABSENT)
    if action == "arrive":
        if in_flight:
            naive.lines[group][granule] = (naive.in_flight[group].pop(granule), False)
            arrive(jitted.granules, jitted.groups, granule, group, 0)
    elif resident:
        naive.lines[group].move_to_end(granule)
        touch(jitted.granules, jitted.groups, granule, group)
    elif not in_flight:
        reserve(jitted.granules, jitted.groups, granule, group, granule * 4096, size)
        if action == "read":
            naive.in_flight[group][granule] = size
        else:
            naive.lines[group][granule] = (size, False)
            arrive(jitted.granules, jitted.groups, granule, group, 0)
    if action == "write" and granule in naive.lines[group]:
        naive.lines[group][granule] = (size, True)
        jitted.granules[granule]["dirty"] = 1
    assert naive.make_room(group) == jitted.make_room(group)
    assert naive.used_bytes(group) == jitted.groups[group]["used_bytes"]


@given(st.integers(1, 5), st.integers(300, 2500), operations)
def test_replacement_is_that_of_the_naive_model(
    groups: int, capacity_bytes: int, all_operations: list[tuple[str, int]]
) -> None:
    naive = NaiveL2(groups, capacity_bytes)
    jitted = JittedL2(*open_l2(L2State.empty(), N_GRANULES, groups), capacity_bytes)
    for action, granule in all_operations:
        step(naive, jitted, action, granule)

    state = close_l2(jitted.granules, jitted.groups)
    expected = [(granule, *line) for lines in naive.lines for granule, line in lines.items()]
    records = state.records
    found = list(zip(state.granules, records["size_bytes"], records["dirty"], strict=True))
    assert found == expected
    assert state.resident_bytes == sum(size for _, size, _ in expected)


@given(st.integers(1, 5), operations)
def test_contents_survive_from_kernel_to_kernel(groups: int, all_operations: list[tuple[str, int]]) -> None:
    """Closing and opening changes neither order nor dirty bits, also if the address space has grown meanwhile."""
    naive = NaiveL2(groups, 1500)
    jitted = JittedL2(*open_l2(L2State.empty(), N_GRANULES, groups), 1500)
    for action, granule in all_operations:
        step(naive, jitted, action, granule)
    state = close_l2(jitted.granules, jitted.groups)
    for n_granules in (N_GRANULES, 5, 1000):
        granules, group_records = open_l2(state, n_granules, groups)
        again = close_l2(granules, group_records)
        assert again.key() == state.key()
        np.testing.assert_array_equal(again.records["address"], state.granules * 4096)
        np.testing.assert_array_equal(
            group_records["used_bytes"], [sum(size for size, _ in lines.values()) for lines in naive.lines]
        )


@given(st.integers(1, 64))
def test_every_group_gets_its_share(groups: int) -> None:
    """The hash spreads strided granules, too: no group has more than twice the mean of 40 granules a group."""
    for stride in (1, 2, 16, 64, groups):
        counts = np.bincount([int(l2_group(i * stride, groups)) for i in range(40 * groups)], minlength=groups)
        assert len(counts) == groups
        assert counts.max() <= 80


def test_the_key_tells_contents_apart() -> None:
    granules, groups = open_l2(L2State.empty(), 4, 1)
    keys = [close_l2(granules, groups).key()]
    for granule in (0, 1):
        reserve(granules, groups, granule, 0, 0, 100)
        arrive(granules, groups, granule, 0, 0)
        keys.append(close_l2(granules, groups).key())
    touch(granules, groups, 0, 0)
    keys.append(close_l2(granules, groups).key())
    granules[0]["dirty"] = 1
    keys.append(close_l2(granules, groups).key())
    granules[0]["missing_bytes"] = 1
    keys.append(close_l2(granules, groups).key())
    assert len(set(keys)) == len(keys)
