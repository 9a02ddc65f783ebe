"""Power of a matrix product that keeps every array busy, as a sum on paper: the TDP that a chip's energies ask for."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

from uarch.chip.schema import Chip
from uarch.datatypes import datatype
from uarch.energy.per_event import event_energies
from uarch.energy.static_power import dram_background_watts, static_power
from uarch.files.sourced import EventEnergy

TILE_ROWS = 128
TILE_COLS = 256
"""Columns of an output tile, whose operands come from L2 once: the largest that libraries use."""
DRAM_SHARE = 1 / 3
"""Share of the memory bandwidth in use: about what a square product of 8192 reads and writes."""
_ROW_BYTES = 1024
_WATTS_PER_PJ_PER_SECOND = 1e-12


class PeakPower(NamedTuple):
    """Power with its range, watts."""

    watts: float
    low: float
    high: float


def peak_power(chip: Chip, dtype: str) -> PeakPower:
    """Chip and memory at the peak rate of ``dtype``, at the nominal clock and the energy table's voltage.

    At the voltage that their boost clock needs, real chips would draw more than their TDP; the power cap lowers their clock
    under such a load, and with it the voltage to about the table's.

    MACs at peak, L1 at its full bandwidth, L2 and network with what tiles of ``TILE_ROWS x TILE_COLS`` fetch up to the L2's
    bandwidth, the operand that neighbouring cores have in common once for all that share responses, ``DRAM_SHARE`` of the
    memory bandwidth, static power. Deviations of the parts add in squares.

    Raises :class:`uarch.InputError` if the arrays do not support ``dtype``.
    """
    energies, static = event_energies(chip, dtype), static_power(chip)
    macs = chip.peak_flops(dtype) / 2
    element_bytes = datatype(dtype).bits / 8
    fetched = macs * element_bytes * (1 / TILE_COLS + 1 / TILE_ROWS)
    copied = macs * element_bytes * (1 - 1 / chip.noc.multicast_cores) / TILE_ROWS
    from_l2 = min(fetched - copied, chip.l2_bytes_per_second)
    from_memory = DRAM_SHARE * chip.memory.bandwidth_bytes_per_second
    rates = {
        "matrix_mac": macs,
        "l1_byte": chip.l1_bytes_per_second,
        "l2_byte": from_l2 + from_memory,
        "noc_byte": from_l2,
        "noc_copy_byte": copied,
        "dram_read_byte": from_memory,
        "dram_activate": from_memory / _ROW_BYTES,
    }
    parts = [_power(energies[event], rate) for event, rate in rates.items()] + [
        PeakPower(static.watts, static.low, static.high)
    ]
    watts = sum(part.watts for part in parts) + dram_background_watts(chip)
    below = sqrt(sum((part.watts - part.low) ** 2 for part in parts))
    above = sqrt(sum((part.high - part.watts) ** 2 for part in parts))
    return PeakPower(watts, watts - below, watts + above)


def _power(energy: EventEnergy, events_per_second: float) -> PeakPower:
    per_pj = events_per_second * _WATTS_PER_PJ_PER_SECOND
    return PeakPower(energy.pj * per_pj, energy.low * per_pj, energy.high * per_pj)
