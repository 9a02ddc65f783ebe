"""Tables of a run: its summary, and its ops, which a reader can sort."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np

from results.plots.quantities import quantity
from results.plots.selection import run_name, run_setting
from results.report.html import Cell, facts, sortable
from results.trace.schema import CAUSE_FIELDS, ENERGY_FIELDS, STALL_CAUSES, TEXT_FIELDS, Table, matrix
from results.trace.trace import Trace

_UNEQUAL = ("layer", "start_cycle", "end_cycle", "seconds", *CAUSE_FIELDS)
"""Fields left out when instances of one op are compared: they differ by rounding or position only."""


OP_COLUMNS = (
    "op",
    "layers",
    "kind",
    "shape",
    "bound by",
    "time each",
    "time in all",
    "share",
    "arrays",
    "DRAM bytes",
    "DRAM rate",
    "L2 hits",
    "energy in all",
    "largest wait",
)


def op_rows(trace: Trace) -> Iterator[list[Cell]]:
    """Yield a row for each op and group of layers in which it did the same."""
    run_seconds = max(float(trace.layers["seconds"].sum()), 1e-30)
    for order, rows in enumerate(_groups(trace.layers)):
        yield list(_op_cells(rows, order, run_seconds))


def _groups(layers: Table) -> Iterator[Table]:
    """Group instances with equal texts and counts, in the order of the first."""
    same = [name for name in layers.dtype.names or () if name not in _UNEQUAL]
    kept: dict[bytes, list[int]] = {}
    compared = layers[same]
    for index in range(len(layers)):
        key = repr([compared[index][name] if name in TEXT_FIELDS else float(compared[index][name]) for name in same])
        kept.setdefault(key.encode(), []).append(index)
    for indices in kept.values():
        yield layers[indices]


def _op_cells(rows: Table, order: int, run_seconds: float) -> Iterator[Cell]:
    seconds, first = float(rows["seconds"].sum()), rows[0]
    each = seconds / len(rows)
    dram_bytes = float(first["dram_read_bytes"] + first["dram_write_bytes"])
    accesses = float(first["l2_hits"] + first["l2_misses"])
    joules = float(matrix(rows, ENERGY_FIELDS).sum())
    yield Cell(first["name"].decode().replace("_", " "), first["name"].decode())
    yield Cell(_layers(rows["layer"]), float(order))
    for field in ("kind", "shape", "bound_by"):
        yield Cell(first[field].decode().replace("_", " "), first[field].decode())
    yield Cell(quantity(each, "s"), each)
    yield Cell(quantity(seconds, "s"), seconds)
    yield Cell(f"{seconds / run_seconds:.1%}", seconds / run_seconds)
    yield Cell(f"{first['utilization']:.1%}" if first["flops"] else "-", float(first["utilization"]))
    yield Cell(quantity(dram_bytes, "B"), dram_bytes)
    yield Cell(quantity(dram_bytes / each, "B/s") if each else "-", dram_bytes / each if each else 0.0)
    hits = float(first["l2_hits"]) / accesses if accesses else 0.0
    yield Cell(f"{hits:.0%}" if accesses else "-", hits)
    yield Cell(quantity(joules, "J"), joules)
    yield _largest_wait(rows)


def _layers(numbers: Any) -> str:
    """Name a range of layers: ``3``, ``1 to 31``, or ``outside``."""
    low, high = int(numbers.min()), int(numbers.max())
    if high < 0:
        return "outside"
    return str(low) if low == high else f"{low} to {high}"


def _largest_wait(rows: Table) -> Cell:
    cycles = matrix(rows, CAUSE_FIELDS).sum(axis=0)
    waits = np.where(np.isin(STALL_CAUSES, ("matrix", "vector")), -1.0, cycles)
    worst = int(np.argmax(waits))
    share = float(cycles[worst] / max(cycles.sum(), 1e-30))
    return Cell(f"{STALL_CAUSES[worst].replace('_', ' ')} {share:.0%}", share)


def summary(trace: Trace) -> Iterator[tuple[str, str]]:
    """Yield names and values of what is first asked of a run."""
    total: dict[str, Any] = trace.rollup
    yield "latency", f"{quantity(total['seconds'], 's')}, {total['cycles']:,} cycles"
    if total.get("tokens"):
        yield "throughput", f"{total['tokens_per_second']:,.0f} tokens/s of the group of {total['n_chips']}"
        energy = f"{quantity(total['energy_per_token_joules'], 'J')} per token, all chips of the group"
        board = total.get("board_energy_per_token_joules")
        yield "energy", f"{energy}; {quantity(board, 'J')} at the boards" if board else energy
    yield "useful work", f"{quantity(total['flops'], 'FLOP')}, arrays used at {total['utilization']:.1%} of their peak"
    rate = quantity(total["dram_bytes_per_second"], "B/s")
    yield "DRAM", f"{quantity(total['dram_bytes'], 'B')}, {rate}, {total['dram_bandwidth_fraction']:.1%} of the peak"
    yield "L2", f"{quantity(total['l2_bytes'], 'B')}, {total['l2_hit_rate']:.1%} of the loads hit"
    power = f"{quantity(total['average_power_watts'], 'W')} on average, one chip and its memory"
    board = total.get("average_board_power_watts")
    yield (
        "power",
        f"{power}; {quantity(board, 'W')} its board, at {quantity(total['mean_clock_hz'], 'Hz')}" if board else power,
    )
    yield "bound by", str(total["bound_by"])


def trace_html(trace: Trace) -> str:
    """Show a run as two tables: its summary and its ops."""
    ops = sortable(OP_COLUMNS, op_rows(trace), "Instances that did the same are one row.")
    return f"<b>{escape(run_name(trace))}</b> ({escape(run_setting(trace))}){facts(summary(trace))}{ops}"
