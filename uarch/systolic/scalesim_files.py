"""SCALE-Sim's input files: the configuration (INI) and the topology of GEMM or convolution layers (CSV).

A file that does not parse is refused with its line and the name of the key or column.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from uarch.errors import InputError, unknown_name
from uarch.files.reading import one_line, read_text
from uarch.systolic.cycles import Dataflow, ceil_div
from uarch.systolic.sparsity import DENSE, Structure, parse_structure

GEMM_COLUMNS = ("Layer", "M", "N", "K")
CONV_COLUMNS = (
    "Layer name",
    "IFMAP Height",
    "IFMAP Width",
    "Filter Height",
    "Filter Width",
    "Channels",
    "Num Filter",
    "Strides",
)
SPARSITY_COLUMN = "Sparsity"
MOST_MACS = 1 << 53
"""Largest layer, in multiply-accumulates."""

_MOST_LAYERS = 1 << 16
_MOST_DIGITS = 12
_KB = 1024
_WORD_BYTES = 1
_LEAST_SRAM_CYCLES = 4
"""Cycles for which an SRAM feeds an edge of the array: two from each half, so that a half can be filled meanwhile."""
_DEPTHWISE_MARK = "DP"
_UNSUPPORTED = ("IfmapCustomLayout", "FilterCustomLayout", "OptimizedMapping", "UseRamulatorTrace")


class Config(NamedTuple):
    """Array and its three SRAMs (ifmap, filter, ofmap), as a configuration file describes them."""

    rows: int
    cols: int
    dataflow: Dataflow
    sram_words: tuple[int, int, int]
    words_per_cycle: tuple[int, int, int] | None
    """Bandwidth of each SRAM's port to memory; ``None`` in CALC mode: as much as it takes."""
    sparsity_support: bool


class Layer(NamedTuple):
    """A layer as the GEMM that the array runs; sparsity is that of the filters, along K."""

    name: str
    m: int
    n: int
    k: int
    sparsity: Structure = DENSE


class _Entry(NamedTuple):
    line: int
    key: str
    text: str


