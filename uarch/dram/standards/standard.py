"""Memory standards as data: organisation, JEDEC timing and currents of one (pseudo-)channel.

Each speed grade is a file ``uarch/dram/standards/<name>.toml``. ``source`` says where its values come from, ``[sources]``
names other sources for single values, and ``[assumed]`` gives a range for every value that no public table confirms.
"""

# ruff: noqa: N815 - the timing values keep JEDEC's names

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, Strict, model_validator

from uarch.dram.standards.technology import load_technology
from uarch.files.presets import Presets
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section
from uarch.files.sourced import Source

STANDARDS = Presets("memory standard", Path(__file__).parent)
"""Standards that come with the package."""

_ALIASES = {"nRCD": "nRCDRD", "nCCD": "nCCD_S", "nRRD": "nRRD_S", "nWTR": "nWTR_S", "nRFC": "nRFCab"}


class Organisation(Section):
    """How the cells of one pseudo-channel are arranged."""

    stack_ids: int = Field(ge=1)
    """Stack IDs of HBM; ranks elsewhere."""
    bank_groups: int = Field(ge=1)
    banks_per_group: int = Field(ge=1)
    rows: int = Field(ge=1)
    bursts_per_row: int = Field(ge=1)
    burst_bytes: int = Field(ge=1)
    width_bits: int = Field(ge=1)
    prefetch: int = Field(ge=1)
    """Bits that each pin moves in a burst."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("stack_ids", "bank_groups", "banks_per_group", "rows", "bursts_per_row", "burst_bytes"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ValueError(f"{name} = {value}: must be a power of two")
        if self.burst_bytes * 8 != self.width_bits * self.prefetch:
            raise ValueError(f"burst_bytes = {self.burst_bytes}: must be width_bits x prefetch / 8")
        return self


class CommandBus(Section):
    """Ticks (parts of tCK) for which a command occupies its bus."""

    ticks_per_clock: int = Field(ge=1, le=2)
    separate_row_and_column: bool
    """True if a row and a column command can be issued at the same time."""
    activate_ticks: int = Field(ge=1)
    precharge_ticks: int = Field(ge=1)
    """Ticks of a precharge or a refresh."""
    column_ticks: int = Field(ge=1)


class Timing(Section):
    """Minimum distances in cycles of tCK; zero means that the standard has no such limit."""

    nBL: int = Field(ge=1)
    nCL: int = Field(ge=1)
    nCWL: int = Field(ge=1)
    nRCDRD: int = Field(ge=1)
    nRCDWR: int = Field(ge=1)
    nRP: int = Field(ge=1)
    nRAS: int = Field(ge=1)
    nRC: int = Field(ge=1)
    nRTP: int = Field(ge=1)
    nWR: int = Field(ge=1)
    nCCD_S: int = Field(ge=1)
    nCCD_L: int = Field(ge=1)
    nCCD_R: int = Field(default=0, ge=0)
    """Distance of reads of different stack IDs."""
    nRRD_S: int = Field(ge=1)
    nRRD_L: int = Field(ge=1)
    nFAW: int = Field(default=0, ge=0)
    n32AW: int = Field(default=0, ge=0)
    nWTR_S: int = Field(ge=0)
    nWTR_L: int = Field(ge=0)
    nRTW: int = Field(ge=1)
    """Read command to write command."""
    nPPD: int = Field(default=0, ge=0)
    """Precharge to precharge."""
    nRFCab: int = Field(ge=1)
    nRFCpb: int = Field(default=0, ge=0)
    nREFI: int = Field(ge=1)
    nREFIpb: int = Field(default=0, ge=0)
    nRREFD: int = Field(default=0, ge=0)
    """Refresh of a bank to the refresh of another bank; such a refresh also counts as an activate in nFAW."""


class Current(Section):
    """Supply voltage (V) and currents (mA) of one pseudo-channel, by JEDEC's names, and the energy of its pins."""

    VDD: float = Field(gt=0)
    IDD0: float = Field(ge=0)
    IDD2N: float = Field(ge=0)
    IDD3N: float = Field(ge=0)
    IDD4R: float = Field(ge=0)
    IDD4W: float = Field(ge=0)
    IDD5AB: float = Field(ge=0)
    io_pj_per_bit: float = Field(ge=0)


