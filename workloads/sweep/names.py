"""Names that a sweep may use: fields of the chip and of its runs, what a chip is and costs, and what its runs give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Final, Literal

from results.analysis.bounds import RESOURCES
from results.trace.schema import ENERGY_COMPONENTS, STALL_CAUSES
from uarch.chip.schema import Chip
from uarch.files.reading import field_names
from uarch.silicon.area import die_area_mm2, modelled_die_area_mm2
from uarch.silicon.cost import die_cost_usd, die_yield, hardware_cost_usd, memory_cost_usd
from uarch.silicon.tdp import tdp_watts, tdp_watts_by_area
from workloads.sweep.expressions import parsed
from workloads.sweep.schema import OPTIONS, Sweep

PHYSICAL: Final[Mapping[str, Callable[[Chip], float]]] = {
    "die_area_mm2": die_area_mm2,
    "modelled_die_area_mm2": modelled_die_area_mm2,
    "yield_fraction": die_yield,
    "die_cost_usd": die_cost_usd,
    "memory_cost_usd": memory_cost_usd,
    "hardware_cost_usd": hardware_cost_usd,
    "tdp_watts": tdp_watts,
    "tdp_by_area_watts": tdp_watts_by_area,
}
"""What a chip is and costs without a run, by name."""
ROLLUP_OUTPUTS: Final = (
    "seconds",
    "tokens",
    "n_chips",
    "cycles",
    "tokens_per_second",
    "flops",
    "flops_per_second",
    "utilization",
    "dram_bytes",
    "dram_bytes_per_second",
    "dram_bandwidth_fraction",
    "l2_bytes",
    "l2_hit_rate",
    "link_bytes",
    "energy_joules",
    "energy_per_token_joules",
    "average_power_watts",
    "bound_by",
    *(f"{name}_use_fraction" for name in RESOURCES),
    *(f"cause_{name}_seconds" for name in STALL_CAUSES),
    *(f"energy_{name}_joules" for name in ENERGY_COMPONENTS),
)
"""Outputs of a run that are fields of its roll-up: those that every run has."""
RATE_OUTPUTS: Final = ("tokens_per_second_per_usd", "tokens_per_second_per_mm2", "tokens_per_joule")
"""Rate of tokens by what all chips of a run cost and cover, and tokens by the energy of all."""
OUTPUTS: Final = (*ROLLUP_OUTPUTS, *RATE_OUTPUTS)
"""Names of all outputs of a run."""
RUN_FIELDS: Final = ("model", "phase", "batch", "seq", *OPTIONS)
"""Fields of a run that can be set."""
ALL_RUNS: Final = "workload"
"""First part of the name of a field of all runs."""
Owner = Literal["chip", "run", "choice"]


def owner(sweep: Sweep, name: str) -> Owner | None:
    """What a name is a field of; ``choice`` for ``chip`` and ``stack`` themselves, None if it is no field."""
    first, _, rest = name.partition(".")
    if name in ("chip", "stack"):
        return "choice"
    if rest and (first == ALL_RUNS or first in sweep.run):
        return "run" if rest in RUN_FIELDS else None
    return "chip" if _is_chip_field(name) else None


def output_name(sweep: Sweep, name: str) -> str | None:
    """``run.field`` of an output, whose run may be left out if there is only one; None for any other name."""
    run, _, rest = name.partition(".")
    if run in sweep.run and rest in OUTPUTS:
        return name
    return f"{next(iter(sweep.run))}.{name}" if len(sweep.run) == 1 and name in OUTPUTS else None


def derives(sweep: Sweep, name: str) -> bool:
    """Whether a name is a new one that the sweep derives, not a field that it sets."""
    return name in sweep.derived and owner(sweep, name) is None


def reached(sweep: Sweep, text: str) -> Iterator[str]:
    """Names on which an expression depends, those of derived names in their place."""
    for name in parsed(text).names:
        if derives(sweep, name):
            yield from reached(sweep, sweep.derived[name])
        else:
            yield name


def needs_runs(sweep: Sweep, text: str) -> bool:
    """Whether the value of an expression is known only after the runs."""
    return any(output_name(sweep, name) is not None for name in reached(sweep, text))


@cache
def _is_chip_field(name: str) -> bool:
    """Whether a dotted name is a field of a chip that holds a value, not a table."""
    *parents, last = name.split(".")
    return last in (field_names(Chip, tuple(parents)) or ()) and field_names(Chip, (*parents, last)) is None
