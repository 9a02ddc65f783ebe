"""The table of a sweep in one HDF5 file, replaced as a whole while it grows: readers never see half a row.

A process that is killed at any time leaves the last complete table behind. A file whose key is another sweep's is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import numpy.typing as npt

from results.analysis.dominance import on_front
from results.analysis.sensitivity import Sensitivity, sensitivity
from results.exports.tables import columns, write_parquet
from results.trace.arrays_file import table_of, write
from uarch.errors import InputError
from uarch.files.keys import content_key, source_key
from uarch.files.writing import output_file
from uarch.version import __version__
from workloads.settings.choices import Fidelity
from workloads.sweep.evaluation import Row, Status, input_names
from workloads.sweep.schema import Sweep

_KIND = "uarch sweep, layout 1"
_FIXED = ("point", "fidelity", "status", "message")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SweepTable:
    """A table as it lies in a file.

    Examples
    --------
    >>> import uarch
    >>> table = uarch.run_sweep("decode-bandwidth", "sweep.h5", workers=1)
    >>> len(table.rows), table.sweep.objective[0].column
    (20, 'decode.seconds')
    """

    sweep: Sweep
    rows: Array
    """Structured array: one row for each point and fidelity; texts are UTF-8 bytes, what is not known is NaN."""
    attributes: Mapping[str, str]
    """Provenance: key, sources and version of the package."""

    def column(self, name: str) -> Array:
        """Column by name, texts as strings; :class:`uarch.InputError` if there is none."""
        if name not in self.names:
            near = [each for each in self.names if name in each or each in name] or list(self.names)
            raise InputError(f"{name}: no column of this sweep; allowed: {', '.join(near)}")
        return _decoded(self.rows[name])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return self.rows.dtype.names or ()

    @property
    def inputs(self) -> list[str]:
        """Columns of the fields that differ between points."""
        return [name for name in input_names(self.sweep) if name in self.names]

    @property
    def parameters(self) -> list[str]:
        """Columns of what is varied on its own; without parameters those of the fields of the points that the file lists."""
        derived = set(self.sweep.derived)
        return [
            name
            for name in self.inputs
            if name in self.sweep.parameter or not (self.sweep.parameter or name in derived)
        ]

    def done(self) -> Array:
        """Mark rows that have been run within the constraints, with the last fidelity that has such rows; bool ``(rows,)``."""
        done: Array = self.rows["status"] == b"done"
        for fidelity in reversed(self.sweep.fidelities):
            found: Array = done & (self.rows["fidelity"] == fidelity.encode())
            if found.any():
                return found
        return done

    def costs(self) -> Array:
        """Objectives of all rows, low is good; float64 ``(rows, objectives)``, NaN where a row has none."""
        unknown = np.full(len(self.rows), np.nan)
        given = [(each.sign, each.column) for each in self.sweep.objective]
        columns = [sign * self.rows[name].astype(np.float64) if name in self.names else unknown for sign, name in given]
        return np.stack(columns, axis=1)

    def front(self) -> Array:
        """Mark those of the rows that are done which no other one beats in every objective; bool ``(rows,)``."""
        return on_front(np.where(self.done()[:, None], self.costs(), np.nan))

    def sensitivities(self, result: str) -> dict[str, Sensitivity]:
        """What each parameter does to a column of numbers over the sampled rows that are done, the strongest first."""
        done = self.done()
        if self.sweep.parameter:
            done &= self.rows["point"] >= len(self.sweep.point)
        numbers = self.column(result)
        if numbers.dtype.kind != "f":
            raise InputError(f"{result}: is a text; allowed: a column of numbers")
        done &= np.isfinite(numbers)
        found = {
            name: sensitivity(values, numbers[done])
            for name in self.parameters
            if len(np.unique(values := self.column(name)[done])) > 1
        }
        return dict(sorted(found.items(), key=lambda item: -item[1].first_order))

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame``; needs pandas."""
        import pandas as pd

        return pd.DataFrame(columns(self.rows))

    def to_parquet(self, path: str | Path) -> None:
        """Write the table as Parquet; needs pyarrow.

        Raises
        ------
        ExportError
            Pyarrow is not installed.
        OSError
            The file cannot be written.
        """
        with output_file(Path(path)) as file:
            write_parquet(file, [columns(self.rows)])


