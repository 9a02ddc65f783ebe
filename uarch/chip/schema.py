"""A chip as data: the schema of ``uarch/chips/*.toml`` and the peaks that follow from it.

Sizes in bytes are binary (1 KB of L1 = 1024 bytes), capacities of device memory are GiB, rates are SI. All sections are
frozen, hashable and picklable; :mod:`uarch.chip_file` reads them from files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, Strict, ValidationInfo, field_validator

from uarch.chip.die import Cost, Die
from uarch.chip.power import Power
from uarch.datatypes import MATRIX_DATATYPES, MatrixDatatype
from uarch.dram.standards.standard import STANDARDS, load_standard
from uarch.dram.standards.technology import load_technology
from uarch.errors import InputError
from uarch.files.frozen_table import FrozenTable
from uarch.files.section import Section, Whole

Dataflow = Literal["os", "ws", "is"]
Rate = Annotated[float, Field(ge=1e-3, le=64)]


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("must be a power of two")
    return value


class DatatypeRates(FrozenTable[float]):
    """Rates by datatype; one that is absent is not supported."""

    FIELD_NAMES = MATRIX_DATATYPES
    KEY = MatrixDatatype
    VALUE = Rate


Count = Annotated[Whole, Field(ge=1, le=1 << 20)]
Bytes = Annotated[Whole, Field(ge=1, le=1 << 40)]
Interleave = Annotated[Whole, Field(ge=32, le=1 << 20), AfterValidator(_power_of_two)]
Cycles = Annotated[Whole, Field(ge=0, le=1_000_000)]
Hertz = Annotated[float, Field(ge=1e6, le=1e11)]
BytesPerSecond = Annotated[float, Field(ge=1e6, le=1e16)]
BytesPerCycle = Annotated[float, Field(ge=1e-3, le=1e6)]
Seconds = Annotated[float, Field(ge=0, le=1)]
FileName = Annotated[str, Field(min_length=1, max_length=1000)]
"""Name of a file that comes with the package, or path of a user's own."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=80)]

LARGEST_LIBRARY_TILE = 128 * 256
"""Results of a block of CUTLASS's largest default tile."""


class Clock(Section):
    """Clock domains; memory and link have rates of their own."""

    tensor_hz: Hertz
    """Systolic arrays and L1."""
    vector_hz: Hertz
    """Vector and special-function units."""
    l2_hz: Hertz
    """L2 slices and NoC."""
    max_tensor_hz: Hertz | None = None
    """Limit up to which all clocks rise, by one factor, when the power cap leaves room; ``tensor_hz`` if that is higher."""


class Systolic(Section):
    """One systolic array; a core has one per lane."""

    rows: Annotated[Whole, Field(ge=1, le=4096)]
    cols: Annotated[Whole, Field(ge=1, le=4096)]
    dataflow: Dataflow
    mac_stages: Annotated[Whole, Field(ge=1, le=64)]
    """Pipeline stages of a multiply-accumulate: cycles from one PE's output to the next's."""
    macs_per_pe_per_cycle: DatatypeRates
    """Rate of one PE by datatype; one that is absent is not supported."""
    register_tile: Annotated[Whole, Field(ge=0, le=4096)] = 0
    """Edge of the largest part of a tile whose operands the threads of a lane read from L1 into registers for themselves, each
    once for the whole part. 0: arrays read L1, and lanes that need the same operand share what is read."""
    weight_sparsity: Annotated[str, Field(pattern=r"^(none|[1-9][0-9]?:[1-9][0-9]?)$")] = "none"
    """N:M structure of weights whose zeros the arrays skip, such as ``2:4``."""


class Vector(Section):
    """Vector unit of one core lane."""

    width: Annotated[Whole, Field(ge=1, le=4096)]
    """fp32 fused multiply-adds per cycle."""
    special_width: Annotated[float, Field(ge=1e-3, le=4096)]
    """Special-function results (exp, rsqrt, tanh, reciprocal) per cycle."""
    issue_width: Annotated[float | None, Field(ge=1e-3, le=4096)] = None
    """Lanes for which an instruction of any kind is issued per cycle; ``width`` if absent."""


