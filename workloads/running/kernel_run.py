"""What one kernel alone took on a chip: its programs executed one after the other, and the account of time and energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from kernels.attention.attention import FlashMapping
from kernels.gemm.gemm import GemmMapping
from kernels.mapping.mapper import Search
from kernels.program.tile_program import TileProgram
from results.analysis.bounds import WORK_FIELDS, bound_by, resource_use
from results.analysis.energy_range import total_range
from uarch.chip.schema import Chip
from uarch.energy.account import component_ranges
from uarch.engine.l2 import L2State
from uarch.engine.roofline import execute_analytically
from uarch.events import CAUSES, COMPONENTS
from uarch.power.cap import at_highest_clock
from uarch.program.records import NONE
from workloads.layers.operator import Operator
from workloads.running.execution import SUSTAINED_CLOCK, Executor, peaks_of
from workloads.running.kernel_trace import CURRENT

Mapped = Sequence[tuple[TileProgram, Search[Any] | None]]
"""Programs in order, each with the search that its mapping comes from."""


@dataclass(frozen=True)
class ProgramRun:
    """One tile program of a kernel, and how its mapping was found."""

    name: str
    shape: str
    seconds: float
    bound_by: str
    mapping: GemmMapping | FlashMapping | None
    """Mapping of the program; None if there is nothing to choose."""
    candidates: int
    """Mappings that fit the chip's cores."""
    trials: int
    """Number of mappings that were tried on the engine."""


@dataclass(frozen=True)
class KernelRun:
    """Time, traffic and energy that a kernel took on one chip."""

    chip: str
    kind: str
    shape: str
    dtype: str
    fidelity: str
    cycles: int
    """Time in cycles of the tensor clock."""
    seconds: float
    roofline_seconds: float
    """Seconds of this work by the ``analytical`` fidelity: a bound that no run can beat."""
    flops: int
    """Useful FLOP: of causal attention, those of the scores that the mask keeps."""
    macs: int
    """Multiply-accumulates that the arrays executed, padding included."""
    dram_bytes: int
    l2_bytes: int
    utilization: float
    """Useful FLOP over what the arrays could do in that time."""
    bound_by: str
    """The busiest resource, or else where most of the cores' time went: see :func:`results.analysis.bounds.bound_by`."""
    resource_use: dict[str, float]
    """Fraction of its peak at which each resource is used: see :func:`results.analysis.bounds.resource_use`."""
    joules_by_component: dict[str, float]
    energy_low_joules: float
    """Low end of the range of the total: see :func:`results.analysis.energy_range.total_range`."""
    energy_high_joules: float
    tensor_hz: float
    """Clock under the power cap: the mean over the programs' time."""
    delivery_efficiency: float
    """Part of the board's power that reaches chip and memory."""
    seconds_by_cause: dict[str, float]
    """Mean over the cores; adds up to ``seconds``."""
    programs: tuple[ProgramRun, ...]

    @property
    def energy_joules(self) -> float:
        """Energy of all components."""
        return sum(self.joules_by_component.values())

    @property
    def average_power_watts(self) -> float:
        """Average power of chip and memory."""
        return self.energy_joules / self.seconds

    @property
    def average_board_power_watts(self) -> float:
        """Average power that the board draws, regulators included: what a wattmeter, or NVML, shows."""
        return self.average_power_watts / self.delivery_efficiency

    def _repr_html_(self) -> str:
        """What a notebook shows: every number by its name."""
        from results.report.html import facts, flat  # plots, which it loads, are slow to import

        return facts(flat({name: value for name, value in asdict(self).items() if name != "programs"}))


def run_programs(
    chip: Chip, kind: str, shape: str, fidelity: str, mapped: Mapped, l2: L2State | None = None
) -> KernelRun:
    """Run the programs of a kernel, each finding the L2 as the one before it left it, the first ``l2`` or nothing."""
    programs = [program for program, _ in mapped]
    operators = [Operator(program.name, kind, (program,)) for program in programs]
    tracing = CURRENT.get()
    timeline = tracing.timeline(fidelity) if tracing else None
    rows, _ = Executor(chip, None, fidelity, timeline).run(operators, l2 or L2State.empty())
    if tracing:
        tracing.finish(chip, kind, shape, fidelity, programs, rows)
    seconds, flops = _total(rows, "seconds"), _total(rows, "flops")
    hz, dtype = chip.clock.tensor_hz, programs[0].dtype
    causes = {cause: _total(rows, f"{cause}_cycles") / hz for cause in CAUSES}
    work, peaks = {name: _total(rows, name) for name in WORK_FIELDS}, peaks_of(chip, dtype)
    joules = {name: _total(rows, f"{name}_joules") for name in COMPONENTS}
    low, high = total_range(joules, component_ranges(chip, dtype))
    return KernelRun(
        chip=chip.name,
        kind=kind,
        shape=shape,
        dtype=dtype,
        fidelity=fidelity,
        cycles=round(seconds * hz),
        seconds=seconds,
        roofline_seconds=_roofline_seconds(chip, programs),
        flops=flops,
        macs=_total(rows, "macs"),
        dram_bytes=_total(rows, "dram_read_bytes") + _total(rows, "dram_write_bytes"),
        l2_bytes=_total(rows, "l2_bytes"),
        utilization=flops / (seconds * peaks.tensor_flops_per_second),
        bound_by=bound_by(work, peaks),
        resource_use=resource_use(work, peaks),
        joules_by_component=joules,
        energy_low_joules=low,
        energy_high_joules=high,
        tensor_hz=sum(row["seconds"] * row[SUSTAINED_CLOCK] for row in rows) / seconds,
        delivery_efficiency=chip.power.delivery_efficiency,
        seconds_by_cause=causes,
        programs=tuple(_program_run(row, search) for row, (_, search) in zip(rows, mapped, strict=True)),
    )


def _roofline_seconds(chip: Chip, programs: Sequence[TileProgram]) -> float:
    """Closed-form time of all programs as one: what one of them writes and another reads need not come from memory."""
    all_operands, first_tensor, first_entry = [], 0, 0
    for program in programs:
        operands = program.operands.copy()
        operands["tensor"][operands["tensor"] != NONE] += first_tensor
        operands["table"][operands["table"] != NONE] += first_entry
        first_tensor += len(program.tensors)
        first_entry += len(program.tables)
        all_operands.append(operands)
    together = replace(
        programs[0],
        tensors=np.concatenate([program.tensors for program in programs]),
        steps=np.concatenate([program.steps for program in programs]),
        operands=np.concatenate(all_operands),
        tables=np.concatenate([program.tables for program in programs]),
        n_granules=max(program.n_granules for program in programs),
    )
    return execute_analytically(at_highest_clock(chip), together).seconds


def _total(rows: Sequence[dict[str, Any]], field: str) -> Any:
    return sum(row[field] for row in rows)


def _program_run(row: dict[str, Any], search: Search[Any] | None) -> ProgramRun:
    found = (search.mapping, search.candidates, search.trials) if search else (None, 0, 0)
    return ProgramRun(row["name"], row["shape"], row["seconds"], row["bound_by"], *found)
