"""Two runs op by op: what became slower or faster, and which cause of core time changed most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from results.trace.schema import CAUSE_FIELDS, ENERGY_FIELDS, STALL_CAUSES, Table, matrix, text
from results.trace.trace import Trace


def difference(before: Trace, after: Trace, by_layer: bool = False) -> list[dict[str, Any]]:
    """Compare two runs op by op, the op whose time changed most first.

    Ops are matched by name and summed over the layers, or matched layer by layer (several of one name in their order). An op
    that one of the runs does not have counts as 0 there.

    Parameters
    ----------
    before, after
        Traces of the two runs.
    by_layer
        Whether ops are matched layer by layer.

    Returns
    -------
    list of dict
        Rows with ``op``, ``kind``, ``layer`` (None where summed), ``seconds_before``, ``seconds_after``, and as after minus
        before ``seconds_change``, ``dram_bytes_change``, ``energy_joules_change``; ``cause`` is the one whose core time
        changed most, by ``cause_seconds_change``.

    Examples
    --------
    >>> import uarch
    >>> setting = {"batch": 8, "seq": 1024, "fidelity": "analytical"}
    >>> runs = [uarch.simulate(chip, "llama-3-8b", "decode", **setting) for chip in ("a100", "h100")]
    >>> row = uarch.difference(*runs)[0]
    >>> row["op"], row["seconds_change"] < 0
    ('ffn_in', True)
    """
    first, second = _summed(before, by_layer), _summed(after, by_layer)
    rows = [_row(key, first.get(key), second.get(key)) for key in {**first, **second}]
    return sorted(rows, key=lambda row: -abs(row["seconds_change"]))


def _summed(trace: Trace, by_layer: bool) -> dict[tuple[str, str, int | None, int], npt.NDArray[np.float64]]:
    """(name, kind, layer, occurrence) -> seconds, DRAM bytes, joules, seconds by cause."""
    sums: dict[tuple[str, str, int | None, int], npt.NDArray[np.float64]] = {}
    seen: dict[tuple[str, str, int], int] = {}
    for (name, kind, layer), numbers in zip(_names(trace.layers), _numbers(trace.layers), strict=True):
        occurrence = 0
        if by_layer:
            occurrence = seen[name, kind, layer] = seen.get((name, kind, layer), -1) + 1
        key = name, kind, layer if by_layer else None, occurrence
        sums[key] = sums[key] + numbers if key in sums else numbers
    return sums


def _names(layers: Table) -> Iterator[tuple[str, str, int]]:
    return zip(text(layers["name"]), text(layers["kind"]), layers["layer"].tolist(), strict=True)


def _numbers(layers: Table) -> npt.NDArray[np.float64]:
    """Numbers of each op that are compared, shape ``(len(layers), 3 + causes)``."""
    cycles = matrix(layers, CAUSE_FIELDS)
    total = np.maximum(cycles.sum(axis=1), 1e-30)
    by_cause = cycles * (layers["seconds"] / total)[:, None]
    dram_bytes = layers["dram_read_bytes"] + layers["dram_write_bytes"]
    joules = matrix(layers, ENERGY_FIELDS).sum(axis=1)
    return np.column_stack((layers["seconds"], dram_bytes, joules, by_cause))


def _row(
    key: tuple[str, str, int | None, int],
    before: npt.NDArray[np.float64] | None,
    after: npt.NDArray[np.float64] | None,
) -> dict[str, Any]:
    nothing = np.zeros(3 + len(STALL_CAUSES))
    first, second = nothing if before is None else before, nothing if after is None else after
    change = second - first
    cause = int(np.argmax(np.abs(change[3:])))
    return {
        "op": key[0],
        "kind": key[1],
        "layer": key[2],
        "seconds_before": float(first[0]),
        "seconds_after": float(second[0]),
        "seconds_change": float(change[0]),
        "dram_bytes_change": float(change[1]),
        "energy_joules_change": float(change[2]),
        "cause": STALL_CAUSES[cause],
        "cause_seconds_change": float(change[3 + cause]),
    }
