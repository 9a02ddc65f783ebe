"""Schema of an energy table: what each kind of event costs at a technology node, with source and range."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from uarch.chip.voltage import VoltageFrequency
from uarch.datatypes import MATRIX_DATATYPES, MatrixDatatype
from uarch.errors import InputError, unknown_name
from uarch.files.frozen_table import FrozenTable
from uarch.files.interpolation import log_log
from uarch.files.section import Section
from uarch.files.sourced import EventEnergy, Factor, Points, Positive, Source, Watts


class SramEnergy(Section):
    """One byte read from or written to an SRAM macro, by capacity and port width."""

    capacity_bytes: Points
    pj: Points
    low: Points
    high: Points
    port_bytes: Positive
    """Width of the port that the values are for."""
    port_exponent: Annotated[float, Field(ge=-1, le=0)]
    """Energy per byte is proportional to this power of the port's width: word lines and decoders are shared."""
    source: Source

    @model_validator(mode="after")
    def _columns(self) -> SramEnergy:
        lengths = [len(column) for column in (self.capacity_bytes, self.pj, self.low, self.high)]
        if len(set(lengths)) > 1:
            raise ValueError(f"must have as many capacity_bytes, pj, low and high, not {lengths}")
        if not all(low <= pj <= high for low, pj, high in zip(self.low, self.pj, self.high, strict=True)):
            raise ValueError("must have low <= pj <= high at every capacity")
        return self

    def per_byte(self, capacity_bytes: float, port_bytes: float) -> EventEnergy:
        """Energy of one byte of a macro of this capacity through a port of this width."""
        width = (port_bytes / self.port_bytes) ** self.port_exponent
        pj, low, high = (
            width * log_log(self.capacity_bytes, column, capacity_bytes) for column in (self.pj, self.low, self.high)
        )
        return EventEnergy(pj=pj, low=low, high=high, source=self.source)


class MultiplyEnergies(FrozenTable[EventEnergy]):
    """Energy by datatype of the systolic arrays."""

    FIELD_NAMES = MATRIX_DATATYPES
    KEY = MatrixDatatype
    VALUE = EventEnergy


class EnergyTable(Section):
    """Energy of every kind of event that the simulator counts, and static power; dynamic energies at nominal voltage."""

    name: str
    description: str
    process_nm: Positive
    voltage: VoltageFrequency
    """Supply for which dynamic energies are stated, and what clocks need."""
    matrix_mac: MultiplyEnergies
    """One multiply-accumulate of a systolic array with its operand and accumulator registers, operands being random."""
    matrix_mac_padding: Factor
    """A multiply-accumulate with an operand of zeros, such as a row that pads a tile, over one of random operands."""
    vector_op: EventEnergy
    """One fp32 operation of a vector lane: the arithmetic alone."""
    special_op: EventEnergy
    """One special-function result, without registers and without its instruction."""
    instruction_lane: EventEnergy
    """One lane's share of fetching, decoding, scheduling and issuing an instruction, and of collecting its operands."""
    register_byte: EventEnergy
    """One byte read from or written to the vector registers."""
    sram: SramEnergy
    """One byte of an SRAM macro; a bank of L1 is one, and so is a slice of L2."""
    l1_factor: Factor
    """L1 over its macros: wires and the crossbar between banks and lanes."""
    l2_factor: Factor
    """L2 over its macros: tags, ECC, queues, wires in the slice."""
    noc_byte_mm: EventEnergy
    """One byte over one mm of wire."""
    noc_factor: Factor
    """Network between a core and an L2 slice over its wires: requests and headers, switches, pipeline registers and ECC."""
    dram_device: dict[str, Factor]
    """Energy of DRAM commands over what the currents of the standard say, by memory technology."""
    dram_interface_byte: dict[str, EventEnergy]
    """One byte through PHY and controller of the chip, by memory technology."""
    link_byte: EventEnergy
    """One byte on the chip-to-chip link, both ends."""
    leakage_per_mm2: Watts
    """Leakage of a square millimetre at nominal voltage, the die being as cool as its coolant."""
    leakage_per_kelvin: Factor
    """Growth of leakage by kelvin."""
    clock_tree_per_mm2_ghz: Watts
    """Clock distribution of an idle chip, whose units gate theirs, by square millimetre and GHz at nominal voltage.

    The energies of events include what the clocks of the units take.
    """

    l1_byte: EventEnergy | None = None
    """One byte of L1, whatever its size; if absent, from ``sram`` and ``l1_factor``."""
    l2_byte: EventEnergy | None = None
    """One byte of L2, whatever its size; if absent, from ``sram`` and ``l2_factor``."""
    noc_byte: EventEnergy | None = None
    """One byte between a core and an L2 slice, whatever the distance; if absent, from ``noc_byte_mm``."""
    dram_byte: EventEnergy | None = None
    """One byte read or written, interface included; if absent, from the DRAM standard's currents."""

    @property
    def direct_events(self) -> list[str]:
        """Events that a table may state outright instead of what they are made of."""
        return [name for name, field in type(self).model_fields.items() if not field.is_required()]

    @property
    def entries(self) -> dict[str, EventEnergy | Factor | Watts | SramEnergy]:
        """Every value by its name, such as ``vector_op`` or ``matrix_mac.fp16``."""
        found: dict[str, EventEnergy | Factor | Watts | SramEnergy] = {}
        for field in type(self).model_fields:
            section = getattr(self, field)
            if isinstance(section, EventEnergy | Factor | Watts | SramEnergy):
                found[field] = section
            elif isinstance(section, FrozenTable | dict):
                found |= {f"{field}.{part}": value for part, value in section.items()}
        return found

    def entry(self, name: str) -> Any:
        """One value with range and source; ``InputError`` if there is none of that name."""
        if name not in self.entries:
            raise InputError(f"energy table {self.name}: no entry {name!r}; {unknown_name(name, list(self.entries))}")
        return self.entries[name]
