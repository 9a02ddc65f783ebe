"""Reading request files: every known layout, each mistake refused with its line and field."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from uarch.arrays import IntArray
from uarch.errors import InputError
from uarch.files.reading import one_line, read_text
from workloads.requests.formats import Format, format_of
from workloads.requests.records import LONGEST_TOKENS, Requests

_MICROSECOND_DIGITS = 26
"""Characters of a date up to its microseconds; Azure's have one digit more."""


def read_requests(path: Path) -> Requests:
    """Read a request file of any layout in ``formats.toml``: CSV with a header, or JSON lines.

    Arrivals are counted from the first one.

    Raises
    ------
    InputError
        If the file cannot be read, has no requests, misses a column, has a value that is no number, fewer than one token,
        a time before that of the line above, or more blocks than its prompt; the message has line and field.
    """
    where = one_line(str(path))
    lines = _json_lines(path, where) if path.suffix in (".jsonl", ".json") else _csv_lines(path, where)
    first = next(lines, None)
    if first is None:
        raise InputError(f"{where}: has no requests")
    layout = format_of(first[1], where)
    return _collect(chain([first], lines), layout, where)


def _csv_lines(path: Path, where: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield line number and fields of each line below the header."""
    reader = csv.reader(read_text(path).splitlines())
    header = [name.strip() for name in next(reader, [])]
    if not header:
        raise InputError(f"{where}: has no header with the names of its columns")
    header_only = True
    for fields in reader:
        if fields:
            header_only = False
            if len(fields) != len(header):
                raise InputError(
                    f"{where}: line {reader.line_num} has {len(fields)} fields; the header has {len(header)}"
                )
            yield reader.line_num, dict(zip(header, fields, strict=True))
    if header_only:
        format_of(header, where)  # a missing column is the more helpful complaint


def _json_lines(path: Path, where: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{where}: line {number}: not valid JSON: {one_line(str(error))}") from error
            if not isinstance(fields, dict):
                raise InputError(f"{where}: line {number}: must be a JSON object")
            yield number, fields


def _collect(lines: Iterator[tuple[int, Mapping[str, Any]]], layout: Format, where: str) -> Requests:
    arrivals: list[float] = []
    inputs: list[int] = []
    outputs: list[int] = []
    blocks: list[int] = []
    starts = [0]
    for number, fields in lines:
        place = f"{where}: line {number}"
        time = _time(fields, layout, place)
        if arrivals and time < arrivals[-1]:
            raise InputError(f"{place}: {layout.arrival} = {fields[layout.arrival]}: before that of the request above")
        arrivals.append(time)
        inputs.append(_tokens(fields, layout.input, place))
        outputs.append(_tokens(fields, layout.output, place))
        if layout.prefix in fields:
            blocks.extend(_blocks(fields, layout, inputs[-1], place))
        starts.append(len(blocks))
    times = np.array(arrivals, np.float64)
    hashed = bool(blocks)
    return Requests(
        times - times[0],
        np.array(inputs, np.int64),
        np.array(outputs, np.int64),
        np.array(blocks, np.int64),
        np.array(starts if hashed else [], np.int64),
        layout.prefix_tokens if hashed else 0,
    )


def _time(fields: Mapping[str, Any], layout: Format, place: str) -> float:
    text = fields.get(layout.arrival)
    try:
        if layout.seconds is None:
            date = datetime.fromisoformat(str(text).split("+")[0][:_MICROSECOND_DIGITS])
            return date.replace(tzinfo=UTC).timestamp()
        time = float(text) * layout.seconds  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        kind = "a date" if layout.seconds is None else "a number"
        raise InputError(f"{place}: {layout.arrival} = {one_line(repr(text))}: must be {kind}") from error
    if not isfinite(time):
        raise InputError(f"{place}: {layout.arrival} = {text}: must be a number")
    return time


def _tokens(fields: Mapping[str, Any], column: str, place: str) -> int:
    text = str(fields.get(column)).strip()
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= LONGEST_TOKENS:
        raise InputError(
            f"{place}: {column} = {one_line(text)[:40]}: must be a whole number from 1 to {LONGEST_TOKENS}"
        )
    return count


def _blocks(fields: Mapping[str, Any], layout: Format, input_tokens: int, place: str) -> list[int]:
    value = fields[str(layout.prefix)]
    parts = value if isinstance(value, list) else str(value).split()
    try:
        hashes = [int(part) for part in parts]
    except (TypeError, ValueError) as error:
        raise InputError(f"{place}: {layout.prefix}: must be whole numbers, separated by blanks") from error
    if min(hashes, default=0) < 0:
        raise InputError(f"{place}: {layout.prefix} = {min(hashes)}: must be at least 0")
    most = -(-input_tokens // layout.prefix_tokens)
    if len(hashes) > most:
        raise InputError(
            f"{place}: {layout.prefix}: has {len(hashes)} blocks of {layout.prefix_tokens} tokens; the prompt has {most}"
        )
    return hashes


def prefix_starts(counts: IntArray) -> IntArray:
    """Return the starts (int64, one more than ``counts``) of rows of these lengths that lie behind each other."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
