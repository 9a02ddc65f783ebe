"""Suites of kernels: presets, and CSV files with or without measured times."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from uarch.datatypes import MatrixDatatype
from uarch.errors import InputError
from uarch.files.reading import find_file, one_line, read_text, read_toml, validate
from workloads.predictors.kernel import Kernel

_PRESETS = Path(__file__).parent / "suites"
SIZES = {"gemm": ("M", "N", "K"), "attention": ("batch", "q_heads", "kv_heads", "head_dim", "q_len", "kv_len")}
"""Kinds that the bench knows, and what their sizes are."""
COLUMNS = ("kind", "shape", "dtype")
_LARGEST = 1 << 24


@dataclass(frozen=True)
class Case:
    """A kernel of a suite."""

    name: str
    kernel: Kernel
    measured_seconds: float | None = None


class _Preset(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    description: str
    kind: Literal["gemm", "attention"]
    dtype: MatrixDatatype
    sizes: list[list[Annotated[int, Field(ge=1, le=_LARGEST)]]]


def suite_names() -> list[str]:
    """Names of the suites that come with the package, sorted."""
    return sorted(path.stem for path in _PRESETS.glob("*.toml"))


def load_suite(name_or_path: str) -> list[Case]:
    """A preset suite, or the cases of a CSV file.

    The columns ``kind``, ``shape`` (sizes joined by x: M x N x K of a gemm) and ``dtype`` are needed; ``name`` and a measured
    ``time_us`` may be there. A file with columns ``M``, ``N`` and ``K`` instead holds gemms.

    Raises :class:`uarch.InputError` for an unknown suite or a bad line.
    """
    path = Path(name_or_path)
    if path.suffix == ".csv":
        return list(_read_csv(path))
    file = find_file(name_or_path, _PRESETS, ".toml", "suite")
    preset = validate(_Preset, read_toml(file), f"suite {name_or_path}")
    return [_case("", preset.kind, sizes, preset.dtype, None, f"suite {name_or_path}") for sizes in preset.sizes]


def _read_csv(path: Path) -> Iterator[Case]:
    reader = csv.DictReader(io.StringIO(read_text(path)))
    columns = [name for name in reader.fieldnames or [] if name]
    by_sizes = {"M", "N", "K"} <= set(columns)
    missing = [name for name in COLUMNS if name not in columns]
    if missing and not by_sizes:
        raise InputError(f"{one_line(str(path))}: no column {missing[0]}; needed: {', '.join(COLUMNS)}, or M, N, K")
    count = 0
    for line in reader:
        where = f"{one_line(str(path))}, line {reader.line_num}"
        count += 1
        kind = "gemm" if by_sizes else _text(line, "kind")
        shape = "x".join(_text(line, name) for name in "MNK") if by_sizes else _text(line, "shape")
        sizes = [_integer(part, where) for part in shape.lower().split("x")]
        yield _case(_text(line, "name"), kind, sizes, _text(line, "dtype") or "fp16", _seconds(line, where), where)
    if not count:
        raise InputError(f"{one_line(str(path))}: has no rows")


def _text(line: Mapping[str, str | None], column: str) -> str:
    return (line.get(column) or "").strip()


def _integer(text: str, where: str) -> int:
    if not text.strip().isdecimal() or not 1 <= int(text) <= _LARGEST:
        raise InputError(f"{where}: size {one_line(text)!r}: must be an integer from 1 to {_LARGEST}")
    return int(text)


def _seconds(line: Mapping[str, str | None], where: str) -> float | None:
    text = _text(line, "time_us")
    try:
        value = float(text) if text else None
    except ValueError:
        value = -1.0
    if value is not None and not 0 < value < 1e12:
        raise InputError(f"{where}: time_us = {one_line(text)!r}: must be a positive number")
    return None if value is None else value * 1e-6


def _case(name: str, kind: str, sizes: list[int], dtype: str, measured: float | None, where: str) -> Case:
    if kind not in SIZES:
        raise InputError(f"{where}: kind = {kind!r}: not known; allowed: {', '.join(SIZES)}")
    if len(sizes) != len(SIZES[kind]):
        raise InputError(f"{where}: {len(sizes)} sizes; a {kind} has {', '.join(SIZES[kind])}")
    kernel = Kernel(kind, tuple(sizes), dtype)
    return Case(name or f"{kind} {kernel.shape}", kernel, measured)
