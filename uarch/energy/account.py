"""Energy of a kernel: counted events times their energies on the chip, plus static and background power times time."""

from __future__ import annotations

from typing import NamedTuple

from uarch.chip.schema import Chip
from uarch.energy.per_event import COMPONENT_OF_EVENT, dram_background_watts, event_energies, static_power
from uarch.engine.execute import KernelResult
from uarch.events import COMPONENTS, Event

OWN_SUPPLY = ("dram", "link")
"""Components whose voltage does not follow the core clock."""

_JOULES_PER_PJ = 1e-12


class Range(NamedTuple):
    """Ends of the range that a quantity could lie in."""

    low: float
    high: float


def event_counts(result: KernelResult) -> dict[str, int]:
    """How often each event of ``COMPONENT_OF_EVENT`` occurred."""
    return {
        "matrix_mac": result.count(Event.MACS),
        "vector_op": result.count(Event.VECTOR_OPS),
        "special_op": result.count(Event.SPECIAL_OPS),
        "l1_byte": result.count(Event.L1_BYTES),
        "l2_byte": result.l2_bytes,
        "noc_byte": result.count(Event.NOC_BYTES),
        "dram_read_byte": result.count(Event.DRAM_READ_BYTES),
        "dram_write_byte": result.count(Event.DRAM_WRITE_BYTES),
        "dram_activate": result.count(Event.DRAM_ROW_MISSES),
        "dram_refresh": result.count(Event.DRAM_REFRESHES),
        "link_byte": result.count(Event.LINK_BYTES),
    }


def energy_joules(chip: Chip, result: KernelResult, dtype: str) -> dict[str, float]:
    """Joules by component (the keys are ``uarch.events.COMPONENTS``) of one execution with matrix work in ``dtype``.

    At the voltage of the result's operating point: that of the energy table unless the power cap set another.
    """
    energies, point = event_energies(chip, dtype), result.point
    joules = dict.fromkeys(COMPONENTS, 0.0)
    for event, count in event_counts(result).items():
        component = COMPONENT_OF_EVENT[event]
        voltage = 1.0 if component in OWN_SUPPLY else point.core_energy
        joules[component] += count * energies[event].pj * voltage * _JOULES_PER_PJ
    joules["dram"] += dram_background_watts(chip) * result.seconds
    joules["static"] = static_power(chip).watts * point.static_power * result.seconds
    return joules


def component_ranges(chip: Chip, dtype: str) -> dict[str, Range]:
    """Ends of the range of each component's energy, relative to the energy itself.

    The widest of the ranges of the events that a component counts; events of one component are taken to be wrong together.
    """
    static = static_power(chip)
    ranges = dict.fromkeys(COMPONENTS, Range(1.0, 1.0))
    parts = [(COMPONENT_OF_EVENT[event], (e.low, e.pj, e.high)) for event, e in event_energies(chip, dtype).items()]
    for component, (low, value, high) in [*parts, ("static", (static.low, static.watts, static.high))]:
        if value:
            before = ranges[component]
            ranges[component] = Range(min(before.low, low / value), max(before.high, high / value))
    return ranges
