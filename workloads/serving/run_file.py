"""A run of a cluster as one HDF5 file: a row a request, a row a replica, time series, and what they add up to."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from results.trace.arrays_file import write
from uarch.version import __version__
from workloads.serving.loop.records import FIRST_GAP_SECONDS, GAP_BINS, GAP_RATIO, ROLES
from workloads.serving.lowering import LoweredCluster
from workloads.serving.measures import Measures
from workloads.serving.simulation import Served

REQUEST_FIELDS = (
    "arrival_seconds",
    "input_tokens",
    "output_tokens",
    "admitted_seconds",
    "first_token_seconds",
    "last_token_seconds",
    "longest_gap_seconds",
    "transfer_seconds",
    "cached_tokens",
    "preemptions",
    "prefill_machine",
    "decode_machine",
)
"""Columns of ``/requests``; times since the start of the workload, -1 for what did not happen."""

REPLICA_FIELDS = (
    "pool",
    "kv_blocks",
    "block_tokens",
    "steps",
    "busy_seconds",
    "step_joules_total",
    "prefilled_tokens",
    "decoded_tokens",
    "preemptions",
    "peak_blocks",
    "received_bytes",
    "role_changes",
)
"""Columns of ``/replicas``."""


def write_run(path: Path, cluster: LoweredCluster, served: Served, measures: Measures) -> None:
    """Write a run, complete or not at all; equal runs give equal bytes.

    ``/series/seconds`` has the times of the samples, ``/series/running``, ``waiting``, ``used_blocks`` and ``role`` one row a
    sample and one column a replica; ``/gaps/seconds`` and ``/gaps/tokens`` the histogram of times between
    tokens, by lower edge.

    Raises
    ------
    OSError
        If the file cannot be written; its ``filename`` is ``path``.
    """
    attributes = {
        "kind": "cluster",
        "package_version": __version__,
        "cluster": json.dumps(cluster.file.model_dump(mode="json")),
        "measures": json.dumps(asdict(measures)),
        "roles": json.dumps(ROLES),
    }
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "requests": _columns(served.sequences, REQUEST_FIELDS),
        "replicas": _columns(served.machines, REPLICA_FIELDS),
        "series/seconds": served.sample_times,
        "gaps/seconds": FIRST_GAP_SECONDS * GAP_RATIO ** np.arange(GAP_BINS),
        "gaps/tokens": served.gaps,
    }
    for name in ("running", "waiting", "used_blocks", "role"):
        arrays[f"series/{name}"] = np.ascontiguousarray(served.samples[name])
    write(path, attributes, arrays)


def _columns(rows: npt.NDArray[np.void], names: tuple[str, ...]) -> npt.NDArray[np.void]:
    """Return the named columns as a packed table."""
    table = np.zeros(len(rows), [(name, rows.dtype[name]) for name in names])
    for name in names:
        table[name] = rows[name]
    return table
