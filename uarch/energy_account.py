"""Energy of a kernel: counted events times the chip's energy table, plus static power times time."""

from __future__ import annotations

from uarch.chip import Chip
from uarch.energy import load_energy_table
from uarch.engine import KernelResult
from uarch.events import Event

OWN_SUPPLY = ("dram", "link")
"""Components whose voltage does not follow the core clock."""

_JOULES_PER_PJ = 1e-12


def energy_joules(chip: Chip, result: KernelResult, dtype: str) -> dict[str, float]:
    """Joules by component (the keys are ``uarch.events.COMPONENTS``) of one execution with matrix work in ``dtype``.

    At the voltage of the result's operating point: that of the energy table unless the power cap set another.
    """
    table = load_energy_table(chip.energy.table)
    technology = chip.memory.technology
    l2_bytes = result.count(Event.L2_READ_BYTES) + result.count(Event.L2_WRITE_BYTES)
    picojoules = {
        "matrix": result.count(Event.MACS) * table.value(f"matrix_mac.{dtype}"),
        "vector": result.count(Event.VECTOR_OPS) * table.value("vector_op")
        + result.count(Event.SPECIAL_OPS) * table.value("special_op"),
        "l1": result.count(Event.L1_BYTES) * table.value("l1_byte"),
        "l2": l2_bytes * table.value("l2_byte"),
        "noc": result.count(Event.NOC_BYTES) * table.value("noc_byte"),
        "dram": result.dram_bytes * table.value(f"dram_byte.{technology}")
        + result.count(Event.DRAM_ROW_MISSES)
        * result.channels_per_activate
        * table.value(f"dram_activate.{technology}"),
        "link": result.count(Event.LINK_BYTES) * table.value("link_byte"),
    }
    point = result.point
    joules = {
        component: pj * _JOULES_PER_PJ * (1 if component in OWN_SUPPLY else point.core_energy)
        for component, pj in picojoules.items()
    }
    return joules | {"static": chip.power.static_watts * point.static_power * result.seconds}
