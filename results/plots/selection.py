"""Rows of a trace that a plot shows, and their labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from results.plots.style import PlotError
from results.trace.schema import CAUSE_FIELDS, Table, matrix, text
from results.trace.trace import Trace


def run_name(trace: Trace) -> str:
    """What ran on which chip, for a title: ``bloom-176b prefill on h100``."""
    return f"{trace.workload['model']} {trace.workload['phase']} on {trace.chip['name']}"


def run_setting(trace: Trace) -> str:
    """Size and options of the run as far as the trace tells them: ``batch 2 x 1024 tokens, TP 8, fp16, flash attention``."""
    workload = trace.workload
    parts = []
    if "batch" in workload and "seq" in workload:
        context = "tokens" if workload["phase"] == "prefill" else "tokens of context"
        parts.append(f"batch {workload['batch']} × {workload['seq']} {context}")
    if "tp" in workload:
        parts.append(f"TP {workload['tp']}")
    options = {"dtype": "", "attention": " attention", "stack": " stack", "fidelity": ""}
    parts += [f"{workload[field]}{noun}" for field, noun in options.items() if workload.get(field)]
    return ", ".join(parts)


def representative_layer(trace: Trace) -> Table:
    """Op instances of the middle layer, which neither starts cold nor ends the model; all rows if there are no layers.

    Raises:
        PlotError: the trace has no rows.
    """
    if not len(trace.layers):
        raise PlotError("layers: the trace has no rows to plot")
    numbers = np.unique(trace.layers["layer"][trace.layers["layer"] >= 0])
    if not len(numbers):
        return trace.layers
    layer: Table = trace.layers[trace.layers["layer"] == numbers[len(numbers) // 2]]
    return layer


def layer_name(layer: Table) -> str:
    """``layer 40``, or ``all ops`` of a run without layers."""
    number = int(layer["layer"][0])
    return f"layer {number}" if number >= 0 else "all ops"


def rows_by_kind(layers: Table) -> dict[str, Table]:
    """Op kind -> its rows, in the order in which the kinds first run."""
    return _rows_by(layers, "kind")


def rows_by_name(layers: Table) -> dict[str, Table]:
    """Name of an op -> its rows in all layers, in the order in which they first run."""
    return _rows_by(layers, "name")


def _rows_by(layers: Table, field: str) -> dict[str, Table]:
    values: npt.NDArray[np.bytes_] = layers[field]
    _, first = np.unique(values, return_index=True)
    return {value.decode(): layers[values == value] for value in values[np.sort(first)].tolist()}


def op_names(layer: Table) -> list[str]:
    """Names of the ops as text: underscores are spaces."""
    return [name.replace("_", " ") for name in text(layer["name"])]


def seconds_by_cause(layer: Table) -> npt.NDArray[np.float64]:
    """Each op's seconds split in proportion to its cycles by cause: shape (len(layer), number of causes)."""
    cycles = matrix(layer, CAUSE_FIELDS)
    sums = cycles.sum(axis=1, keepdims=True)
    share = np.divide(cycles, sums, out=np.zeros_like(cycles), where=sums > 0)
    by_cause: npt.NDArray[np.float64] = share * layer["seconds"][:, None]
    return by_cause