def read_config(path: Path) -> Config:
    """Read a ``.cfg`` file.

    Raises:
        InputError: unreadable, not INI, a key missing or with an unusable value, or a feature that is not modelled.
    """
    entries = _ini_entries(path)
    for key in _UNSUPPORTED:
        entry = entries.get(key.lower())
        if entry and _flag(path, entry) and (key != "OptimizedMapping" or _sparsity_support(path, entries)):
            raise InputError(f"{path}:{entry.line}: {entry.key} = {entry.text}: not modelled; allowed: false")
    rows, cols = (_integer(path, _required(path, entries, key)) for key in ("ArrayHeight", "ArrayWidth"))
    name = _required(path, entries, "Dataflow")
    if name.text.upper() not in Dataflow.__members__:
        raise InputError(
            f"{path}:{name.line}: {name.key} = {name.text!r}: not known; {unknown_name(name.text.lower(), ['os', 'ws', 'is'])}"
        )
    sizes = [_required(path, entries, key) for key in ("IfmapSramSzkB", "FilterSramSzkB", "OfmapSramSzkB")]
    words = [_integer(path, entry) * _KB // _WORD_BYTES for entry in sizes]
    for entry, size in zip(sizes, words, strict=True):
        if size < _LEAST_SRAM_CYCLES * max(rows, cols):
            least = ceil_div(_LEAST_SRAM_CYCLES * max(rows, cols) * _WORD_BYTES, _KB)
            raise InputError(f"{path}:{entry.line}: {entry.key} = {entry.text}: must be at least {least} for the array")
    return Config(
        rows,
        cols,
        Dataflow[name.text.upper()],
        (words[0], words[1], words[2]),
        _bandwidth(path, entries),
        _sparsity_support(path, entries),
    )


def _ini_entries(path: Path) -> dict[str, _Entry]:
    """Entries by key in lower case, whatever their section."""
    entries: dict[str, _Entry] = {}
    for number, raw in enumerate(_lines(path), start=1):
        line = raw.strip()
        if not line or line[0] in "#;" or (line[0] == "[" and line[-1] == "]"):
            continue
        places = [line.index(mark) for mark in ":=" if mark in line]
        if not places or min(places) == 0:
            raise InputError(f"{path}:{number}: {one_line(line)!r}: must be [section] or key: value")
        key = line[: min(places)].strip()
        if key.lower() in entries:
            raise InputError(f"{path}:{number}: {key} is given twice, first in line {entries[key.lower()].line}")
        entries[key.lower()] = _Entry(number, key, line[min(places) + 1 :].strip())
    return entries


def _lines(path: Path) -> list[str]:
    return read_text(path, "utf-8-sig").splitlines()


def _required(path: Path, entries: dict[str, _Entry], key: str) -> _Entry:
    if key.lower() not in entries:
        raise InputError(f"{path}: {key} is missing")
    return entries[key.lower()]


def _integer(path: Path, entry: _Entry) -> int:
    return _whole(entry.text, f"{path}:{entry.line}: {entry.key}")


def _whole(text: str, where: str) -> int:
    if not text.isdecimal() or len(text) > _MOST_DIGITS or int(text) < 1:
        raise InputError(f"{where} = {text[:60]!r}: must be a whole number from 1 to {'9' * _MOST_DIGITS}")
    return int(text)


def _flag(path: Path, entry: _Entry) -> bool:
    if entry.text.lower() not in ("true", "false"):
        raise InputError(f"{path}:{entry.line}: {entry.key} = {entry.text!r}: must be true or false")
    return entry.text.lower() == "true"


def _sparsity_support(path: Path, entries: dict[str, _Entry]) -> bool:
    entry = entries.get("sparsitysupport")
    return entry is not None and _flag(path, entry)


def _bandwidth(path: Path, entries: dict[str, _Entry]) -> tuple[int, int, int] | None:
    mode = _required(path, entries, "InterfaceBandwidth")
    if mode.text.upper() not in ("CALC", "USER"):
        raise InputError(f"{path}:{mode.line}: {mode.key} = {mode.text!r}: must be CALC or USER")
    if mode.text.upper() == "CALC":
        return None
    entry = _required(path, entries, "Bandwidth")
    values = [_integer(path, entry._replace(text=part.strip())) for part in entry.text.split(",")]
    if len(values) not in (1, 3):
        raise InputError(
            f"{path}:{entry.line}: {entry.key} = {entry.text!r}: must be one whole number, or one for each SRAM"
        )
    return values[0], values[len(values) // 2], values[-1]


def read_topology(path: Path, kind: str | None = None, exact_output_size: bool = True) -> list[Layer]:
    """Read the layers of a topology ``.csv`` file.

    Args:
        path: the file; its first line is a header, and lines may end with a comma.
        kind: ``gemm`` or ``conv``; by default what the header says.
        exact_output_size: whether a convolution has ``floor((H - fh) / s) + 1`` output rows, or SCALE-Sim's
            ``ceil((H - fh + s) / s)``, which is one more where the stride does not divide.

    Raises:
        InputError: unreadable, no layers, or a line that does not parse.
    """
    rows = [(number, _fields(line)) for number, line in enumerate(_lines(path), start=1) if line.strip()]
    if len(rows) < 2:
        raise InputError(f"{path}: no layers: must be a header line and one line for each layer")
    header = [name.lower() for name in rows[0][1]]
    if kind is None:
        kind = "gemm" if header[1:4] == ["m", "n", "k"] else "conv"
    columns = GEMM_COLUMNS if kind == "gemm" else CONV_COLUMNS
    if len(header) > 1 and header[1].isdecimal():
        raise InputError(f"{path}:{rows[0][0]}: a layer where the header belongs; allowed: {', '.join(columns)}")
    layers = []
    for number, fields in rows[1:]:
        where = f"{path}:{number}"
        values, sparsity = _parse_row(where, fields, columns)
        if kind == "gemm":
            layers.append(Layer(fields[0], values[0], values[1], values[2], sparsity))
        else:
            layers += _convolution(where, fields[0], values, sparsity, exact_output_size)
        if layers[-1].m * layers[-1].n * layers[-1].k > MOST_MACS or len(layers) > _MOST_LAYERS:
            raise InputError(f"{where}: at most {MOST_MACS} MACs in a layer and {_MOST_LAYERS} layers are allowed")
    return layers


def _fields(line: str) -> list[str]:
    fields = [field.strip() for field in line.split(",")]
    return fields[:-1] if fields[-1] == "" else fields


def _parse_row(where: str, fields: list[str], columns: tuple[str, ...]) -> tuple[list[int], Structure]:
    if len(fields) < len(columns):
        raise InputError(f"{where}: column {columns[len(fields)]} is missing; allowed: {', '.join(columns)}")
    if len(fields) > len(columns) + 1:
        raise InputError(f"{where}: {len(fields)} columns; allowed: {', '.join(columns)} and {SPARSITY_COLUMN} (N:M)")
    values = []
    for column, text in zip(columns[1:], fields[1:], strict=False):
        values.append(_whole(text, f"{where}: {column}"))
    if len(fields) == len(columns):
        return values, DENSE
    return values, parse_structure(fields[-1], f"{where}: {SPARSITY_COLUMN}")


def _convolution(where: str, name: str, values: list[int], sparsity: Structure, exact: bool) -> list[Layer]:
    """The im2col GEMM of a convolution; a depthwise layer (``DP`` in its name) is one layer for each channel."""
    height, width, filter_height, filter_width, channels, filters, stride = values
    for column, size, filter_size in zip(
        CONV_COLUMNS[3:5], (height, width), (filter_height, filter_width), strict=True
    ):
        if filter_size > size:
            raise InputError(f"{where}: {column} = {filter_size}: must be at most the IFMAP's {size}")
    extents = (height - filter_height, width - filter_width)
    out_height, out_width = ((extent if exact else extent + stride - 1) // stride + 1 for extent in extents)
    window = filter_height * filter_width
    if _DEPTHWISE_MARK in name:
        if channels > _MOST_LAYERS:
            raise InputError(f"{where}: column {CONV_COLUMNS[5]}: {channels}; at most {_MOST_LAYERS} are allowed")
        layer = Layer(name, out_height * out_width, filters, window, sparsity)
        return [layer._replace(name=f"{name}Channel_{channel}") for channel in range(channels)]
    return [Layer(name, out_height * out_width, filters, window * channels, sparsity)]