class L1(Section):
    """Banked scratchpad of one core."""

    bytes: Annotated[Bytes, Field(ge=1024)]
    banks: Annotated[Whole, Field(ge=1, le=1024)]
    bank_bytes: Annotated[Whole, Field(ge=1, le=1024)]
    """Bytes per bank and tensor cycle."""
    latency_cycles: Cycles
    keeps_loads: bool = True
    """Whether what blocks do not reserve is a cache (:mod:`uarch.engine.l1_cache`); false for a scratchpad alone."""


class Core(Section):
    """Core (SM) with its lanes (sub-cores)."""

    count: Annotated[Whole, Field(ge=1, le=65536)]
    lanes: Annotated[Whole, Field(ge=1, le=64)]
    max_resident_blocks: Annotated[Whole, Field(ge=1, le=1024)]
    block_launch_seconds: Seconds
    """Cost of starting a block on a core."""
    step_gap_cycles: Cycles = 150
    """Tensor cycles after a matrix step of a block in which its threads meet at a barrier and fetch the next operands from
    L1; other resident blocks can use the arrays. Assumed, 30 (L1's latency alone) to 300; 0 for decoupled arrays."""
    max_threads: Annotated[Whole, Field(ge=1, le=1 << 16)] = 2048
    """Threads of all blocks that a core holds."""
    register_bytes: Annotated[Bytes, Field(ge=1024)]
    """Register file of a core, which holds accumulators and other slots."""
    systolic: Systolic
    vector: Vector
    l1: L1


class Launch(Section):
    """Costs of a kernel on the device besides its blocks: the front end before the first one, draining after the last.

    The defaults are rules common to all chips, from the shortest kernels that profilers report (1 to 2 us for one pass over a
    few KB, 4 to 6 us for small matrix products, on GPUs of 2020 to 2023).
    """

    kernel_seconds: Seconds = 1.3e-6
    """Time that every kernel costs."""
    matrix_kernel_seconds: Seconds = 1.5e-6
    """Time that kernels which use the arrays cost on top: more code to fetch, descriptors and pipelines to set up."""


class L2(Section):
    """Global buffer, in address-interleaved slices."""

    bytes: Annotated[Bytes, Field(ge=1 << 16)]
    slices: Annotated[Whole, Field(ge=1, le=4096)]
    bytes_per_cycle_per_slice: BytesPerCycle
    interleave_bytes: Interleave
    partitions: Annotated[Whole, Field(ge=1, le=64)] = 1
    """Parts of L2, each of which caches what its share of the cores uses: a row takes a place in every one that uses it."""
    eager_write_back: bool | None = None
    """Whether a granule goes to memory as soon as all its rows are written, or only when it must make room; if absent, it
    does on ``silicon``."""
    latency_seconds: Seconds
    """Core to L2 and back on a hit, without the transfer."""


class Noc(Section):
    """Ports of the cores to the network between cores and L2, per L2 cycle."""

    read_bytes_per_cycle_per_core: BytesPerCycle
    write_bytes_per_cycle_per_core: BytesPerCycle
    multicast_cores: Annotated[Whole, Field(ge=1, le=65536)]
    """Neighbouring cores that share one response of L2 when they ask for the same data at the same time."""
    multicast_seconds: Seconds = 0.0
    """How far apart they may ask: at least L2's latency, in which the response is on its way; more where the first to ask has
    the data written into its neighbours' L1 as well, so that they may lag by as many stages as L1 holds."""


def _bus_bits(fields: Mapping[str, Any]) -> int:
    """Data pins of all channels of a standard."""
    width: int = load_standard(fields["standard"]).organisation.width_bits
    return width * int(fields["channels"])


