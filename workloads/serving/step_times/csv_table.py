"""Step times from a user's measurements: a CSV table of steps of decodes alone and of prefills alone."""

from __future__ import annotations

import csv
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from uarch.arrays import FloatArray
from uarch.errors import InputError
from uarch.files.reading import one_line, read_text
from workloads.serving.step_times.protocol import Steps

COLUMNS = ("decodes", "decode_context", "prefill_tokens", "prefill_keys", "seconds")
"""Needed columns; ``joules`` may follow. ``decode_context`` and ``prefill_keys`` are means: keys that a new token sees."""


class _Grid(NamedTuple):
    """Seconds and joules on a full grid; linear in between and beyond."""

    rows: FloatArray
    keys: FloatArray
    values: FloatArray
    """``(rows, keys, 2)``"""

    def at(self, rows: FloatArray, keys: FloatArray) -> FloatArray:
        """Return ``(n, 2)``."""
        interpolated = RegularGridInterpolator((self.rows, self.keys), self.values, bounds_error=False, fill_value=None)
        return np.asarray(interpolated(np.stack([rows, keys], axis=1)), np.float64)


class TableStepTimes:
    """Step times of a CSV file with the columns ``COLUMNS``.

    Lines with ``prefill_tokens = 0`` must form a full grid of decodes and contexts (at least two of each), lines with
    ``decodes = 0`` one of tokens and keys. A step with both takes the time of a prefill of all its new tokens, and what
    decodes at their contexts take longer than at the shortest one in the table.
    """

    def __init__(self, path: Path) -> None:
        """Read the file; ``InputError`` with line and field if it is wrong or a grid has a gap."""
        where = one_line(str(path))
        lines = _read(path, where)
        self._decode = _grid(lines[lines[:, 2] == 0][:, [0, 1, 4, 5]], f"{where}: lines with prefill_tokens = 0")
        self._prefill = _grid(lines[lines[:, 0] == 0][:, [2, 3, 4, 5]], f"{where}: lines with decodes = 0")

    def seconds_and_joules(self, steps: Steps) -> FloatArray:
        """Interpolate; see :class:`workloads.serving.step_times.protocol.StepTimes`."""
        decodes, tokens = steps.decodes, steps.prefill_tokens
        contexts = steps.decode_contexts / np.maximum(decodes, 1)
        keys = steps.prefill_pairs / np.maximum(tokens, 1)
        alone = self._decode.at(decodes, contexts)
        shortest = self._decode.at(decodes, np.full(len(decodes), self._decode.keys[0]))
        prefill = self._prefill.at(tokens + decodes, keys)
        both = prefill + np.where(decodes[:, None] > 0, alone - shortest, 0.0)
        return np.where(tokens[:, None] == 0, alone, both)


def _read(path: Path, where: str) -> FloatArray:
    reader = csv.DictReader(read_text(path).splitlines())
    for name in COLUMNS:
        if name not in (reader.fieldnames or ()):
            raise InputError(f"{where}: column {name!r} is missing; needed: {', '.join(COLUMNS)}")
    lines = [
        [_number(row, name, f"{where}: line {reader.line_num}") for name in (*COLUMNS, "joules")] for row in reader
    ]
    return np.array(lines, np.float64).reshape(-1, len(COLUMNS) + 1)


def _number(row: dict[str, str], name: str, place: str) -> float:
    text = row.get(name, "0" if name == "joules" else "")
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = -1.0
    if not (isfinite(value) and value >= 0) or (name == "seconds" and value == 0):
        raise InputError(f"{place}: {name} = {one_line(str(text))[:40]!r}: must be a number of at least 0")
    return value


def _grid(lines: FloatArray, what: str) -> _Grid:
    rows, keys = np.unique(lines[:, 0]), np.unique(lines[:, 1])
    if len(rows) < 2 or len(keys) < 2 or len(lines) != len(rows) * len(keys):
        raise InputError(
            f"{what}: must form a full grid of at least 2 x 2; {len(lines)} lines have {len(rows)} sizes and {len(keys)} "
            "contexts"
        )
    values = np.full((len(rows), len(keys), 2), np.nan)
    values[np.searchsorted(rows, lines[:, 0]), np.searchsorted(keys, lines[:, 1])] = lines[:, 2:]
    if np.isnan(values).any():
        raise InputError(f"{what}: must form a full grid; a line stands there twice")
    return _Grid(rows, keys, values)
