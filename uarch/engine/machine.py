"""Lowering: from a chip file to the few integers that the engine computes with.

Time is integer picoseconds; rates (``*_cycle``, ``*_byte``, ``*_op``) are integers as :mod:`uarch.picoseconds` has them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from uarch.chip.schema import Chip, Memory
from uarch.dram.channels.burst import lower_burst_channels
from uarch.dram.channels.interface import DramTiming
from uarch.dram.channels.placement import placement
from uarch.dram.channels.tile_timing import lower_tile_channels
from uarch.dram.controller.options import ControllerOptions
from uarch.dram.standards.standard import STANDARDS, load_standard
from uarch.errors import InputError
from uarch.picoseconds import picoseconds, rate_of
from uarch.program.records import GRANULE_BYTES
from uarch.systolic.cycles import Dataflow


class Machine(NamedTuple):
    """A chip as the engine sees it, for one datatype of the systolic arrays.

    Times end in ``_ps``. Fields named after one unit of work (``array_cycle``, ``vector_op``, ``l1_byte`` ...) are the time
    that one takes, as a rate of :mod:`uarch.picoseconds`.
    """

    cores: int
    max_resident_blocks: int
    kernel_launch_ps: int
    matrix_launch_ps: int
    block_launch_ps: int
    step_gap_ps: int
    lanes: int
    rows: int
    cols: int
    register_tile: int
    """Edge of a tile whose operands a lane reads into registers; 0: arrays read L1."""
    dataflow: int
    mac_stages: int
    array_cycle: int
    """Time of a cycle in which every PE does one MAC of the program's datatype."""
    vector_op: int
    """Time of one lane-operation of the whole core."""
    special_op: int
    l1_bytes: int
    l1_byte: int
    l1_latency_ps: int
    register_bytes: int
    noc_read_byte: int
    noc_write_byte: int
    multicast_cores: int
    """Neighbouring cores that share one response of L2 when they ask for the same granule."""
    multicast_ps: int
    """Picoseconds for which a response still serves a neighbour after it was sent."""
    l2_groups: int
    l2_group_bytes: int
    l2_partitions: int
    """Parts of L2, each of which serves as large a part of the cores."""
    l2_group_byte: int
    l2_latency_ps: int
    l2_eager: int
    """Whether granules are written back as soon as they are complete, 0 or 1."""
    link_byte: int
    link_latency_ps: int


@lru_cache(maxsize=256)
def lower(chip: Chip, dtype: str) -> Machine:
    """The machine of a chip for matrix work in ``dtype``.

    Raises :class:`InputError` if the chip's arrays do not support the datatype.
    """
    rates = chip.core.systolic.macs_per_pe_per_cycle
    if dtype not in rates:
        raise InputError(
            f"dtype = {dtype!r}: {chip.name} has no matrix rate for it; allowed: {', '.join(sorted(rates))}"
        )
    core, clock, l2 = chip.core, chip.clock, chip.l2
    stripe = max(1, GRANULE_BYTES // l2.interleave_bytes)
    groups = max(1, l2.slices // stripe)
    overhead = (chip.link.payload_bytes + chip.link.header_bytes) / chip.link.payload_bytes
    return Machine(
        cores=core.count,
        max_resident_blocks=core.max_resident_blocks,
        kernel_launch_ps=picoseconds(chip.launch.kernel_seconds),
        matrix_launch_ps=picoseconds(chip.launch.matrix_kernel_seconds),
        block_launch_ps=picoseconds(core.block_launch_seconds),
        step_gap_ps=picoseconds(core.step_gap_cycles / clock.tensor_hz),
        lanes=core.lanes,
        rows=core.systolic.rows,
        cols=core.systolic.cols,
        register_tile=core.systolic.register_tile,
        dataflow=int(Dataflow[core.systolic.dataflow.upper()]),
        mac_stages=core.systolic.mac_stages,
        array_cycle=rate_of(clock.tensor_hz * rates[dtype]),
        vector_op=rate_of(clock.vector_hz * core.lanes * core.vector.width),
        special_op=rate_of(clock.vector_hz * core.lanes * core.vector.special_width),
        l1_bytes=core.l1.bytes,
        l1_byte=rate_of(clock.tensor_hz * core.l1.banks * core.l1.bank_bytes),
        l1_latency_ps=picoseconds(core.l1.latency_cycles / clock.tensor_hz),
        register_bytes=core.register_bytes,
        noc_read_byte=rate_of(clock.l2_hz * chip.noc.read_bytes_per_cycle_per_core),
        noc_write_byte=rate_of(clock.l2_hz * chip.noc.write_bytes_per_cycle_per_core),
        multicast_cores=chip.noc.multicast_cores,
        multicast_ps=picoseconds(max(l2.latency_seconds, chip.noc.multicast_seconds)),
        l2_groups=groups,
        l2_group_bytes=l2.bytes // groups,
        l2_partitions=l2.partitions,
        l2_group_byte=rate_of(chip.l2_bytes_per_second / groups),
        l2_latency_ps=picoseconds(l2.latency_seconds),
        l2_eager=int(chip.writes_back_eagerly),
        link_byte=rate_of(chip.link.bandwidth_bytes_per_second / overhead),
        link_latency_ps=picoseconds(chip.link.latency_seconds),
    )


def lower_dram(chip: Chip, fidelity: str, check_share: float = 0.0) -> DramTiming:
    """The chip's memory behind the engine's DRAM interface, at the fidelity ``tile`` or ``burst``.

    ``check_share``: check bytes that are moved with each byte (:mod:`uarch.engine.inline_ecc`).

    Raises :class:`InputError` if the standard does not have the chip's address mapping or refresh.
    """
    return _lower_dram(chip.memory, fidelity, check_share, STANDARDS.stamp(chip.memory.standard))


@lru_cache(maxsize=256)
def _lower_dram(memory: Memory, fidelity: str, check_share: float, stamp: str) -> DramTiming:
    lower_channels = lower_burst_channels if fidelity == "burst" else lower_tile_channels
    return lower_channels(
        load_standard(memory.standard),
        placement(memory.channels, memory.interleave_bytes, memory.channel_hash == "xor"),
        mapping=memory.mapping,
        options=ControllerOptions(refresh=memory.refresh_mode, queue=memory.queue),
        bytes_per_second=memory.bandwidth_bytes_per_second / (1 + check_share) / memory.channels,
        latency_ps=picoseconds(memory.latency_seconds),
    )