class Memory(Section):
    """Device memory. What follows from the standard may be left out; where it is stated, it must agree."""

    standard: FileName
    """DRAM organisation and timings: a name of ``uarch/dram/standards``, such as ``hbm3-5200``, or the path of such a file."""
    technology: FileName = Field(default_factory=lambda fields: load_standard(fields["standard"]).technology)
    """Kind of memory, such as ``hbm3``: that of the standard."""
    bandwidth_bytes_per_second: BytesPerSecond
    capacity_gib: Annotated[float, Field(gt=0, le=65536)]
    packages: Annotated[Whole, Field(ge=1, le=256)]
    """Stacks of HBM, or packages of other memories."""
    channels: Annotated[Whole, Field(ge=1, le=4096)]
    """Independent channels or pseudo-channels of the whole chip: as many for each package, or packages that share one."""
    bus_bits: Annotated[Whole, Field(ge=1, le=1 << 17)] = Field(default_factory=_bus_bits)
    """Data pins of the whole bus: those of the standard's channel, times channels."""
    interleave_bytes: Interleave
    """Consecutive bytes in one channel."""
    channel_hash: Literal["xor", "none"] = "xor"
    """Whether channels are also chosen by a hash of the higher address bits."""
    mapping: Annotated[str, Field(min_length=1, max_length=80)] = "interleaved"
    """Address bits within a channel, such as ``ro-sid-ba^ro-co-bg``; ``interleaved``: the standard's own."""
    refresh: Literal["all", "bank", "none"] | None = None
    """How banks are refreshed; by default all together, and GDDR's at no cost: its controllers may refresh single banks in
    any order (JESD250), idle ones while others are read. HBM's streams lose what a refresh of all banks takes."""
    queue: Annotated[Whole, Field(ge=1, le=4096)] = 128
    """Entries of a channel's read queue, and of its write queue. Assumed, 64 (Accel-Sim's) to 256: GPUs' are not public."""
    latency_seconds: Seconds
    """Controller and interconnect, beyond the DRAM's own timing."""
    check_bytes_per_byte: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Check bytes kept among the data for each byte (:mod:`uarch.engine.inline_ecc`); 0 where devices have their own bits."""
    usable_fraction: Annotated[float, Field(gt=0, le=1)]
    """Part of the capacity that weights, KV cache and activations may take."""

    @field_validator("standard")
    @classmethod
    def _standard_exists(cls, standard: str) -> str:
        if not STANDARDS.knows(standard):
            raise ValueError(STANDARDS.unknown(standard))
        load_standard(standard)
        return standard

    @field_validator("technology")
    @classmethod
    def _technology_of_the_standard(cls, technology: str, info: ValidationInfo) -> str:
        standard = info.data.get("standard")
        if standard is not None and technology != (right := load_standard(standard).technology):
            raise ValueError(f"must be {right!r}, that of memory.standard = {standard!r}, or left out")
        return technology

    @field_validator("channels")
    @classmethod
    def _channels_of_packages(cls, channels: int, info: ValidationInfo) -> int:
        packages = info.data.get("packages", 1)
        if channels % packages and packages % channels:
            raise ValueError(f"must be a multiple of memory.packages = {packages}, or divide it")
        return channels

    @field_validator("bus_bits")
    @classmethod
    def _bus_of_channels(cls, bus_bits: int, info: ValidationInfo) -> int:
        if {"standard", "channels"} <= info.data.keys() and bus_bits != (right := _bus_bits(info.data)):
            channels = f"memory.channels = {info.data['channels']} of memory.standard = {info.data['standard']!r}"
            raise ValueError(f"must be {right}, that of {channels}, or left out")
        return bus_bits

    @property
    def refresh_mode(self) -> Literal["all", "bank", "none"]:
        """How banks are refreshed: ``refresh``, or what is usual for the technology."""
        return self.refresh or ("none" if load_technology(self.technology).refresh_is_hidden else "all")


class Link(Section):
    """Chip-to-chip (scale-up) link."""

    bandwidth_bytes_per_second: BytesPerSecond
    """One direction, whole chip."""
    latency_seconds: Seconds
    payload_bytes: Count
    header_bytes: Annotated[Whole, Field(ge=0, le=1 << 20)]


class Energy(Section):
    """Where the energy per event comes from."""

    table: FileName
    """Name of a table in ``uarch/energy/tables``, or path of one."""


class BlockModel(Section):
    """Assumptions about a chip of a paper's own kind of model (fidelity ``lltile``); the engine has mechanisms instead."""

    l2_read_bytes_per_cycle_per_core: BytesPerCycle = 1e5
    """Rate at which all cores together can read from L2, by core, shared reads counted once; by default slices alone limit."""


