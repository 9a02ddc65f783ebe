"""The L2 global buffer: LRU over granules, in groups of slices, write-back, with in-flight merging.

An address-hashed L2 spreads a granule over ``GRANULE_BYTES / interleave_bytes`` slices. Slices that always serve the
same granules act as one *group*, which is the unit of capacity, replacement and bandwidth here.

Replacement works on granules, presence on their rows, each of which is a cache line: a set of rows is an int64 with a bit a
row. What is being fetched is a list of *fetches* per granule, each with the rows it brings and who waits for it.

An L2 in several partitions serves each of as many equal parts of the cores from one of them (NVIDIA A100 white paper, with
two): a row takes a place in every partition whose cores use it. A row that is written is kept in the writer's partition only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uarch.arrays import IntArray
from uarch.jit import hash_bucket, inline, kernel
from uarch.program.records import NONE, StructArray

GRANULE = np.dtype(
    [
        ("valid", np.int64),  # rows that are present; a granule with any is in the LRU list of its group
        ("dirty", np.int64),  # rows that DRAM does not have yet
        ("in_flight", np.int64),  # rows that some fetch brings
        ("address", np.int64),
        ("older", np.int32),  # neighbours in the LRU list
        ("newer", np.int32),
        ("first_fetch", np.int32),  # number of a fetch, or NO_FETCH
        ("row_bytes", np.int32),
    ]
)

GROUP = np.dtype(
    [
        ("oldest", np.int64),
        ("newest", np.int64),
        ("used_bytes", np.int64),
        ("free_ps", np.int64),  # when the group's data path is free again
    ]
)

NO_FETCH = 0
"""Number that stands for no fetch; those of fetches begin at 1, so that untouched records have none."""

FETCH = np.dtype(
    [
        ("granule", np.int64),
        ("rows", np.int64),
        ("first_waiter", np.int64),
        ("previous", np.int64),  # neighbours in the list of the same granule, or next in the list of free ones
        ("next", np.int64),
    ]
)

LOW_ROWS = np.array([-1 if n == 64 else (1 << n) - 1 if n < 63 else (1 << 62) + ((1 << 62) - 1) for n in range(65)])
"""Sets of the first n rows, n = 0 to 64."""
_ROWS_IN_BYTE = np.array([bin(byte).count("1") for byte in range(256)])


@dataclass(frozen=True, eq=False)
class L2State:
    """Contents of the L2 between two kernels: one entry a granule, from least to most recently used in each group.

    ``granules``: int64, indices in the address space; ``records``: the ``GRANULE`` records, same length; ``users``: int64,
    shape ``(granules, partitions)``, rows of each granule that cores of each partition have used since they came, without a
    column if there is one partition.
    """

    granules: IntArray
    records: StructArray
    users: IntArray

    @staticmethod
    def empty() -> L2State:
        """A cold cache."""
        return L2State(np.zeros(0, np.int64), np.zeros(0, GRANULE), np.zeros((0, 0), np.int64))

    def key(self) -> bytes:
        """Bytes that are equal for equal contents: what identifies the residency under which a kernel ran."""
        parts = (self.granules, self.records["valid"], self.records["dirty"], self.users)
        return b"".join(part.tobytes() for part in parts)

    @property
    def resident_bytes(self) -> int:
        """Bytes held."""
        rows = _ROWS_IN_BYTE[self.records["valid"].copy().view(np.uint8)].reshape(-1, 8).sum(axis=1)
        return int((rows * self.records["row_bytes"]).sum())


def open_l2(
    state: L2State, n_granules: int, groups: int, partitions: int = 1
) -> tuple[StructArray, StructArray, IntArray]:
    """Records of all granules and groups, and the users of all granules, with the contents of ``state``."""
    size = max(n_granules, int(state.granules.max()) + 1 if len(state.granules) else 0)
    granule_records = np.zeros(size, GRANULE)
    group_records = np.zeros(groups, GROUP)
    group_records["oldest"] = group_records["newest"] = NONE
    users = np.zeros((size, partitions if partitions > 1 else 0), np.int64)
    if len(state.granules) and state.users.shape[1:] != users.shape[1:]:
        raise ValueError(f"L2 contents of {state.users.shape[1]} partitions for an L2 of {partitions}")
    _restore(granule_records, group_records, users, state.granules, state.records, state.users)
    return granule_records, group_records, users


def close_l2(granules: StructArray, groups: StructArray, users: IntArray) -> L2State:
    """Contents of the working state."""
    indices = _in_lru_order(granules, groups)
    return L2State(indices, granules[indices], users[indices])


@inline
def l2_group(granule: int, groups: int) -> int:
    """Group of slices that holds a granule, hashed as real L2s hash addresses to break strides."""
    return hash_bucket(granule, groups)


@inline
def row_set(first: int, count: int) -> int:
    """Rows ``first`` to ``first + count - 1``."""
    return int(LOW_ROWS[first + count] & ~LOW_ROWS[first])


@inline
def row_count(rows: int) -> int:
    """How many rows a set has."""
    count = 0
    for shift in range(0, 64, 8):
        count += _ROWS_IN_BYTE[(rows >> shift) & 0xFF]
    return count


@inline
def first_row_of(rows: int) -> int:
    """The lowest row of a set that is not empty."""
    first = 0
    while rows & 0xFF == 0:
        rows >>= 8
        first += 8
    while rows & 1 == 0:
        rows >>= 1
        first += 1
    return first


@inline
def touch(granules: StructArray, groups: StructArray, granule: int, group: int) -> None:
    """Make a granule of the list the most recently used of its group."""
    if groups[group]["newest"] != granule:
        _unlink(granules, groups, granule, group)
        _append_newest(granules, groups, granule, group)


@inline
def add_rows(granules: StructArray, groups: StructArray, granule: int, group: int, rows: int) -> None:
    """Enter rows of a granule that have arrived or been written; it becomes the most recently used."""
    record = granules[granule]
    if record["valid"] == 0:
        _append_newest(granules, groups, granule, group)
    else:
        touch(granules, groups, granule, group)
    added = rows & ~record["valid"]
    if added != 0:
        groups[group]["used_bytes"] += row_count(added) * record["row_bytes"]
        record["valid"] |= added


@inline
def use_rows(
    granules: StructArray, groups: StructArray, users: IntArray, granule: int, group: int, rows: int, partition: int
) -> None:
    """Cores of a partition read rows: those present that other partitions have take a place in this one, too."""
    record = granules[granule]
    rows &= record["valid"]
    elsewhere = 0
    for p in range(users.shape[1]):
        elsewhere |= users[granule, p]
    copied = rows & elsewhere & ~users[granule, partition]
    users[granule, partition] |= rows
    if copied != 0:
        groups[group]["used_bytes"] += row_count(copied) * record["row_bytes"]


@inline
def own_rows(
    granules: StructArray, groups: StructArray, users: IntArray, granule: int, group: int, rows: int, partition: int
) -> None:
    """A core of a partition has written rows that are present: copies in other partitions are void."""
    copies = _copies(users, granule, rows)
    if copies != 0:
        groups[group]["used_bytes"] -= copies * granules[granule]["row_bytes"]
    for p in range(users.shape[1]):
        users[granule, p] &= ~rows
    users[granule, partition] |= rows


@inline
def _copies(users: IntArray, granule: int, rows: int) -> int:
    """Places that rows take beyond the first: one for each further partition whose cores have used a row."""
    seen, copies = 0, 0
    for p in range(users.shape[1]):
        used = users[granule, p] & rows
        copies += row_count(seen & used)
        seen |= used
    return copies


@inline
def pop_victim(granules: StructArray, groups: StructArray, users: IntArray, group: int, capacity_bytes: int) -> int:
    """Evict the least recently used granule while the group holds more than its capacity; NONE if nothing is left to do.

    The victim's ``dirty`` rows are for the caller to write back and clear.
    """
    victim = groups[group]["oldest"]
    if groups[group]["used_bytes"] <= capacity_bytes or victim == NONE:
        return NONE
    _unlink(granules, groups, victim, group)
    record = granules[victim]
    copies = _copies(users, victim, record["valid"])
    groups[group]["used_bytes"] -= (row_count(record["valid"]) + copies) * record["row_bytes"]
    record["valid"] = 0
    for p in range(users.shape[1]):
        users[victim, p] = 0
    return int(victim)


@inline
def _append_newest(granules: StructArray, groups: StructArray, granule: int, group: int) -> None:
    newest = groups[group]["newest"]
    granules[granule]["older"] = newest
    granules[granule]["newer"] = NONE
    if newest == NONE:
        groups[group]["oldest"] = granule
    else:
        granules[newest]["newer"] = granule
    groups[group]["newest"] = granule


@inline
def _unlink(granules: StructArray, groups: StructArray, granule: int, group: int) -> None:
    older, newer = granules[granule]["older"], granules[granule]["newer"]
    if older == NONE:
        groups[group]["oldest"] = newer
    else:
        granules[older]["newer"] = newer
    if newer == NONE:
        groups[group]["newest"] = older
    else:
        granules[newer]["older"] = older


@kernel
def _restore(
    granules: StructArray,
    groups: StructArray,
    users: IntArray,
    indices: IntArray,
    records: StructArray,
    users_of_records: IntArray,
) -> None:
    for i in range(len(indices)):
        granule = indices[i]
        granules[granule]["address"] = records[i]["address"]
        granules[granule]["row_bytes"] = records[i]["row_bytes"]
        group = l2_group(granule, len(groups))
        add_rows(granules, groups, granule, group, records[i]["valid"])
        for p in range(users.shape[1]):
            use_rows(granules, groups, users, granule, group, users_of_records[i, p], p)
        granules[granule]["dirty"] = records[i]["dirty"]


@kernel
def _in_lru_order(granules: StructArray, groups: StructArray) -> IntArray:
    count = 0
    for group in range(len(groups)):
        granule = groups[group]["oldest"]
        while granule != NONE:
            count += 1
            granule = granules[granule]["newer"]
    order = np.empty(count, np.int64)
    count = 0
    for group in range(len(groups)):
        granule = groups[group]["oldest"]
        while granule != NONE:
            order[count] = granule
            count += 1
            granule = granules[granule]["newer"]
    return order
