"""What must hold for every trace, whatever ran on whatever chip."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from results.analysis.bounds import Peaks, bound_by, resource_use, totals
from results.trace.schema import (
    BOUND_NAMES,
    CAUSE_FIELDS,
    ENERGY_COMPONENTS,
    ENERGY_FIELDS,
    LAYER_DTYPE,
    STALL_CAUSES,
    TEXT_FIELDS,
    Table,
    matrix,
    text,
)
from results.trace.timeline import check_intervals
from results.trace.trace import Trace

_RELATIVE = 1e-9
_RATES = 1e-3
"""The engine's rates are integers; what was written back late may have been read into the run before."""
_CYCLE = 1.0
"""The engine's picoseconds are rounded to cycles, up to half a cycle at each end of an op."""

_REQUIRED_NUMBERS = (
    "clock_hz",
    "cycles",
    "seconds",
    "flops",
    "dram_bytes",
    "l2_bytes",
    "link_bytes",
    "energy_joules",
    "utilization",
    "dram_bandwidth_fraction",
    "l2_hit_rate",
    *(f"energy_{name}_joules" for name in ENERGY_COMPONENTS),
    *(f"cause_{name}_seconds" for name in STALL_CAUSES),
)


def check(trace: Trace) -> list[str]:
    """Check everything that must hold for a trace.

    Numbers are finite and not negative; ops follow one another without gap or overlap, starting at cycle 0; core time by cause
    adds up to each op's time; seconds are cycles over the clock; utilisation and fractions are at most 1; ``bound_by`` is what
    :mod:`results.analysis.bounds` says; the roll-up equals the sums over the rows, and its energy the sum of its components; no
    resource does more than its peak allows in the time of the run; intervals of the timeline are what
    :func:`results.trace.timeline.check_intervals` says.

    Parameters
    ----------
    trace
        The trace of a run.

    Returns
    -------
    list of str
        What is wrong with the trace, one line each; empty for a sound one.

    Examples
    --------
    >>> import uarch
    >>> uarch.check(uarch.simulate("a100", "llama-3-8b", "prefill", batch=1, seq=512, fidelity="analytical"))
    []
    """
    missing = [name for name in _REQUIRED_NUMBERS if not isinstance(trace.rollup.get(name), (int, float))]
    if missing:
        return [f"rollup: no number {', '.join(missing)}"]
    if not len(trace.layers):
        return ["layers: no rows"]
    problems = _check_numbers(trace.layers)
    if problems:
        return problems
    problems += _check_times(trace.layers, float(trace.rollup["clock_hz"]))
    problems += _check_causes(trace.layers)
    problems += _check_bounds(trace.layers, Peaks.of(trace.rollup))
    problems += _rows_where(trace.layers["utilization"] > 1 + _RELATIVE, "utilization above 1")
    problems += _check_rollup(trace)
    if trace.timeline is not None:
        problems += check_intervals([trace.timeline], trace.layers, float(trace.rollup["clock_hz"]))
    return problems


def _rows_where(wrong: npt.NDArray[np.bool_], what: str) -> list[str]:
    rows = np.flatnonzero(wrong)
    if not len(rows):
        return []
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return [f"layers: {what} in row {rows[0]}{more}"]


def _check_numbers(layers: Table) -> list[str]:
    problems: list[str] = []
    for field in LAYER_DTYPE.names or ():
        if field in TEXT_FIELDS:
            continue
        wrong = ~np.isfinite(layers[field]) | (layers[field] < (-1 if field == "layer" else 0))
        problems += _rows_where(wrong, f"{field} negative or not finite")
    return problems


def _check_times(layers: Table, clock_hz: float) -> list[str]:
    start, end = layers["start_cycle"], layers["end_cycle"]
    expected_start = np.concatenate(([0], end[:-1]))
    expected_seconds = (end - start) / clock_hz
    tolerance = _CYCLE / clock_hz + _RELATIVE * expected_seconds
    return (
        _rows_where(end < start, "end_cycle before start_cycle")
        + _rows_where(start != expected_start, "start_cycle is not the previous op's end_cycle (0 for the first)")
        + _rows_where(np.abs(layers["seconds"] - expected_seconds) > tolerance, "seconds differ from cycles / clock_hz")
    )


def _check_causes(layers: Table) -> list[str]:
    cycles = matrix(layers, CAUSE_FIELDS)
    duration = (layers["end_cycle"] - layers["start_cycle"]).astype(np.float64)
    wrong_sum = np.abs(cycles.sum(axis=1) - duration) > _CYCLE + _RELATIVE * duration
    return _rows_where(wrong_sum, "cycles by cause do not add up to end_cycle - start_cycle")


def _check_bounds(layers: Table, peaks: Peaks) -> list[str]:
    named = text(layers["bound_by"])
    unknown = np.array([name not in BOUND_NAMES.values() for name in named])
    derived = [bound_by(totals(layers[i : i + 1]), peaks) for i in range(len(layers))]
    wrong = ~unknown & np.array([name != other for name, other in zip(named, derived, strict=True)])
    return _rows_where(unknown, f"bound_by is none of {', '.join(BOUND_NAMES.values())}") + _rows_where(
        wrong, "bound_by is not what its traffic and causes say"
    )


def _check_rollup(trace: Trace) -> list[str]:
    layers, rollup = trace.layers, trace.rollup
    clock_hz = float(rollup["clock_hz"])
    sums = {
        "cycles": float((layers["end_cycle"] - layers["start_cycle"]).sum()),
        "seconds": float(layers["seconds"].sum()),
        "flops": float(layers["flops"].sum()),
        "dram_bytes": float(layers["dram_read_bytes"].sum() + layers["dram_write_bytes"].sum()),
        "l2_bytes": float(layers["l2_bytes"].sum()),
        "link_bytes": float(layers["link_bytes"].sum()),
        "energy_joules": float(matrix(layers, ENERGY_FIELDS).sum()),
        **{f"energy_{name}_joules": float(layers[f"{name}_joules"].sum()) for name in ENERGY_COMPONENTS},
        **{f"cause_{name}_seconds": float(layers[f"{name}_cycles"].sum()) / clock_hz for name in STALL_CAUSES},
    }
    problems = [
        f"rollup: {name} is {rollup[name]!r}, the rows add up to {total!r}"
        for name, total in sums.items()
        if not np.isclose(float(rollup[name]), total, rtol=_RELATIVE, atol=0.0)
    ]
    total, parts = rollup["energy_joules"], sum(float(rollup[f"energy_{name}_joules"]) for name in ENERGY_COMPONENTS)
    if not np.isclose(float(total), parts, rtol=_RELATIVE, atol=0.0):
        problems.append(f"rollup: energy_joules is {total!r}, its components add up to {parts!r}")
    problems += [
        f"rollup: {name} is {rollup[name]!r}, allowed: 0 to 1"
        for name in ("utilization", "dram_bandwidth_fraction", "l2_hit_rate")
        if not 0 <= float(rollup[name]) <= 1 + _RELATIVE
    ]
    problems += [
        f"rollup: {name} is used at {use:.4f} of its peak, allowed: at most 1"
        for name, use in resource_use(totals(layers), Peaks.of(rollup)).items()
        if use > 1 + _RATES
    ]
    derived = bound_by(totals(layers), Peaks.of(rollup))
    if rollup.get("bound_by") != derived:
        problems.append(f"rollup: bound_by is {rollup.get('bound_by')!r}, the rows say {derived!r}")
    return problems
