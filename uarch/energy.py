"""Energy per event: tables in ``uarch/energy_tables``, each value with its source and the range it could lie in.

The energy of a run is the sum over counted events plus the chip's static power times the time. Values are dynamic
energy: leakage, clock tree and DRAM background belong to ``power.static_watts`` of the chip.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from uarch.errors import InputError
from uarch.input_file import read_toml, unknown_name, validate
from uarch.voltage import VoltageFrequency

_TABLES = Path(__file__).parent / "energy_tables"
_DRAM_TABLE = "dram"

Picojoules = Annotated[float, Field(ge=0, le=1e9)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class EventEnergy(_Entry):
    """Energy of one event, pJ, with the range of what is published or plausible."""

    pj: Picojoules
    low: Picojoules
    high: Picojoules
    source: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _in_range(self) -> EventEnergy:
        if not self.low <= self.pj <= self.high:
            raise ValueError(f"must have low <= pj <= high, not {self.low} <= {self.pj} <= {self.high}")
        return self


class PerDatatype(_Entry):
    """One value per datatype of the systolic arrays."""

    fp32: EventEnergy
    tf32: EventEnergy
    fp16: EventEnergy
    bf16: EventEnergy
    fp8: EventEnergy
    int8: EventEnergy


class PerTechnology(_Entry):
    """One value per memory technology."""

    hbm2: EventEnergy
    hbm2e: EventEnergy
    hbm3: EventEnergy
    hbm3e: EventEnergy
    gddr6: EventEnergy
    gddr6x: EventEnergy
    gddr7: EventEnergy
    lpddr5x: EventEnergy


class EnergyTable(_Entry):
    """Energy of every kind of event that the simulator counts."""

    name: str
    description: str
    process_nm: Annotated[float, Field(gt=0, le=1000)]
    voltage: VoltageFrequency
    """Supply for which dynamic energies are stated, and what clocks need."""
    matrix_mac: PerDatatype
    """One multiply-accumulate of a systolic array, with its operand and accumulator registers."""
    vector_op: EventEnergy
    """One fp32 operation of a vector lane, with its registers and its share of the instruction."""
    special_op: EventEnergy
    """One special-function result."""
    l1_byte: EventEnergy
    """One byte read from or written to L1."""
    l2_byte: EventEnergy
    """One byte read from or written to an L2 slice."""
    noc_byte: EventEnergy
    """One byte between a core and an L2 slice."""
    dram_activate: PerTechnology
    """One row activation and its precharge."""
    dram_byte: PerTechnology
    """One byte read or written: DRAM device, interface on both sides, controller; without the activation."""
    link_byte: EventEnergy
    """One byte on the chip-to-chip link, both ends."""

    @property
    def events(self) -> list[str]:
        """Names that :meth:`value` accepts, such as ``vector_op`` or ``matrix_mac.fp16``."""
        names = []
        for field in type(self).model_fields:
            section = getattr(self, field)
            if isinstance(section, EventEnergy):
                names.append(field)
            elif isinstance(section, _Entry):
                names += [f"{field}.{part}" for part in type(section).model_fields]
        return names

    def entry(self, event: str) -> EventEnergy:
        """Energy, range and source of one event; ``InputError`` if there is no such event."""
        if event not in self.events:
            raise InputError(f"energy table {self.name}: no event {event!r}; {unknown_name(event, self.events)}")
        node: Any = self
        for part in event.split("."):
            node = getattr(node, part)
        assert isinstance(node, EventEnergy)
        return node

    def value(self, event: str) -> float:
        """Energy of one event in pJ; ``InputError`` if there is no such event."""
        return self.entry(event).pj


class Factor(_Entry):
    """Energy of a kind of circuit over that of the base table, with its range."""

    factor: Annotated[float, Field(gt=0, le=100)]
    low: Annotated[float, Field(gt=0, le=100)]
    high: Annotated[float, Field(gt=0, le=100)]
    source: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _in_range(self) -> Factor:
        if not self.low <= self.factor <= self.high:
            raise ValueError(f"must have low <= factor <= high, not {self.low} <= {self.factor} <= {self.high}")
        return self


class Scale(_Entry):
    """How a technology node differs from its base table."""

    logic: Factor
    sram: Factor
    wire: Factor


class ScaledTable(_Entry):
    """A table that is another one, scaled: a neighbouring technology node."""

    name: str
    description: str
    process_nm: Annotated[float, Field(gt=0, le=1000)]
    base: str
    voltage: VoltageFrequency
    scale: Scale


_SCALED_BY = {"matrix_mac": "logic", "vector_op": "logic", "special_op": "logic"} | {
    "l1_byte": "sram",
    "l2_byte": "sram",
    "noc_byte": "wire",
}


def energy_table_names() -> list[str]:
    """Names of the tables that come with the package, sorted."""
    return sorted(path.stem for path in _TABLES.glob("*.toml") if path.stem != _DRAM_TABLE)


def load_energy_table(name_or_path: str) -> EnergyTable:
    """Load an energy table by name or from a TOML file.

    A file may leave out the sections of DRAM: those of ``energy_tables/dram.toml``, which do not depend on the logic
    process, then apply. Raises ``InputError`` for an unknown table or an invalid file.
    """
    if name_or_path in energy_table_names():
        return _shipped(name_or_path)
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.is_file():
        return _read(path)
    allowed = unknown_name(name_or_path, energy_table_names())
    raise InputError(f"energy.table = {name_or_path!r}: no such table or TOML file; {allowed}")


@cache
def _shipped(name: str) -> EnergyTable:
    return _read(_TABLES / f"{name}.toml")


def _read(path: Path) -> EnergyTable:
    data = read_toml(path)
    if "base" in data:
        data = _scaled(validate(ScaledTable, data, f"energy table {path.stem}"))
    for section, values in read_toml(_TABLES / f"{_DRAM_TABLE}.toml").items():
        data.setdefault(section, values)
    return validate(EnergyTable, data, f"energy table {path.stem}")


def _scaled(table: ScaledTable) -> dict[str, Any]:
    """Contents of a table whose logic, SRAM and wires are those of its base, scaled."""
    data = load_energy_table(table.base).model_dump()
    for section, kind in _SCALED_BY.items():
        factor = getattr(table.scale, kind)
        entries = [data[section]] if "pj" in data[section] else data[section].values()
        for entry in entries:
            entry["pj"] *= factor.factor
            entry["low"] *= factor.low
            entry["high"] *= factor.high
            entry["source"] += f"; x {factor.factor:g} from {table.base} to {table.name}"
    return data | table.model_dump(include={"name", "description", "process_nm", "voltage"})
