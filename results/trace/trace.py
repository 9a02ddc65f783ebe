"""The trace of one run: what the simulator leaves behind and everything in this package starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.trace import trace_file
from results.trace.schema import LAYER_DTYPE, SCHEMA_VERSION, TIMELINE_DTYPE, Table
from results.trace.trace_file import TraceError

__all__ = ["LAYER_DTYPE", "SCHEMA_VERSION", "TIMELINE_DTYPE", "Trace", "TraceError"]


@dataclass(frozen=True, eq=False)
class Trace:
    """Trace of one phase of a model, or of one kernel, on one chip: plain data.

    Raises
    ------
    TraceError
        For a table that has another dtype or shape than its schema, or a description that lacks its name.

    Examples
    --------
    >>> import uarch
    >>> trace = uarch.simulate("h100", "llama-3-8b", "decode", batch=8, seq=1024, fidelity="analytical")
    >>> trace.save("decode.h5")
    >>> uarch.Trace.load("decode.h5").rollup["bound_by"]
    'dram'
    """

    chip: dict[str, Any]
    """The full description of the chip, JSON-able; ``name`` at least."""
    workload: dict[str, Any]
    """What ran, JSON-able: ``model`` and ``phase`` at least; batch, seq, tp, dtype, attention, stack, fidelity."""
    package_version: str
    seed: int
    layers: Table
    """Op instances in time order, dtype ``LAYER_DTYPE``, of one of the TP group's chips."""
    rollup: dict[str, float | int | str]
    """Numbers of the whole run, as :func:`results.analysis.rollup.rollup` makes them."""
    timeline: Table | None = None
    """What each core did when, dtype ``TIMELINE_DTYPE``, if it was recorded and loaded."""

    def __post_init__(self) -> None:
        _require_table("layers", self.layers, LAYER_DTYPE)
        if self.timeline is not None:
            _require_table("timeline", self.timeline, TIMELINE_DTYPE)
        for description, required in (("chip", ("name",)), ("workload", ("model", "phase"))):
            for field in required:
                if field not in getattr(self, description):
                    raise TraceError(f"{description}.{field}: missing from the trace")

    def _repr_html_(self) -> str:
        """What a notebook shows: the summary and the ops."""
        from results.report.tables import trace_html  # plots, which it loads, are slow to import

        return trace_html(self)

    def save(self, path: str | Path) -> None:
        """Write an HDF5 file, completely or not at all; equal traces give equal bytes.

        Raises:
            OSError: the file cannot be written; its ``filename`` is ``path``.
        """
        contents = {field: getattr(self, field) for field in trace_file.Contents._fields}
        trace_file.write(Path(path), trace_file.Contents(**contents))

    @classmethod
    def load(cls, path: str | Path, with_timeline: bool = True) -> Trace:
        """Read a file that :meth:`save` wrote, without its timeline if that is not wanted.

        Raises:
            TraceError: no such file, or a truncated, foreign or newer one; the message is one line with the path.
        """
        try:
            return cls(**trace_file.read(Path(path), with_timeline)._asdict())
        except TraceError as error:
            prefix = "" if str(error).startswith(str(path)) else f"{path}: "
            raise TraceError(f"{prefix}{error}") from error


def _require_table(name: str, table: Table, dtype: Any) -> None:
    if table.dtype != dtype or table.ndim != 1:
        raise TraceError(f"{name}: expected a one-dimensional table with the fields of the schema")
