"""Measured kernel times: the columns of the CSV files, one schema per suite, and their reader."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from uarch.datatypes import MatrixDatatype
from uarch.errors import InputError, unknown_name
from uarch.files.reading import one_line, read_text, validate
from workloads.single.vector import VECTOR_KERNELS

Size = Annotated[int, Field(ge=1, le=1 << 40)]
Count = Annotated[int, Field(ge=0, le=1 << 40)]
Microseconds = Annotated[float, Field(gt=0, le=1e12)]


def _known_kernel(op: str) -> str:
    if op not in VECTOR_KERNELS:
        raise ValueError(f"must be one of these: {unknown_name(op, list(VECTOR_KERNELS))}")
    return op


class Measurement(BaseModel):
    """Columns of all suites. Empty cells count as absent, columns that are not known are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    chip: str = ""
    source: str = ""
    time_us: Microseconds
    dtype: MatrixDatatype = "fp16"
    use: str = "A"
    """A: validate against it; B: with care."""
    l2: Literal["cold", "inputs", "warm"] | None = None
    """What L2 held at the start; absent: as the source says."""


class GemmRow(Measurement):
    """C[M, N] = A[M, K] W[K, N]."""

    M: Size
    N: Size
    K: Size


class AttentionRow(Measurement):
    """Attention of ``batch`` sequences; ``mixed``: one prefill of (q_len, kv_len) and dec_n decodes of dec_kv keys each."""

    phase: Literal["prefill", "decode", "mixed"]
    batch: Size
    q_heads: Size
    kv_heads: Size
    head_dim: Size
    q_len: Size
    kv_len: Size
    causal: Literal["0", "1"] = "1"
    dec_n: Count = 0
    dec_kv: Count = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.q_heads % self.kv_heads:
            raise ValueError(f"kv_heads = {self.kv_heads} must divide q_heads = {self.q_heads}")
        if self.q_len > self.kv_len:
            raise ValueError(
                f"q_len = {self.q_len} must be at most kv_len = {self.kv_len}, which includes the new tokens"
            )
        if self.phase == "decode" and self.q_len != 1:
            raise ValueError(f"q_len = {self.q_len} must be 1 in decode")
        if (self.dec_n > 0) != (self.dec_kv > 0) or (self.dec_n > 0 and self.phase != "mixed"):
            raise ValueError("dec_n and dec_kv must be given together, and in phase mixed only")
        return self


class ElementwiseRow(Measurement):
    """One pass over ``rows x cols`` elements."""

    op: Annotated[str, AfterValidator(_known_kernel)]
    rows: Size
    cols: Size


class CollectiveRow(Measurement):
    """A collective of ``devices`` chips over a message of ``bytes``."""

    collective: Literal["all_reduce"]
    devices: Annotated[int, Field(ge=2, le=1024)]
    bytes: Size


class TransformerRow(Measurement):
    """An operator of a layer, ``count`` times: a product, a batch of products (``bmm``), a vector kernel, or an all-reduce over
    the chips that ``kind`` counts.
    """

    op: str
    kind: Annotated[str, Field(pattern=r"^(matmul|bmm|softmax|layernorm|gelu|allreduce_([2-9]|[1-9]\d{1,2})gpu)$")]
    model: str = ""
    phase: str = ""
    count: Size = 1
    bmm_batch: Size = 1
    rows_M: Size  # noqa: N815 - the CSV's name
    cols_N: Size  # noqa: N815
    K: Count = 0
    note: str = ""


ROW_TYPES: dict[str, type[Measurement]] = {
    "gemm": GemmRow,
    "attention": AttentionRow,
    "elementwise": ElementwiseRow,
    "collective": CollectiveRow,
    "transformer": TransformerRow,
}
SUITES = tuple(ROW_TYPES)
SUITE_COLUMN = "suite"
"""Optional column of a file that holds rows of several suites."""


def read_measurements(path: str | Path, suite: str | None = None) -> dict[str, list[Measurement]]:
    """Rows of a CSV file by suite, in the file's order.

    A file with a column ``suite`` holds rows of several; any other holds those of one, which its columns tell. With
    ``suite`` given, only its rows.

    Raises :class:`uarch.InputError` for a file that cannot be read, lacks columns or has a bad row (with its line number).
    """
    name = one_line(str(path))
    reader = csv.DictReader(io.StringIO(read_text(Path(path))), strict=True)
    found: dict[str, list[Measurement]] = {}
    try:
        columns = list(reader.fieldnames or [])
        fixed = None if SUITE_COLUMN in columns else _suite_of(columns, suite, name)
        for cells in reader:
            where = f"{name}, line {reader.line_num}"
            kind = fixed or _row_suite(cells, where)
            row = validate(ROW_TYPES[kind], _filled(cells, where), where)
            if suite in (None, kind):
                found.setdefault(kind, []).append(row)
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: not valid CSV: {error}") from error
    if not found:
        raise InputError(f"{name}: has no rows{f' of suite {suite}' if suite else ''}")
    return found


def required_columns(suite: str) -> list[str]:
    """Columns that a file of a suite must have."""
    return [name for name, field in ROW_TYPES[suite].model_fields.items() if field.is_required()]


def _suite_of(columns: list[str], suite: str | None, name: str) -> str:
    """The suite whose required columns are all there; the most demanding of several."""
    candidates = [suite] if suite else sorted(SUITES, key=lambda each: -len(required_columns(each)))
    for candidate in candidates:
        missing = [column for column in required_columns(candidate) if column not in columns]
        if not missing:
            return candidate
        if suite:
            raise InputError(
                f"{name}, line 1: lacks column {missing[0]}; suite {suite} needs {', '.join(required_columns(suite))}"
            )
    needs = "; ".join(f"{each}: {', '.join(required_columns(each))}" for each in SUITES)
    raise InputError(f"{name}, line 1: columns of no suite; needed are those of one of {needs}")


def _row_suite(cells: dict[str, Any], where: str) -> str:
    suite = cells[SUITE_COLUMN]
    if suite not in SUITES:
        raise InputError(f"{where}: {SUITE_COLUMN} = {one_line(repr(suite))}: allowed: {', '.join(SUITES)}")
    return str(suite)


def _filled(cells: dict[Any, Any], where: str) -> dict[str, str]:
    """The cells that are not empty; a line that is longer than the header is an error."""
    if None in cells:
        raise InputError(f"{where}: has more cells than the header has columns")
    return dict(_non_empty(cells))


def _non_empty(cells: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    for column, cell in cells.items():
        if cell is not None and cell.strip():
            yield column, cell.strip()
