"""The L2's replacement against a naive model: ordered dictionaries and sets of rows in plain Python."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uarch.arrays import IntArray
from uarch.engine.l2 import (
    L2State,
    add_rows,
    close_l2,
    first_row_of,
    l2_group,
    open_l2,
    own_rows,
    pop_victim,
    row_count,
    row_set,
    touch,
    use_rows,
)
from uarch.program.records import NONE, StructArray

N_GRANULES = 24
ROW_BYTES = (16, 100, 128)
"""Bytes of a granule's rows, by its number."""

rows_of_a_granule = st.tuples(st.integers(0, 63), st.integers(1, 64)).map(
    lambda drawn: range(drawn[0], min(64, drawn[0] + drawn[1]))
)
operations = st.lists(
    st.tuples(
        st.sampled_from(["fill", "write", "read"]),
        st.integers(0, N_GRANULES - 1),
        rows_of_a_granule,
        st.integers(0, 3),
    ),
    max_size=60,
)
partition_counts = st.integers(1, 4)
Operations = list[tuple[str, int, range, int]]
"""What is done with which rows of which granule, and from which partition."""


def rows_in(bits: int) -> set[int]:
    return {row for row in range(64) if bits >> row & 1}


@given(rows_of_a_granule)
def test_sets_of_rows(rows: range) -> None:
    """All 64 rows, and those that make the int64 negative, too."""
    bits = int(row_set(rows.start, len(rows)))
    assert -(2**63) <= bits < 2**63
    assert rows_in(bits) == set(rows)
    assert row_count(bits) == len(rows)
    assert first_row_of(bits) == rows.start


@dataclass
class NaiveLine:
    """A granule that is held: its valid and dirty rows, and for each row the partitions that have used it."""

    valid: set[int] = field(default_factory=set)
    dirty: set[int] = field(default_factory=set)
    users: dict[int, set[int]] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """A row takes one, or one in each partition that has used it."""
        return sum(max(1, len(self.users.get(row, ()))) for row in self.valid)


