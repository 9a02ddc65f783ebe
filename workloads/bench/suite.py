"""Suites of kernels for the bench: presets, and CSV files with or without measured times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from uarch.datatypes import MatrixDatatype
from uarch.errors import InputError
from uarch.files.presets import Presets
from uarch.files.reading import one_line, read_toml, validate
from uarch.files.section import Section
from workloads.measured.reader import read_measurements
from workloads.measured.rows import AttentionRow, GemmRow, Measurement
from workloads.predictors.kernel import Kernel

SUITES = Presets("suite", Path(__file__).parent / "suites")
"""Suites that come with the package."""


@dataclass(frozen=True)
class SuiteKernel:
    """A kernel of a suite, and its measured time if it has one."""

    name: str
    kernel: Kernel
    measured_seconds: float | None = None


class _Preset(Section):
    description: str
    kind: Literal["gemm", "attention"]
    dtype: MatrixDatatype
    sizes: list[list[Annotated[int, Field(ge=1)]]]


_COLUMNS = {"gemm": ("M", "N", "K"), "attention": ("batch", "q_heads", "kv_heads", "head_dim", "q_len", "kv_len")}
"""Columns of a measured row that the sizes of a preset stand for."""


def load_suite(name_or_path: str) -> list[SuiteKernel]:
    """Load the kernels of a suite: a preset, or the GEMMs and attentions of a CSV file.

    Parameters
    ----------
    name_or_path
        A preset (``gemm``, ``attention``, ``quick``) or the path of a CSV file. It has the columns that
        ``uarch validate --reference`` reads, those of suite ``gemm`` or ``attention``, or both with a column ``suite``;
        ``time_us`` may be left out, and ``name`` may be added.

    Returns
    -------
    list of SuiteKernel
        Kernels with their names and, where there are any, measured seconds.

    Raises
    ------
    InputError
        For an unknown suite or a bad line.

    Examples
    --------
    >>> import uarch
    >>> kernels = uarch.load_suite("quick")
    >>> kernels[0].name, kernels[0].kernel.dtype
    ('gemm 2048 x 4096 x 4096', 'fp16')
    """
    path = Path(name_or_path)
    if path.suffix == ".csv":
        found = read_measurements(path, timed=False)
        return [_kernel(row, one_line(name_or_path)) for rows in found.values() for row in rows]
    source = f"suite {name_or_path}"
    preset = validate(_Preset, read_toml(SUITES.find(name_or_path)), source)
    return [_kernel(_row(preset, sizes, source), source) for sizes in preset.sizes]


def _row(preset: _Preset, sizes: list[int], source: str) -> Measurement:
    columns = _COLUMNS[preset.kind]
    if len(sizes) != len(columns):
        raise InputError(f"{source}: {len(sizes)} sizes; a {preset.kind} has {', '.join(columns)}")
    cells = {"dtype": preset.dtype, **dict(zip(columns, sizes, strict=True))}
    if preset.kind == "gemm":
        return validate(GemmRow, cells, source)
    return validate(AttentionRow, cells | {"phase": "decode" if cells["q_len"] == 1 else "prefill"}, source)


def _kernel(row: Measurement, source: str) -> SuiteKernel:
    if isinstance(row, GemmRow):
        kernel = Kernel("gemm", (row.M, row.N, row.K), row.dtype)
    elif isinstance(row, AttentionRow) and row.phase != "mixed" and row.causal == "1":
        sizes = (row.batch, row.q_heads, row.kv_heads, row.head_dim, row.q_len, row.kv_len)
        kernel = Kernel("attention", sizes, row.dtype)
    else:
        raise InputError(f"{source}: allowed are GEMMs and causal attention, of prefills or of decodes; not {row!r}")
    seconds = None if row.time_us is None else row.time_us * 1e-6
    return SuiteKernel(row.name or f"{kernel.kind} {kernel.shape}", kernel, seconds)
