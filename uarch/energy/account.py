"""Energy of a kernel: counted events times their energies on the chip, plus static and background power times time."""

from __future__ import annotations

from typing import NamedTuple

from uarch.chip.schema import Chip
from uarch.energy.per_event import COMPONENT_OF_EVENT, event_energies
from uarch.energy.static_power import dram_background_watts, static_power, static_watts
from uarch.engine.execute import KernelResult
from uarch.events import COMPONENTS, Event

OWN_SUPPLY = ("dram", "link")
"""Components whose voltage does not follow the core clock."""

_JOULES_PER_PJ = 1e-12


class Range(NamedTuple):
    """Ends of the range that a quantity could lie in."""

    low: float
    high: float


def event_counts(result: KernelResult, useful_macs: int | None = None) -> dict[str, int]:
    """How often each event of ``COMPONENT_OF_EVENT`` occurred.

    Multiply-accumulates beyond the ``useful_macs`` that the operator asks for have a row or column of zeros, or a masked score,
    for an operand; None: all are useful. What L2 reads from memory is written into its slices before cores read it, and what it
    writes back is read from them.
    """
    macs = result.count(Event.MACS)
    useful = macs if useful_macs is None else min(macs, useful_macs)
    return {
        "matrix_mac": useful,
        "padding_mac": macs - useful,
        "vector_op": result.count(Event.VECTOR_OPS),
        "special_op": result.count(Event.SPECIAL_OPS),
        "l1_byte": result.count(Event.L1_BYTES),
        "l2_byte": result.l2_bytes + result.dram_bytes,
        "noc_byte": min(result.l2_bytes, result.count(Event.NOC_BYTES)),
        "noc_copy_byte": max(0, result.count(Event.NOC_BYTES) - result.l2_bytes),
        "dram_read_byte": result.count(Event.DRAM_READ_BYTES),
        "dram_write_byte": result.count(Event.DRAM_WRITE_BYTES),
        "dram_activate": result.count(Event.DRAM_ROW_MISSES),
        "dram_refresh": result.count(Event.DRAM_REFRESHES),
        "link_byte": result.count(Event.LINK_BYTES),
    }


def dynamic_joules(chip: Chip, result: KernelResult, dtype: str, useful_macs: int | None = None) -> dict[str, float]:
    """Joules by component of what one execution did, with memory's background and without static power.

    ``result.point`` says at which voltage; parameters as of :func:`energy_joules`.
    """
    energies, point = event_energies(chip, dtype), result.point
    joules = dict.fromkeys(COMPONENTS, 0.0)
    for event, count in event_counts(result, useful_macs).items():
        component = COMPONENT_OF_EVENT[event]
        voltage = 1.0 if component in OWN_SUPPLY else point.core_energy
        joules[component] += count * energies[event].pj * voltage * _JOULES_PER_PJ
    joules["dram"] += dram_background_watts(chip) * result.seconds
    return joules


def energy_joules(chip: Chip, result: KernelResult, dtype: str, useful_macs: int | None = None) -> dict[str, float]:
    """Joules at the chip, by component (the keys are ``uarch.events.COMPONENTS``), of one execution.

    Parameters
    ----------
    chip
        The chip, whose energy table has the energies of events at nominal voltage.
    result
        The execution; its ``point`` says at which clock and voltage.
    dtype
        Datatype of matrix work.
    useful_macs
        Multiply-accumulates that the operator asks for, of those that the arrays execute; None: all.
    """
    joules = dynamic_joules(chip, result, dtype, useful_macs)
    if result.seconds:
        watts = static_watts(chip, result.point, sum(joules.values()) / result.seconds)
        joules["static"] = watts * result.seconds
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