class Compatibility(Section):
    """Departures from the standard that reproduce the tool from which a table comes."""

    precharge_all_ignores_open_rows: bool = False
    """PREab may follow an activate, a read or a write at once."""


class Standard(Section):
    """One speed grade of a memory standard, for one (pseudo-)channel."""

    name: str
    title: Source
    technology: Source
    """Kind of memory, such as ``hbm3``: a name of ``uarch/dram/technologies``, or the path of such a file."""
    source: Source
    tCK_ps: int = Field(ge=1)
    mapping: str = Field(min_length=1, max_length=80)
    """Address mapping of streams (:class:`uarch.dram.controller.addresses.AddressMapping`) unless another is asked for."""
    organisation: Organisation
    command_bus: CommandBus
    timing: Timing
    current: Current
    compatibility: Compatibility = Compatibility()
    sources: dict[str, str] = Field(default_factory=dict)
    assumed: dict[str, Annotated[tuple[float, float], Strict(False)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ranges_hold_their_values(self) -> Self:
        for key, (lowest, highest) in self.assumed.items():
            value = getattr(self.timing, key, getattr(self.current, key, None))
            if value is None or not lowest <= value <= highest:
                raise ValueError(f"assumed.{key} is [{lowest}, {highest}]; it must hold the value {value}")
        return self

    @property
    def banks(self) -> int:
        """Banks of the pseudo-channel, over all stack IDs and bank groups."""
        return self.organisation.stack_ids * self.organisation.bank_groups * self.organisation.banks_per_group

    @property
    def burst_bytes(self) -> int:
        """Bytes that one read or write command moves."""
        return self.organisation.burst_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of an open row."""
        return self.organisation.bursts_per_row * self.organisation.burst_bytes

    @property
    def capacity_bytes(self) -> int:
        """Bytes of the pseudo-channel."""
        return self.banks * self.organisation.rows * self.row_bytes

    @property
    def bytes_per_second(self) -> float:
        """Peak bandwidth of the pseudo-channel: one burst every nCCD_S (or nBL, if that is longer)."""
        return self.burst_bytes / (max(self.timing.nBL, self.timing.nCCD_S) * self.tCK_ps * 1e-12)

    @property
    def tick_ns(self) -> float:
        """Nanoseconds of the controller's tick: tCK, or half of it where commands start on half cycles."""
        return self.tCK_ps / (1000 * self.command_bus.ticks_per_clock)

    def picoseconds(self, name: str) -> int:
        """A timing value by JEDEC's name (``nRCD`` is that of reads, ``nCCD`` the short one) in picoseconds.

        Raises ``KeyError`` for a name that :class:`Timing` does not have.
        """
        field = _ALIASES.get(name, name)
        if field not in Timing.model_fields:
            raise KeyError(name)
        return int(getattr(self.timing, field)) * self.tCK_ps


def standard_names() -> tuple[str, ...]:
    """Names of the standards that come with the package, sorted."""
    return STANDARDS.names


def load_standard(name_or_path: str) -> Standard:
    """A standard by its name, such as ``hbm3-6400``, or from a TOML file, after which it is then named.

    Raises :class:`InputError` if there is no such standard, or with the path of the first wrong field of its file.
    """
    return _load(name_or_path, STANDARDS.stamp(name_or_path))


@lru_cache(maxsize=64)
def _load(name_or_path: str, stamp: str) -> Standard:
    path = STANDARDS.find(name_or_path)
    return parse_standard(path.stem, read_toml(path))


def parse_standard(name: str, table: Mapping[str, Any]) -> Standard:
    """Validate the contents of a standard's file.

    Raises :class:`InputError` with the path of the first wrong field.
    """
    standard = validate(Standard, {"name": name, **table}, f"standard {name}")
    load_technology(standard.technology)
    return standard
