"""Rows of measured power: the columns of the CSV file, one schema for each kind of work, and their reader."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

import results
from uarch.datatypes import MatrixDatatype
from uarch.errors import InputError, unknown_name
from uarch.files.reading import one_line, read_text, validate

POWER_ROWS = Path(results.__file__).parent / "reference" / "power.csv"
"""Published board powers of real chips; see the README beside it."""

Number = Annotated[float, Field(ge=0, le=1e12)]
Size = Annotated[int, Field(ge=1, le=1 << 30)]
Watts = Annotated[float, Field(gt=0, le=1e6)]


class PowerRow(BaseModel):
    """Columns that rows of every phase may have; empty cells count as absent."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    phase: str
    """Kind of work: one of :data:`PHASES`."""
    chip: str
    """Name of a preset."""
    overrides: str = Field("", alias="set")
    """Fields of the chip that differ from the preset's, ``FIELD=VALUE``, with semicolons between them."""
    power_w: Watts
    """Power of one board, W."""
    use: str = "A"
    """Mark by which rows are selected: A to validate against, B with care."""
    source: str = ""
    note: str = ""

    @property
    def label(self) -> str:
        """Name of what ran."""
        raise NotImplementedError

    @property
    def batch_size(self) -> int:
        """Sequences of the batch; 0 where there is none."""
        return 0


class IdleRow(PowerRow):
    """Nothing runs, the core's clock being locked."""

    phase: Literal["idle"]
    clock_mhz: Number

    @property
    def label(self) -> str:
        """Clock at which the chip idles."""
        return f"idle at {self.clock_mhz:g} MHz"


class StreamRow(PowerRow):
    """A stream from memory with arithmetic."""

    phase: Literal["stream"]
    fma_per_byte: Number
    """Fused multiply-adds of a vector lane for each byte."""

    @property
    def label(self) -> str:
        """Intensity of the stream."""
        return f"stream, {self.fma_per_byte:g} FMA/B"


class GemmPowerRow(PowerRow):
    """A matrix product, over and over again."""

    phase: Literal["gemm"]
    m: Size
    n: Size
    k: Size
    dtype: MatrixDatatype

    @property
    def label(self) -> str:
        """Sizes and datatype."""
        return f"{self.m} x {self.n} x {self.k} {self.dtype}"


class ServingRow(PowerRow):
    """Steps of a model at a fixed number of sequences in flight: ``decode`` almost alone, or ``chat`` with prefills between."""

    phase: Literal["decode", "chat"]
    model: str
    batch: Size
    context: Size
    """Mean tokens of a sequence's context."""
    dtype: MatrixDatatype
    tp: Size = 1
    ep: Size = 1
    step_ms: Number
    """Measured time of a step, ms: batch over tokens per second."""
    energy_per_token_j: Watts
    """Energy of all boards for one token, J."""

    @property
    def label(self) -> str:
        """Model, batch and chips."""
        chips = self.tp * self.ep
        return f"{self.model}, {self.batch} x {self.context}" + (f", {chips} chips" if chips > 1 else "")

    @property
    def batch_size(self) -> int:
        """Sequences in flight."""
        return self.batch


_ROW_TYPES: dict[str, type[PowerRow]] = {
    "idle": IdleRow,
    "stream": StreamRow,
    "gemm": GemmPowerRow,
    "decode": ServingRow,
    "chat": ServingRow,
}
PHASES = tuple(_ROW_TYPES)


def read_power_rows(path: str | Path = POWER_ROWS) -> list[PowerRow]:
    """Read the rows of a CSV file in its order.

    Raises :class:`uarch.InputError` for a file that cannot be read, or has a bad row (with its line number).
    """
    name = one_line(str(path))
    reader = csv.DictReader(io.StringIO(read_text(Path(path))), strict=True)
    rows = []
    try:
        for cells in reader:
            where = f"{name}, line {reader.line_num}"
            filled = {column: cell.strip() for column, cell in cells.items() if column and cell and cell.strip()}
            phase = filled.get("phase", "")
            if phase not in _ROW_TYPES:
                raise InputError(f"{where}: phase = {phase!r}: {unknown_name(phase, list(PHASES))}")
            rows.append(validate(_ROW_TYPES[phase], filled, where))
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: not valid CSV: {error}") from error
    if not rows:
        raise InputError(f"{name}: has no rows")
    return rows