class NaiveL2:
    """For each group, granules in the order of their last use."""

    def __init__(self, groups: int, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.lines: list[OrderedDict[int, NaiveLine]] = [OrderedDict() for _ in range(groups)]

    def used_bytes(self, group: int) -> int:
        return sum(line.places * row_bytes_of(granule) for granule, line in self.lines[group].items())

    def resident_bytes(self) -> int:
        """Copies not counted."""
        return sum(len(line.valid) * row_bytes_of(granule) for lines in self.lines for granule, line in lines.items())

    def make_room(self, group: int) -> list[tuple[int, set[int]]]:
        """Evicted granules, oldest first, and their dirty rows."""
        victims = []
        while self.used_bytes(group) > self.capacity_bytes:
            granule, line = self.lines[group].popitem(last=False)
            victims.append((granule, line.dirty))
        return victims


def row_bytes_of(granule: int) -> int:
    return ROW_BYTES[granule % len(ROW_BYTES)]


def make_room(
    granules: StructArray, groups: StructArray, users: IntArray, group: int, capacity_bytes: int
) -> list[tuple[int, set[int]]]:
    """Evicted granules and their dirty rows; the caller takes these, as the engine does."""
    victims = []
    while (victim := int(pop_victim(granules, groups, users, group, capacity_bytes))) != NONE:
        victims.append((victim, rows_in(int(granules[victim]["dirty"]))))
        granules[victim]["dirty"] = 0
    return victims


def played(
    groups: int, capacity_bytes: int, partitions: int, all_operations: Operations
) -> tuple[NaiveL2, tuple[StructArray, StructArray, IntArray]]:
    """Both models after the same accesses, the victims of which were the same."""
    naive = NaiveL2(groups, capacity_bytes)
    granules, group_records, users = open_l2(L2State.empty(), N_GRANULES, groups, partitions)
    for action, granule, rows, drawn in all_operations:
        partition = drawn % partitions
        group = int(l2_group(granule, groups))
        lines, record = naive.lines[group], granules[granule]
        assert rows_in(int(record["valid"])) == lines.get(granule, NaiveLine()).valid
        if action == "read":
            if granule in lines:
                lines.move_to_end(granule)
                touch(granules, group_records, granule, group)
                for row in lines[granule].valid & set(rows):
                    lines[granule].users.setdefault(row, set()).add(partition)
            if partitions > 1:
                use_rows(granules, group_records, users, granule, group, row_set(rows.start, len(rows)), partition)
            assert naive.used_bytes(group) == group_records[group]["used_bytes"]
            continue
        if granule not in lines:
            record["address"], record["row_bytes"] = granule * 8192, row_bytes_of(granule)
        line = lines.setdefault(granule, NaiveLine())
        lines.move_to_end(granule)
        line.valid |= set(rows)
        add_rows(granules, group_records, granule, group, row_set(rows.start, len(rows)))
        if action == "write":
            line.dirty |= set(rows)
            line.users |= {row: {partition} for row in rows}
            record["dirty"] |= row_set(rows.start, len(rows))
            if partitions > 1:
                own_rows(granules, group_records, users, granule, group, row_set(rows.start, len(rows)), partition)
        assert naive.make_room(group) == make_room(granules, group_records, users, group, capacity_bytes)
        assert naive.used_bytes(group) == group_records[group]["used_bytes"]
    return naive, (granules, group_records, users)


def contents(state: L2State) -> list[tuple[int, set[int], set[int]]]:
    records = state.records
    return [
        (int(granule), rows_in(int(valid)), rows_in(int(dirty)))
        for granule, valid, dirty in zip(state.granules, records["valid"], records["dirty"], strict=True)
    ]


@given(st.integers(1, 5), st.integers(1000, 30_000), partition_counts, operations)
def test_replacement_is_that_of_the_naive_model(
    groups: int, capacity_bytes: int, partitions: int, all_operations: Operations
) -> None:
    naive, arrays = played(groups, capacity_bytes, partitions, all_operations)
    state = close_l2(*arrays)
    assert contents(state) == [
        (granule, line.valid, line.dirty) for lines in naive.lines for granule, line in lines.items()
    ]
    assert state.resident_bytes == naive.resident_bytes()


@given(st.integers(1, 5), partition_counts, operations)
def test_contents_survive_from_kernel_to_kernel(groups: int, partitions: int, all_operations: Operations) -> None:
    """Closing and opening changes nothing, also if the address space has grown meanwhile."""
    naive, arrays = played(groups, 20_000, partitions, all_operations)
    state = close_l2(*arrays)
    for n_granules in (N_GRANULES, 5, 1000):
        opened, opened_groups, users = open_l2(state, n_granules, groups, partitions)
        assert len(opened) >= n_granules
        again = close_l2(opened, opened_groups, users)
        assert again.key() == state.key()
        assert contents(again) == contents(state)
        np.testing.assert_array_equal(again.records["address"], state.granules * 8192)
        used_bytes = [naive.used_bytes(group) for group in range(groups)]
        np.testing.assert_array_equal(opened_groups["used_bytes"], used_bytes)


@given(st.integers(1, 64))
def test_every_group_gets_its_share(groups: int) -> None:
    """The hash spreads strided granules, too: no group has more than twice the mean of 40 granules a group."""
    for stride in (1, 2, 16, 64, groups):
        counts = np.bincount([int(l2_group(i * stride, groups)) for i in range(40 * groups)], minlength=groups)
        assert len(counts) == groups
        assert counts.max() <= 80


def test_the_key_tells_contents_apart() -> None:
    """What is held, in which order, which rows of it, which of them are dirty, and who has used them."""
    granules, groups, users = open_l2(L2State.empty(), 4, 1, partitions=2)
    keys = [close_l2(granules, groups, users).key()]
    for granule in (0, 1):
        add_rows(granules, groups, granule, 0, row_set(0, 3))
        keys.append(close_l2(granules, groups, users).key())
    touch(granules, groups, 0, 0)
    keys.append(close_l2(granules, groups, users).key())
    granules[0]["dirty"] = 1
    keys.append(close_l2(granules, groups, users).key())
    add_rows(granules, groups, 0, 0, row_set(3, 1))
    keys.append(close_l2(granules, groups, users).key())
    for partition in (0, 1):
        use_rows(granules, groups, users, 0, 0, row_set(0, 1), partition)
        keys.append(close_l2(granules, groups, users).key())
    assert len(set(keys)) == len(keys)


def test_contents_of_another_number_of_partitions_are_refused() -> None:
    granules, groups, users = open_l2(L2State.empty(), 4, 1, partitions=2)
    add_rows(granules, groups, 0, 0, row_set(0, 3))
    with pytest.raises(ValueError, match="2 partitions for an L2 of 4"):
        open_l2(close_l2(granules, groups, users), 4, 1, partitions=4)