def sweep_key(sweep: Sweep) -> str:
    """Key of a sweep: of its file, of all files that it names, and of the sources."""
    return content_key(source_key("uarch", "kernels", "workloads", "results"), sweep)


def write_table(path: Path, sweep: Sweep, rows: Iterable[Row]) -> None:
    """Write the rows, sorted by point and fidelity; equal rows give equal bytes.

    Raises
    ------
    OSError
        The file cannot be written; it is as it was before.
    """
    order = {fidelity: place for place, fidelity in enumerate(sweep.fidelities)}
    ordered = sorted(rows, key=lambda row: (order[row.fidelity], row.point))
    if not ordered:
        return
    names = list(dict.fromkeys(name for row in ordered for name in (*row.inputs, *row.outputs)))
    lines = [_line(row, names) for row in ordered]
    attributes = {
        "kind": _KIND,
        "sweep": sweep.model_dump_json(),
        "sweep_key": sweep_key(sweep),
        "package_version": __version__,
        "units": "in the names of the columns",
    }
    write(path, attributes, {"table": table_of(lines)})


def read_sweep(path: str | Path) -> SweepTable:
    """Read the table of a sweep, finished or not.

    Parameters
    ----------
    path
        HDF5 file of ``uarch sweep`` or :func:`workloads.sweep.execution.run_sweep`.

    Returns
    -------
    SweepTable
        Rows that are known, the sweep, and what made them.

    Raises
    ------
    InputError
        The file cannot be read, or is no table of a sweep.

    Examples
    --------
    >>> import uarch
    >>> table = uarch.run_sweep("decode-bandwidth", "sweep.h5", workers=1)
    >>> len(uarch.read_sweep("sweep.h5").rows) == len(table.rows)
    True
    """
    try:
        with h5py.File(path, "r") as file:
            attributes = {name: str(value) for name, value in file.attrs.items()}
            if attributes.get("kind") != _KIND:
                raise InputError(f"{path}: not the table of a sweep of this version; allowed: a file of `uarch sweep`")
            rows = file["table"][()]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: not the table of a sweep: it cannot be read as HDF5") from error
    return SweepTable(Sweep.model_validate_json(attributes["sweep"]), rows, attributes)


def resumed_rows(path: Path, sweep: Sweep) -> list[Row]:
    """Rows that an earlier run of the same sweep has left; none if there is no file.

    Raises
    ------
    InputError
        The file is another sweep's, or was made by other sources.
    """
    if not path.exists():
        return []
    table = read_sweep(path)
    if table.attributes.get("sweep_key") != sweep_key(sweep):
        same = table.sweep == sweep
        cause = (
            "made by another version of uarch or of a file that it names"
            if same
            else f"of another sweep, {table.sweep.name}"
        )
        raise InputError(f"{path}: {cause}; allowed: another output, or --restart, which replaces the file")
    return [_row(line, table) for line in table.rows]


def _line(row: Row, names: list[str]) -> dict[str, Any]:
    values = {**row.inputs, **row.outputs}
    fixed = {"point": row.point, "fidelity": row.fidelity, "status": row.status, "message": row.message}
    return fixed | {name: values.get(name) for name in names}


def _row(line: Any, table: SweepTable) -> Row:
    inputs = {name: _python(line[name]) for name in table.inputs}
    others = [name for name in table.names if name not in inputs and name not in _FIXED]
    fidelity, status = (line[name].decode() for name in ("fidelity", "status"))
    return Row(
        int(line["point"]),
        cast(Fidelity, fidelity),
        cast(Status, status),
        line["message"].decode(),
        inputs,
        {name: _python(line[name]) for name in others},
    )


def _python(value: Any) -> float | str | None:
    """Value of a cell; None of what is not known."""
    if isinstance(value, bytes):
        return value.decode() or None
    return None if np.isnan(value) else float(value)


def _decoded(column: Array) -> Array:
    return np.char.decode(column, "utf-8") if column.dtype.kind == "S" else column
