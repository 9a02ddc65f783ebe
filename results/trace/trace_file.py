"""The HDF5 file of a trace: what lies where in it, how it is written and how it is read.

Root attributes: ``schema_version``, ``package_version``, ``seed``, and as JSON ``chip``, ``workload`` and ``units``
(field -> unit). ``/layers``: compound dataset of ``LAYER_DTYPE``. ``/rollup``: group with one attribute per number.
``/timeline``, only if recorded: compound dataset of ``TIMELINE_DTYPE`` with the names of tracks and causes as JSON in
its attributes ``tracks`` and ``causes``. Datasets are chunked, compressed and carry checksums. No times are recorded:
equal traces give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from results.trace import schema
from results.trace.disk_file import open_disk_file
from uarch.files.writing import output_file

_CHUNK_ROWS = 4096
_TIMELINE_CHUNK_ROWS = 16384
_DAMAGE = (OSError, LookupError, RuntimeError, TypeError, ValueError)
"""What h5py raises on files that are no HDF5, are cut off, or lack what is asked for."""


class TraceError(ValueError):
    """A file, or data, that is no trace: the message is one line."""


class Contents(NamedTuple):
    """What a trace file holds; see :class:`results.trace.trace.Trace` for the fields."""

    chip: dict[str, Any]
    workload: dict[str, Any]
    package_version: str
    seed: int
    layers: schema.Table
    rollup: dict[str, float | int | str]
    timeline: schema.Table | None


class Writer:
    """Writes one file: intervals of the timeline as they come, everything else at the end. See :func:`open_writer`."""

    def __init__(self, file: h5py.File, disk: Any) -> None:
        self._file, self._disk = file, disk

    def add_intervals(self, intervals: schema.Table) -> None:
        """Append rows of ``TIMELINE_DTYPE``; only a chunk of them stays in memory.

        Raises:
            OSError: the disk is full.
        """
        if "timeline" not in self._file:
            timeline = _new_table(self._file, "timeline", schema.TIMELINE_DTYPE, _TIMELINE_CHUNK_ROWS)
            timeline.attrs["tracks"] = json.dumps(schema.TIMELINE_TRACKS)
            timeline.attrs["causes"] = json.dumps(schema.STALL_CAUSES)
        timeline = self._file["timeline"]
        for first in range(0, len(intervals), _TIMELINE_CHUNK_ROWS):
            part = intervals[first : first + _TIMELINE_CHUNK_ROWS]
            timeline.resize(len(timeline) + len(part), axis=0)
            timeline[-len(part) :] = part
            if self._disk.error is not None:
                raise self._disk.error

    def finish(self, contents: Contents) -> None:
        """Write all else; ``contents.timeline`` is appended to what was added before."""
        file = self._file
        file.attrs["schema_version"] = schema.SCHEMA_VERSION
        file.attrs["package_version"] = contents.package_version
        file.attrs["seed"] = contents.seed
        file.attrs["chip"] = json.dumps(contents.chip)
        file.attrs["workload"] = json.dumps(contents.workload)
        file.attrs["units"] = json.dumps(schema.units(contents.rollup))
        _new_table(file, "layers", schema.LAYER_DTYPE, _CHUNK_ROWS, contents.layers)
        group = file.create_group("rollup", track_order=True)
        for name, value in contents.rollup.items():
            group.attrs[name] = value
        if contents.timeline is not None:
            self.add_intervals(contents.timeline)


@contextmanager
def open_writer(path: Path) -> Iterator[Writer]:
    """Give the body a writer whose file appears as ``path``, complete, when the body has succeeded.

    Raises:
        OSError: the file cannot be written (no such directory, no permission, full disk); nothing is left behind.
    """
    with output_file(path) as output, open_disk_file(output) as disk:
        with h5py.File(disk, "w", track_order=True) as file:
            yield Writer(file, disk)
        if disk.error is not None:
            raise disk.error


def write(path: Path, contents: Contents) -> None:
    """Write a trace that is in memory; raises as :func:`open_writer`."""
    with open_writer(path) as writer:
        writer.finish(contents)


def _new_table(
    file: h5py.File, name: str, dtype: np.dtype[Any], chunk_rows: int, rows: schema.Table | None = None
) -> h5py.Dataset:
    return file.create_dataset(
        name,
        data=rows,
        shape=(0,) if rows is None else rows.shape,
        dtype=dtype,
        maxshape=(None,),
        chunks=(chunk_rows,),
        compression="gzip",
        shuffle=True,
        fletcher32=True,
        track_times=False,
    )


def read(path: Path, with_timeline: bool = True) -> Contents:
    """Read a trace file; its timeline, which may be large, only if asked for.

    Raises:
        TraceError: there is no such file, or it is not a complete trace.
    """
    with _opened(path) as file:
        contents = Contents(
            chip=_read_json(file, "chip"),
            workload=_read_json(file, "workload"),
            package_version=str(file.attrs["package_version"]),
            seed=int(file.attrs["seed"]),
            layers=_read_layers(file),
            rollup={name: _plain(value) for name, value in file["rollup"].attrs.items()},
            timeline=None,
        )
        if with_timeline and "timeline" in file:
            parts = list(_read_intervals(file, _TIMELINE_CHUNK_ROWS))
            contents = contents._replace(timeline=np.concatenate([np.empty(0, schema.TIMELINE_DTYPE), *parts]))
        return contents


def read_intervals(path: Path, rows: int = 1 << 16) -> Iterator[schema.Table]:
    """The timeline of a trace file in parts of up to ``rows`` intervals; none if it has no timeline.

    Raises:
        TraceError: as :func:`read`.
    """
    with _opened(path) as file:
        if "timeline" in file:
            yield from _read_intervals(file, rows)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """A trace file, and :class:`TraceError` for whatever turns out to be wrong with it."""
    if not path.exists():
        raise TraceError(f"{path}: no such file")
    if not path.is_file():
        raise TraceError(f"{path}: not a regular file")
    try:
        with h5py.File(path, "r") as file:
            _refuse_other_schemas(path, file)
            yield file
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
    if version != schema.SCHEMA_VERSION:
        advice = "update uarch" if version > schema.SCHEMA_VERSION else "run the simulation again"
        raise TraceError(
            f"{path}: schema_version {version}, this version of uarch reads {schema.SCHEMA_VERSION}; {advice}"
        )


def _read_json(file: h5py.File, name: str) -> dict[str, Any]:
    value = json.loads(file.attrs[name])
    if not isinstance(value, dict):
        raise TypeError(f"attribute {name} is not a JSON object")
    return value


def _read_layers(file: h5py.File) -> schema.Table:
    dataset = file["layers"]
    if dataset.ndim != 1:
        raise TypeError("/layers is not a table")
    if dataset.dtype != schema.LAYER_DTYPE:
        raise TypeError("/layers does not have the fields of this schema")
    table: schema.Table = dataset[()].astype(schema.LAYER_DTYPE, copy=False)
    return table


def _read_intervals(file: h5py.File, rows: int) -> Iterator[schema.Table]:
    dataset = file["timeline"]
    if dataset.dtype != schema.TIMELINE_DTYPE or dataset.ndim != 1:
        raise TypeError("/timeline does not have the fields of this schema")
    for first in range(0, len(dataset), rows):
        yield dataset[first : first + rows]


def _plain(value: Any) -> float | int | str:
    """A NumPy scalar as a Python number or string."""
    plain: float | int | str = value.item() if isinstance(value, np.generic) else str(value)
    return plain
