"""Named arrays and tables with units in their names, in one HDF5 file that is complete or absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from results.trace.disk_file import open_disk_file
from uarch.files.writing import output_file


def table_of(rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[Any]:
    """Structured array of rows with equal keys: text as UTF-8 bytes, numbers as float64, None as an empty text or as NaN.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("a table needs at least one row")
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if any(isinstance(value, str) for value in values):
            columns[name] = np.array([b"" if value is None else str(value).encode() for value in values])
        else:
            columns[name] = np.array([np.nan if value is None else value for value in values], np.float64)
    table = np.zeros(len(rows), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table


def write(path: Path, attributes: Mapping[str, str], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write ``arrays`` under their names (``/`` makes groups) with root ``attributes``; equal input gives equal bytes.

    Raises:
        OSError: the file cannot be written; its ``filename`` is ``path``.
    """
    with output_file(path) as output, open_disk_file(output) as disk:
        with h5py.File(disk, "w", track_order=False) as file:
            for name, value in sorted(attributes.items()):
                file.attrs[name] = value
            for name, array in sorted(arrays.items()):
                file.create_dataset(name, data=array, track_times=False)
        if disk.error is not None:
            raise disk.error