class Chip(Section):
    """Chip as data: the fields of a chip file, checked, and the peaks that follow from them.

    :func:`uarch.load_chip` makes one from a preset or a file; the README beside the presets explains the fields. A chip is
    frozen and can be hashed and pickled.

    Raises
    ------
    pydantic.ValidationError
        For a field that is missing, unknown, out of range or does not agree with others.

    Examples
    --------
    >>> import uarch
    >>> chip = uarch.load_chip("h100")
    >>> chip.core.count, chip.memory.standard
    (132, 'hbm3-5200')
    >>> round(chip.peak_flops("fp16") / 1e12)
    989
    """

    name: Name
    description: str
    kind: Literal["silicon", "model"]
    """``silicon``: public specification of a real chip; ``model``: a paper's chip with the paper's numbers."""
    process_nm: Annotated[float, Field(gt=0, le=1000)]
    sources: Annotated[tuple[str, ...], Strict(False)]
    clock: Clock
    core: Core
    l2: L2
    noc: Noc
    memory: Memory
    link: Link
    power: Power
    energy: Energy
    die: Die = Die()
    cost: Cost = Cost()
    launch: Launch = Launch()
    block_model: BlockModel = BlockModel()
    mapping: Literal["library", "search"] | None = None
    """Whose kernels it runs: those of a GPU vendor's libraries, or the best that fit. If left out, silicon has libraries,
    unless its arrays are too large for their tiles: such chips (TPUs) have a compiler that searches, as models have."""
    menu: FileName = "library"
    """The library's tiles: name of a menu in ``kernels/mapping/menus``, or path of one."""

    @property
    def uses_library(self) -> bool:
        """Whether kernels are cut and written as those of GPU libraries."""
        if self.mapping is not None:
            return self.mapping == "library"
        array = self.core.systolic
        return self.kind == "silicon" and self.core.lanes * array.rows * array.cols <= LARGEST_LIBRARY_TILE

    @property
    def power_capped(self) -> bool:
        """Whether the clock falls where the TDP would be exceeded."""
        return self.kind == "silicon" if self.power.cap is None else self.power.cap

    @property
    def writes_back_eagerly(self) -> bool:
        """Whether a granule of L2 goes to memory as soon as it is written (:attr:`L2.eager_write_back`)."""
        eager = self.l2.eager_write_back
        return self.kind == "silicon" if eager is None else eager

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Datatypes that the systolic arrays compute in."""
        return tuple(self.core.systolic.macs_per_pe_per_cycle)

    def macs_per_pe_per_cycle(self, dtype: str) -> float:
        """Multiply-accumulates of one PE per tensor cycle; ``InputError`` if the arrays do not support ``dtype``."""
        rates = self.core.systolic.macs_per_pe_per_cycle
        if dtype not in rates:
            raise InputError(f"dtype = {dtype!r}: not supported by chip {self.name}; allowed: {', '.join(rates)}")
        return rates[dtype]

    def peak_flops(self, dtype: str) -> float:
        """FLOP/s of all systolic arrays (2 per multiply-accumulate); ``InputError`` if ``dtype`` is not supported."""
        pes = self.core.count * self.core.lanes * self.core.systolic.rows * self.core.systolic.cols
        return 2 * pes * self.macs_per_pe_per_cycle(dtype) * self.clock.tensor_hz

    @property
    def peak_vector_flops(self) -> float:
        """FLOP/s in fp32 of all vector units (2 per fused multiply-add)."""
        return 2 * self.core.count * self.core.lanes * self.core.vector.width * self.clock.vector_hz

    @property
    def peak_special_ops_per_second(self) -> float:
        """Special-function results per second of all cores."""
        return self.core.count * self.core.lanes * self.core.vector.special_width * self.clock.vector_hz

    @property
    def l1_bytes_per_second(self) -> float:
        """Bytes per second between all L1s and their cores, without bank conflicts."""
        return self.core.count * self.core.l1.banks * self.core.l1.bank_bytes * self.clock.tensor_hz

    @property
    def l2_bytes_per_second(self) -> float:
        """Bytes per second that all L2 slices deliver."""
        return self.l2.slices * self.l2.bytes_per_cycle_per_slice * self.clock.l2_hz

    @property
    def on_chip_bytes(self) -> int:
        """L1 of all cores and L2."""
        return self.core.count * self.core.l1.bytes + self.l2.bytes

    @property
    def capacity_bytes(self) -> int:
        """Device memory in bytes (``capacity_gib`` x 2^30)."""
        return int(self.memory.capacity_gib * (1 << 30))

    @property
    def usable_bytes(self) -> int:
        """Device memory that weights, KV cache and activations may take."""
        return int(self.capacity_bytes * self.memory.usable_fraction)

    @property
    def bits_per_second_per_pin(self) -> float:
        """Data rate of one data pin of the memory bus."""
        return self.memory.bandwidth_bytes_per_second * 8 / self.memory.bus_bits
