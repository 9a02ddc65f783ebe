"""Mechanisms of the simulator that can be taken away from a chip one at a time, to see which of them a model lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from uarch.chip.schema import Chip

PLENTY_OF_BYTES = 1e5
"""Per cycle: more than any core or slice can use."""


class Mechanism(NamedTuple):
    """What is taken away, and the fields of the chip by which that is done."""

    name: str
    lacking: str
    """What a model does not have if this explains its error."""
    fields: Mapping[str, Any]


def mechanisms(chip: Chip) -> list[Mechanism]:
    """All that can be taken away from ``chip``; not what it does not have."""
    return [each for each in _known(chip) if without(chip, each) != chip]


def _known(chip: Chip) -> list[Mechanism]:
    return [
        Mechanism(
            "L2 and network bandwidth",
            "a limit to what L2 and the cores' ports deliver",
            {
                "l2.bytes_per_cycle_per_slice": PLENTY_OF_BYTES,
                "noc.read_bytes_per_cycle_per_core": PLENTY_OF_BYTES,
                "noc.write_bytes_per_cycle_per_core": PLENTY_OF_BYTES,
            },
        ),
        Mechanism(
            "latency of L2 and DRAM",
            "the time that the first bytes take",
            {"l2.latency_seconds": 0.0, "memory.latency_seconds": 0.0, "core.l1.latency_cycles": 0},
        ),
        Mechanism(
            "DRAM bandwidth",
            "a memory that limits, with refresh and row misses",
            {
                "memory.bandwidth_bytes_per_second": 16 * chip.memory.bandwidth_bytes_per_second,
                "memory.refresh": "none",
            },
        ),
        Mechanism(
            "launches on the device",
            "the time to start a kernel on the chip and a block on a core",
            {
                "core.block_launch_seconds": 0.0,
                "launch.kernel_seconds": 0.0,
                "launch.matrix_kernel_seconds": 0.0,
            },
        ),
        Mechanism("gaps between steps", "the barriers between a core's steps", {"core.step_gap_cycles": 0}),
        Mechanism("tiles of a library", "that a library has few shapes of tiles", {"mapping": "search"}),
        Mechanism("power cap", "the clock that the power allows", {"power.cap": False}),
        Mechanism("L1 bandwidth", "a limit to what L1 feeds the arrays", {"core.l1.bank_bytes": 1024}),
        Mechanism(
            "separate L2 responses",
            "that cores fetch the same data one by one",
            {"noc.multicast_cores": chip.core.count},
        ),
        Mechanism(
            "vector units",
            "that softmax and epilogues take time on the vector units",
            {"core.vector.width": 4096, "core.vector.special_width": 4096.0},
        ),
    ]


def without(chip: Chip, mechanism: Mechanism) -> Chip:
    """The chip with a mechanism taken away."""
    data = chip.model_dump()
    for path, value in mechanism.fields.items():
        *tables, field = path.split(".")
        table = data
        for part in tables:
            table = table[part]
        table[field] = value
    return Chip.model_validate(data)
