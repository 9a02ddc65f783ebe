"""Constants of the ``tile`` fidelity: measured service times in picoseconds, and the controller's queues."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uarch.arrays import FloatArray, IntArray
from uarch.dram.channels.measured_service import LARGEST_SET, service_ticks
from uarch.dram.channels.placement import Placement
from uarch.dram.controller.addresses import AddressMapping
from uarch.dram.controller.options import ControllerOptions, check_options
from uarch.dram.standards.speed_grade import at_bandwidth
from uarch.dram.standards.standard import Standard
from uarch.picoseconds import duration_ps, rate_of

_FAR_AWAY_PS = 2**61


class TileTiming(NamedTuple):
    """Constants of the model; times in picoseconds, arrays int64; the last axis is bursts unless they say otherwise."""

    place: Placement
    locations: IntArray
    """Location of each burst: see :meth:`uarch.dram.controller.addresses.AddressMapping.tables`."""
    bank_sets: IntArray
    """Set of banks by bank."""
    stacks: IntArray
    """Stack ID by set of banks."""
    set_bits: int
    """Bits of a burst's index within a set of rows."""
    set_banks: int
    bursts: int
    """Number of bursts of a channel, a power of two."""
    burst_bytes: int
    byte: int
    """Rate of one channel's data bus: see :mod:`uarch.picoseconds`."""
    queue: int
    """Bursts of reads among which a channel chooses, and of writes."""
    high_bursts: int
    """High watermark of the write queue: writes are served once more bursts than this are queued."""
    low_bursts: int
    """Low watermark of the write queue: writes are served until fewer bursts than this are queued."""
    run_ps: IntArray
    opening_ps: IntArray
    """Picoseconds from a visit's turn to its first command, by closed banks and other open rows; shape ``(2, set + 1)``."""
    recovery_ps: IntArray
    """Picoseconds from the end of a read or write visit to commands in other rows of its banks; shape ``(2, set + 1)``."""
    closing_ps: IntArray
    """Picoseconds from the end of a read or write to when its row can be closed; shape ``(2,)``."""
    turnaround_ps: IntArray
    """Picoseconds in which the bus turns round to reads and to writes; shape ``(2,)``."""
    stack_ps: int
    """Picoseconds between reads of different stack IDs."""
    pipeline_ps: int
    """Picoseconds from the end of a visit's service to its last data."""
    write_queue_ps: int
    """Picoseconds of as many bursts as the write queue holds."""
    refresh_ps: int
    refresh_interval_ps: int
    refresh_closes: int
    """Whether a refresh closes all rows, 0 or 1."""
    latency_ps: int
    """Controller and interconnect, beyond the DRAM's own timing."""
    lookahead_ps: int
    """No read completes earlier than this after it was asked for."""

    @property
    def units(self) -> int:
        """Independent channels."""
        return self.place.channels


def lower_tile_channels(
    standard: Standard,
    place: Placement,
    *,
    mapping: str,
    options: ControllerOptions,
    bytes_per_second: float,
    latency_ps: int,
) -> TileTiming:
    """Channels of a standard that move ``bytes_per_second`` each; ``mapping`` may be ``interleaved``.

    Raises :class:`InputError` if the standard does not have the mapping or the refresh.
    """
    check_options(standard, options)
    grade, tick = at_bandwidth(standard, bytes_per_second, options.refresh)
    address_mapping = AddressMapping(grade, mapping)
    set_bits, bank_sets = address_mapping.row_sets(LARGEST_SET)
    ticks = service_ticks(grade, mapping, options)
    interval = {"all": grade.timing.nREFI, "bank": grade.timing.nREFIpb, "none": 0}[options.refresh]
    ps, ticks_per_clock = tick / 2**20, grade.command_bus.ticks_per_clock
    banks_per_stack = grade.banks // grade.organisation.stack_ids

    def picoseconds(values: FloatArray) -> IntArray:
        rounded: IntArray = np.round(values * ps).astype(np.int64)
        return rounded

    pipeline_ps = round(ticks.pipeline * ps)
    return TileTiming(
        place=place,
        locations=address_mapping.tables(),
        bank_sets=bank_sets,
        stacks=np.array(
            [np.argmax(bank_sets == number) // banks_per_stack for number in range(int(bank_sets.max()) + 1)]
        ),
        set_bits=set_bits,
        set_banks=grade.banks // (int(bank_sets.max()) + 1),
        bursts=grade.capacity_bytes // grade.burst_bytes,
        burst_bytes=grade.burst_bytes,
        byte=rate_of(bytes_per_second),
        queue=options.queue,
        high_bursts=options.queue * options.write_high_percent // 100,
        low_bursts=-(-options.queue * options.write_low_percent // 100),
        run_ps=picoseconds(ticks.run),
        opening_ps=picoseconds(ticks.opening),
        recovery_ps=picoseconds(ticks.recovery),
        closing_ps=picoseconds(_closing_ticks(grade)),
        turnaround_ps=picoseconds(ticks.turnaround),
        stack_ps=round(max(0, grade.timing.nCCD_R - max(grade.timing.nBL, grade.timing.nCCD_S)) * ticks_per_clock * ps),
        pipeline_ps=pipeline_ps,
        write_queue_ps=duration_ps(options.queue * grade.burst_bytes, rate_of(bytes_per_second)),
        refresh_ps=round(ticks.refresh * ps),
        refresh_interval_ps=round(interval * ticks_per_clock * ps) if interval else _FAR_AWAY_PS,
        refresh_closes=int(options.refresh == "all"),
        latency_ps=latency_ps,
        lookahead_ps=latency_ps + pipeline_ps,
    )


def _closing_ticks(standard: Standard) -> FloatArray:
    timing = standard.timing
    after_command = np.array([timing.nRTP, timing.nCWL + timing.nBL + timing.nWR], dtype=np.float64)
    return (after_command - max(timing.nBL, timing.nCCD_S)) * standard.command_bus.ticks_per_clock
