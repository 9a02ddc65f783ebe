"""The HDF5 file of a trace: what lies where in it, how it is written and how it is read.

Root attributes: ``schema_version``, ``package_version``, ``seed``, and as JSON ``chip``, ``workload`` and ``units``
(field -> unit). ``/layers``: compound dataset of ``LAYER_DTYPE``. ``/rollup``: group with one attribute per number.
``/timeline``, only if recorded: compound dataset of ``TIMELINE_DTYPE`` with the names of the causes as JSON in its
attribute ``causes``. Datasets are chunked, compressed and carry checksums. No times are recorded: equal traces give
equal bytes.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from results import schema
from results.files import replace_when_complete

_CHUNK_ROWS = 4096
_DAMAGE = (OSError, KeyError, RuntimeError, TypeError, ValueError)
"""What h5py raises on files that are no HDF5, are cut off, or lack what is asked for."""


class TraceError(ValueError):
    """A file, or data, that is no trace: the message is one line."""


class Contents(NamedTuple):
    """What a trace file holds; see :class:`results.trace.Trace` for the fields."""

    chip: dict[str, Any]
    workload: dict[str, Any]
    package_version: str
    seed: int
    layers: schema.Table
    rollup: dict[str, float | int | str]
    timeline: schema.Table | None


class _DiskFile(io.RawIOBase):
    """A file that keeps the first error of the disk to itself and discards what is written after it.

    HDF5 ends the process if a write fails while it closes a file; it is told of no failure, and the writer asks for
    ``error`` when HDF5 is done.
    """

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._file = path.open("x+b", buffering=0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any, /) -> int:
        return self._file.readinto(buffer) or 0

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        written = 0
        try:
            while self.error is None and written < len(view):
                written += self._file.write(view[written:])
        except OSError as error:
            self.error = error
        return len(view)

    def close(self) -> None:
        self._file.close()
        super().close()


def write(path: Path, contents: Contents) -> None:
    """Write a trace file, completely or not at all.

    Raises:
        OSError: the file cannot be written (no such directory, no permission, full disk); nothing is left behind.
    """
    with replace_when_complete(path) as temporary, _DiskFile(temporary) as disk:
        with h5py.File(disk, "w", track_order=True) as file:
            _write_contents(file, contents)
        if disk.error is not None:
            raise disk.error


def _write_contents(file: h5py.File, contents: Contents) -> None:
    file.attrs["schema_version"] = schema.SCHEMA_VERSION
    file.attrs["package_version"] = contents.package_version
    file.attrs["seed"] = contents.seed
    file.attrs["chip"] = json.dumps(contents.chip)
    file.attrs["workload"] = json.dumps(contents.workload)
    file.attrs["units"] = json.dumps(schema.units(contents.rollup))
    _write_table(file, "layers", contents.layers)
    group = file.create_group("rollup", track_order=True)
    for name, value in contents.rollup.items():
        group.attrs[name] = value
    if contents.timeline is not None:
        timeline = _write_table(file, "timeline", contents.timeline)
        timeline.attrs["causes"] = json.dumps(schema.STALL_CAUSES)


def _write_table(file: h5py.File, name: str, table: schema.Table) -> h5py.Dataset:
    return file.create_dataset(
        name,
        data=table,
        maxshape=(None,),
        chunks=(_CHUNK_ROWS,),
        compression="gzip",
        shuffle=True,
        fletcher32=True,
        track_times=False,
    )


def read(path: Path) -> Contents:
    """Read a trace file.

    Raises:
        TraceError: there is no such file, or it is not a complete trace of this or an older schema.
    """
    if not path.exists():
        raise TraceError(f"{path}: no such file")
    if not path.is_file():
        raise TraceError(f"{path}: not a regular file")
    try:
        with h5py.File(path, "r") as file:
            _refuse_other_schemas(path, file)
            return _read_contents(file)
    except PermissionError as error:
        raise TraceError(f"{path}: no permission to read") from error
    except TraceError:
        raise
    except _DAMAGE as error:
        raise TraceError(f"{path}: not a trace, or damaged: expected a complete HDF5 file of uarch") from error


def _refuse_other_schemas(path: Path, file: h5py.File) -> None:
    if "schema_version" not in file.attrs or "layers" not in file:
        raise TraceError(f"{path}: an HDF5 file, but no trace of uarch (no schema_version, no /layers)")
    version = int(file.attrs["schema_version"])
    if not 1 <= version <= schema.SCHEMA_VERSION:
        raise TraceError(
            f"{path}: schema_version {version}, this version of uarch reads up to {schema.SCHEMA_VERSION}; update uarch"
        )


def _read_contents(file: h5py.File) -> Contents:
    return Contents(
        chip=_read_json(file, "chip"),
        workload=_read_json(file, "workload"),
        package_version=str(file.attrs["package_version"]),
        seed=int(file.attrs["seed"]),
        layers=_read_table(file, "layers", schema.LAYER_DTYPE),
        rollup={name: _plain(value) for name, value in file["rollup"].attrs.items()},
        timeline=_read_table(file, "timeline", schema.TIMELINE_DTYPE) if "timeline" in file else None,
    )


def _read_json(file: h5py.File, name: str) -> dict[str, Any]:
    value = json.loads(file.attrs[name])
    if not isinstance(value, dict):
        raise TypeError(f"attribute {name} is not a JSON object")
    return value


def _read_table(file: h5py.File, name: str, dtype: np.dtype[Any]) -> schema.Table:
    dataset = file[name]
    if dataset.dtype != dtype or dataset.ndim != 1:
        raise TypeError(f"/{name} does not have the fields of this schema")
    table: schema.Table = dataset[()].astype(dtype, copy=False)
    return table


def _plain(value: Any) -> float | int | str:
    """A NumPy scalar as a Python number or string."""
    plain: float | int | str = value.item() if isinstance(value, np.generic) else str(value)
    return plain
