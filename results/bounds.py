"""What bounds an op or a run: the resource that is busiest, or else what the cores wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from results.schema import BOUND_NAMES, CAUSE_FIELDS, STALL_CAUSES, Table

BUSY = 0.5
"""A resource that is used at this fraction of its peak or more bounds the work; below, nothing is near its limit."""

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
    """In one direction."""

    def fields(self) -> dict[str, float]:
        """As fields of a roll-up: ``peak_tensor_flops_per_second`` and so on."""
        return {f"peak_{name}": value for name, value in asdict(self).items()}

    @staticmethod
    def of(rollup: Mapping[str, float | int | str]) -> Peaks:
        """The peaks that a roll-up was made with. Raises ``KeyError`` if it has none."""
        return Peaks(**{name: float(rollup[f"peak_{name}"]) for name in Peaks.__dataclass_fields__})


def totals(layers: Table) -> dict[str, float]:
    """The sums over rows of ``WORK_FIELDS``."""
    return {name: float(layers[name].sum()) for name in WORK_FIELDS}


def bound_by(work: Mapping[str, float], peaks: Peaks) -> str:
    """The bound of some work, as one of ``BOUND_NAMES``' values.

    ``work``: at least ``WORK_FIELDS``. The resource used at the largest fraction of its peak, if that is at least ``BUSY``
    (arrays count as used while they are occupied, however few of their PEs have work); otherwise the cause that takes most core
    time, of equal ones that of higher priority; ``idle`` if there is no time at all.
    """
    if work["seconds"] <= 0:
        return BOUND_NAMES["idle"]
    core_cycles = sum(work[field] for field in CAUSE_FIELDS) or 1.0
    rates = {
        "matrix": max(
            2 * work["macs"] / peaks.tensor_flops_per_second, work["seconds"] * work["matrix_cycles"] / core_cycles
        ),
        "vector": 2 * work["vector_ops"] / peaks.vector_flops_per_second,
        "l2_noc": work["l2_bytes"] / peaks.l2_bytes_per_second,
        "dram": (work["dram_read_bytes"] + work["dram_write_bytes"]) / peaks.dram_bytes_per_second,
        "link": work["link_bytes"] / peaks.link_bytes_per_second,
    }
    busiest = max(rates, key=lambda name: rates[name])
    if rates[busiest] >= BUSY * work["seconds"]:
        return BOUND_NAMES[busiest]
    return BOUND_NAMES[STALL_CAUSES[int(np.argmax([work[field] for field in CAUSE_FIELDS]))]]
