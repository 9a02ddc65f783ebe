"""The L2 global buffer: LRU over granules, in groups of slices, write-back, with in-flight merging.

An address-hashed L2 spreads a granule over ``GRANULE_BYTES / interleave_bytes`` slices. Slices that always serve the
same granules act as one *group*, which is the unit of capacity, replacement and bandwidth here.

Every granule of the address space has a record, so that all operations are O(1). A granule in flight is counted in the
capacity but is not yet in the LRU list, so that it cannot be evicted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uarch.jit import inline, kernel
from uarch.program import NONE, StructArray

IntArray = npt.NDArray[np.int64]

ABSENT, RESIDENT, IN_FLIGHT = 0, 1, 2

GRANULE = np.dtype(
    [
        ("status", np.int32),
        ("dirty", np.int32),
        ("older", np.int32),  # neighbours in the LRU list of its group
        ("newer", np.int32),
        ("first_waiter", np.int32),
        ("size_bytes", np.int32),
        ("missing_bytes", np.int32),  # neither written nor fetched: the granule cannot be read yet
        ("padding", np.int32),
        ("address", np.int64),
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


@dataclass(frozen=True, eq=False)
class L2State:
    """Contents of the L2 between two kernels: one entry a granule, from least to most recently used in each group.

    ``granules``: int64, indices in the address space; ``records``: the ``GRANULE`` records, same length.
    """

    granules: IntArray
    records: StructArray

    @staticmethod
    def empty() -> L2State:
        """A cold cache."""
        return L2State(np.zeros(0, np.int64), np.zeros(0, GRANULE))

    def key(self) -> bytes:
        """Equal for equal contents: what identifies the residency under which a kernel ran."""
        parts = (self.granules, self.records["missing_bytes"], self.records["dirty"])
        return b"".join(part.tobytes() for part in parts)

    @property
    def resident_bytes(self) -> int:
        """Bytes held."""
        return int(self.records["size_bytes"].sum())


def open_l2(state: L2State, n_granules: int, groups: int) -> tuple[StructArray, StructArray]:
    """Records of all granules and groups, with the contents of ``state``."""
    size = max(n_granules, int(state.granules.max()) + 1 if len(state.granules) else 0)
    granule_records = np.zeros(size, GRANULE)
    group_records = np.zeros(groups, GROUP)
    group_records["oldest"] = group_records["newest"] = NONE
    _restore(granule_records, group_records, state.granules, state.records)
    return granule_records, group_records


def close_l2(granules: StructArray, groups: StructArray) -> L2State:
    """Contents of the working state."""
    indices = _in_lru_order(granules, groups)
    return L2State(indices, granules[indices])


@inline
def l2_group(granule: int, groups: int) -> int:
    """Group of slices that holds a granule: a multiplicative hash, as real L2s hash addresses to break strides."""
    return (((granule * 2654435769) & 0xFFFFFFFF) * groups) >> 32


@inline
def append_newest(granules: StructArray, groups: StructArray, granule: int, group: int) -> None:
    """Put a granule at the most-recent end of its group's list."""
    newest = groups[group]["newest"]
    granules[granule]["older"] = newest
    granules[granule]["newer"] = NONE
    if newest == NONE:
        groups[group]["oldest"] = granule
    else:
        granules[newest]["newer"] = granule
    groups[group]["newest"] = granule


@inline
def unlink(granules: StructArray, groups: StructArray, granule: int, group: int) -> None:
    """Take a granule out of its group's list."""
    older, newer = granules[granule]["older"], granules[granule]["newer"]
    if older == NONE:
        groups[group]["oldest"] = newer
    else:
        granules[older]["newer"] = newer
    if newer == NONE:
        groups[group]["newest"] = older
    else:
        granules[newer]["older"] = older


@inline
def touch(granules: StructArray, groups: StructArray, granule: int, group: int) -> None:
    """Make a resident granule the most recently used of its group."""
    if groups[group]["newest"] != granule:
        unlink(granules, groups, granule, group)
        append_newest(granules, groups, granule, group)


@inline
def reserve(granules: StructArray, groups: StructArray, granule: int, group: int, address: int, size_bytes: int) -> None:
    """Count an absent granule in its group, as in flight."""
    record = granules[granule]
    record["status"] = IN_FLIGHT
    record["dirty"] = 0
    record["first_waiter"] = NONE
    record["address"] = address
    record["size_bytes"] = size_bytes
    groups[group]["used_bytes"] += size_bytes


@inline
def arrive(granules: StructArray, groups: StructArray, granule: int, group: int, missing_bytes: int) -> None:
    """A granule in flight is there, but for ``missing_bytes`` of it."""
    granules[granule]["status"] = RESIDENT
    granules[granule]["missing_bytes"] = missing_bytes
    append_newest(granules, groups, granule, group)


@inline
def pop_victim(granules: StructArray, groups: StructArray, group: int, capacity_bytes: int) -> int:
    """Evict the least recently used granule while the group holds more than its capacity; NONE if nothing is left to do."""
    victim = groups[group]["oldest"]
    if groups[group]["used_bytes"] <= capacity_bytes or victim == NONE:
        return NONE
    unlink(granules, groups, victim, group)
    granules[victim]["status"] = ABSENT
    groups[group]["used_bytes"] -= granules[victim]["size_bytes"]
    return int(victim)


@kernel
def _restore(granules: StructArray, groups: StructArray, indices: IntArray, records: StructArray) -> None:
    for i in range(len(indices)):
        granule = indices[i]
        group = l2_group(granule, len(groups))
        reserve(granules, groups, granule, group, records[i]["address"], records[i]["size_bytes"])
        arrive(granules, groups, granule, group, records[i]["missing_bytes"])
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
