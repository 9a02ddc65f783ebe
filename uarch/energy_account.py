"""Energy of a kernel: counted events times the chip's energy table, plus static power times time."""

from __future__ import annotations

from uarch.chip import Chip
from uarch.energy import load_energy_table
from uarch.engine import KernelResult
from uarch.events import COMPONENTS, Event

_JOULES_PER_PJ = 1e-12


def energy_joules(chip: Chip, result: KernelResult, dtype: str) -> dict[str, float]:
    """Joules by component (the keys are ``uarch.events.COMPONENTS``) of one execution with matrix work in ``dtype``."""
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
    joules = {component: picojoules[component] * _JOULES_PER_PJ for component in COMPONENTS if component != "static"}
    return joules | {"static": chip.power.static_watts * result.seconds}
