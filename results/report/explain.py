"""What a run's time went to, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from results.analysis.bounds import BUSY
from results.plots.quantities import quantity
from results.plots.selection import rows_by_name
from results.trace.schema import CAUSE_FIELDS, ENERGY_COMPONENTS, STALL_CAUSES, text
from results.trace.trace import Trace

_RESOURCES = {
    "compute": ("systolic arrays", "more or larger arrays, a higher clock, a narrower datatype, or less padding"),
    "vector": ("vector units", "wider vector units, or fewer passes over the data"),
    "l2": ("L2 and the network", "more L2 bandwidth, larger tiles in L1, or more cores that share a response"),
    "dram": ("DRAM", "more bandwidth, a larger batch that shares the weights, narrower weights, or a larger L2"),
    "link": ("chip-to-chip link", "a faster link, or a smaller degree of tensor parallelism"),
}
"""``bound_by`` -> what it is, and what makes it faster."""

_CAUSES = {
    "matrix": "the arrays compute",
    "vector": "the vector units compute while no array does",
    "l1": "arrays or vector units wait for operands from L1",
    "l2_noc": "operands are on their way from L2 over the network",
    "dram": "operands are on their way from DRAM",
    "link": "bytes are on their way from another chip",
    "dependency": "blocks wait for the results of other blocks",
    "launch": "kernels and blocks are being started",
    "idle": "cores have no block left while others still work: the tail of a kernel, or too few blocks",
}
_WORTH_NAMING = 0.03
"""Part of the time below which a cause is not mentioned."""
_LARGEST_OPS = 3


def explain(trace: Trace) -> list[str]:
    """Sentences on a run: what bounds it, which ops take the time, what the cores wait for, where the energy goes."""
    return [_bound(trace), _floor(trace), _ops(trace), _causes(trace), _energy(trace)]


def _bound(trace: Trace) -> str:
    total: dict[str, Any] = trace.rollup
    took = f"The {trace.workload['phase']} takes {quantity(total['seconds'], 's')}"
    if total.get("tokens"):
        took += f", {total['tokens_per_second']:,.0f} tokens/s"
    bound = str(total["bound_by"])
    use = {name: float(total.get(f"{name}_use_fraction", 0.0)) for name in _RESOURCES}
    if bound in _RESOURCES and use[bound] >= BUSY:
        noun, remedy = _RESOURCES[bound]
        return f"{took}. It is bound by its {noun}, in use at {use[bound]:.0%} of the peak: what helps is {remedy}."
    cause = {"compute": "matrix", "l2": "l2_noc"}.get(bound, bound)
    busiest = max(use, key=lambda name: use[name])
    return (
        f"{took}. No resource is in use at half its peak (the busiest, {_RESOURCES[busiest][0]}, at {use[busiest]:.0%}): "
        f"it is bound by latency and structure. Most of the core time goes to one cause: {_CAUSES[cause]}."
    )


def _floor(trace: Trace) -> str:
    """How much faster the same work could be at most, by the peaks of the chip."""
    total: dict[str, Any] = trace.rollup
    use = {name: float(total.get(f"{name}_use_fraction", 0.0)) for name in _RESOURCES}
    busiest = max(use, key=lambda name: use[name])
    floor = use[busiest] * float(total["seconds"])
    return (
        f"If the {_RESOURCES[busiest][0]} worked without a pause, the same work would take {quantity(floor, 's')}; "
        f"the other {1 - use[busiest]:.0%} is what scheduling, latency and the other resources cost."
    )


def _ops(trace: Trace) -> str:
    rows = rows_by_name(trace.layers)
    seconds = {name: float(part["seconds"].sum()) for name, part in rows.items()}
    total = max(sum(seconds.values()), 1e-30)
    largest = sorted(seconds, key=lambda name: -seconds[name])[:_LARGEST_OPS]
    named = [f"{name.replace('_', ' ')} ({seconds[name] / total:.0%}, {_bounds(rows[name])})" for name in largest]
    return f"The largest ops are {_joined(named)}."


def _bounds(rows: Any) -> str:
    """The bound of most of an op's time."""
    names = np.array(text(rows["bound_by"]))
    times = {name: float(rows["seconds"][names == name].sum()) for name in set(names.tolist())}
    bound = max(sorted(times), key=lambda name: times[name])
    return f"bound by {bound}" if bound in _RESOURCES else f"mostly {bound}"


def _causes(trace: Trace) -> str:
    cycles = {cause: float(trace.layers[field].sum()) for cause, field in zip(STALL_CAUSES, CAUSE_FIELDS, strict=True)}
    total = max(sum(cycles.values()), 1e-30)
    ranked = sorted(cycles.items(), key=lambda item: -item[1])
    named = [f"{share / total:.0%} {_CAUSES[cause]}" for cause, share in ranked if share / total >= _WORTH_NAMING]
    return f"Of the cores' time, in {'; in '.join(named)}."


def _energy(trace: Trace) -> str:
    joules = {name: float(trace.rollup[f"energy_{name}_joules"]) for name in ENERGY_COMPONENTS}
    total = sum(joules.values())
    if total <= 0:
        return "No energy was counted."
    ranked = sorted(joules.items(), key=lambda item: -item[1])
    named = _joined([f"{name} {value / total:.0%}" for name, value in ranked[:_LARGEST_OPS] if value > 0])
    power = quantity(float(trace.rollup["average_power_watts"]), "W")
    return f"A chip spends {quantity(total, 'J')}, {power} on average: mostly {named}."


def _joined(parts: list[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if parts[1:] else "") + parts[-1]


def meanings() -> Iterator[tuple[str, str]]:
    """Each cause of core time and what it means."""
    yield from _CAUSES.items()
