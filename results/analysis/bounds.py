"""What bounds an op or a run: the resource that is busiest, or else what the cores wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from results.trace.schema import BOUND_NAMES, CAUSE_FIELDS, STALL_CAUSES, Table

BUSY = 0.5
"""A resource that is used at this fraction of its peak or more bounds the work; below, nothing is near its limit."""

RESOURCES = ("compute", "vector", "l2", "dram", "link")
"""What can be busy, under the names of ``BOUND_NAMES``' values."""

WORK_FIELDS = (
    "seconds",
    "macs",
    "vector_ops",
    "l2_bytes",
    "dram_read_bytes",
    "dram_write_bytes",
    "link_bytes",
    *CAUSE_FIELDS,
)
"""Columns of the layers table on which a bound depends."""


@dataclass(frozen=True)
class Peaks:
    """What one chip can do per second at most, in the datatype of the run."""

    tensor_flops_per_second: float
    vector_flops_per_second: float
    l2_bytes_per_second: float
    dram_bytes_per_second: float
    link_bytes_per_second: float
    """Bytes a second of the link in one direction."""

    def fields(self) -> dict[str, float]:
        """Peaks as fields of a roll-up: ``peak_tensor_flops_per_second`` and so on."""
        return {f"peak_{name}": value for name, value in asdict(self).items()}

    @staticmethod
    def of(rollup: Mapping[str, float | int | str]) -> Peaks:
        """The peaks that a roll-up was made with. Raises ``KeyError`` if it has none."""
        return Peaks(**{name: float(rollup[f"peak_{name}"]) for name in Peaks.__dataclass_fields__})


def totals(layers: Table) -> dict[str, float]:
    """The sums over rows of ``WORK_FIELDS``."""
    return {name: float(layers[name].sum()) for name in WORK_FIELDS}


def resource_use(work: Mapping[str, float], peaks: Peaks) -> dict[str, float]:
    """Fraction of its peak at which each resource is used, under the names of ``BOUND_NAMES``' values.

    ``work``: at least ``WORK_FIELDS``. Arrays count as used while they are occupied, however few of their PEs have work.
    """
    seconds = work["seconds"]
    core_cycles = sum(work[field] for field in CAUSE_FIELDS)
    if seconds <= 0:
        return dict.fromkeys(RESOURCES, 0.0)
    occupied = work["matrix_cycles"] / core_cycles if core_cycles else 0.0
    return {
        "compute": max(2 * work["macs"] / (seconds * peaks.tensor_flops_per_second), occupied),
        "vector": 2 * work["vector_ops"] / (seconds * peaks.vector_flops_per_second),
        "l2": work["l2_bytes"] / (seconds * peaks.l2_bytes_per_second),
        "dram": (work["dram_read_bytes"] + work["dram_write_bytes"]) / (seconds * peaks.dram_bytes_per_second),
        "link": work["link_bytes"] / (seconds * peaks.link_bytes_per_second),
    }


def bound_by(work: Mapping[str, float], peaks: Peaks) -> str:
    """The bound of some work, as one of ``BOUND_NAMES``' values.

    The resource of :func:`resource_use` that is used most, if that is at least ``BUSY``; otherwise the cause that takes most
    core time, of equal ones that of higher priority; ``idle`` if there is no time at all.
    """
    if work["seconds"] <= 0:
        return BOUND_NAMES["idle"]
    use = resource_use(work, peaks)
    busiest = max(use, key=lambda name: use[name])
    if use[busiest] >= BUSY:
        return busiest
    return BOUND_NAMES[STALL_CAUSES[int(np.argmax([work[field] for field in CAUSE_FIELDS]))]]
