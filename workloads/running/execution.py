"""Executing operators on a chip: engine or closed forms, energy, and the rows of a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from kernels.program.tile_program import TileProgram
from results.analysis.bounds import Peaks, bound_by
from uarch.chip.schema import Chip
from uarch.energy.account import energy_joules
from uarch.energy.supply_voltage import operating_point
from uarch.engine.execute import KernelResult, execute
from uarch.engine.l2 import L2State
from uarch.engine.roofline import execute_analytically
from uarch.errors import InputError
from uarch.events import CAUSES, Cause, Event
from uarch.power.cap import at_clock, at_highest_clock, highest_clock_ratio
from uarch.power.capped_execution import execute_capped
from workloads.layers.operator import Operator
from workloads.predictors.kernel import Kernel
from workloads.predictors.registry import FIDELITY_PREDICTORS
from workloads.running.predicted import execute_predicted
from workloads.running.result_store import remembered
from workloads.running.timeline import Timeline
from workloads.settings.choices import runs_engine
from workloads.settings.stack import Stack

Work = TileProgram | Kernel

SUSTAINED_CLOCK = "sustained_hz"
"""Field of an operator's row: its clock under the power cap, Hz."""

_COUNTED = {
    "macs": Event.MACS,
    "vector_ops": Event.VECTOR_OPS,
    "special_ops": Event.SPECIAL_OPS,
    "l1_bytes": Event.L1_BYTES,
    "l2_hits": Event.L2_HITS,
    "l2_misses": Event.L2_MISSES,
    "dram_read_bytes": Event.DRAM_READ_BYTES,
    "dram_write_bytes": Event.DRAM_WRITE_BYTES,
    "dram_row_hits": Event.DRAM_ROW_HITS,
    "dram_row_misses": Event.DRAM_ROW_MISSES,
    "dram_refreshes": Event.DRAM_REFRESHES,
    "link_bytes": Event.LINK_BYTES,
}


@dataclass(frozen=True)
class Executor:
    """Executes operators one after the other on one chip under one software stack, or without launch overheads."""

    chip: Chip
    stack: Stack | None
    fidelity: str
    timeline: Timeline | None = None
    departures: tuple[str, ...] = ()
    """Options that make operators other than plain ones, for messages (:attr:`workloads.settings.phase.Phase.departures`)."""

    def run(
        self, operators: Sequence[Operator], l2: L2State, first_op: int = 0
    ) -> tuple[list[dict[str, Any]], L2State]:
        """Trace fields of each operator (all but layer and start), and the L2 state after the last.

        ``first_op``: row of the first operator in the trace's table, for its timeline.
        """
        rows = []
        for number, operator in enumerate(operators):
            if self.timeline is not None:
                self.timeline.begin(first_op + number)
            results: list[tuple[Work, KernelResult]] = []
            launch_seconds = self.stack.launch_overhead_seconds(operator.kind) if self.stack else 0.0
            if self.fidelity in FIDELITY_PREDICTORS:
                results += self._predict(operator, launch_seconds)
            else:
                for program in operator.programs:
                    result, l2 = self.execute(program, l2, launch_seconds)
                    results.append((program, result))
                    launch_seconds = 0.0
            rows.append(self._row(operator, results))
        return rows, l2

    def execute(self, program: TileProgram, l2: L2State, launch_seconds: float) -> tuple[KernelResult, L2State]:
        """One program at this fidelity; on the engine under the chip's power cap."""
        if not runs_engine(self.fidelity):
            found = execute_analytically(at_highest_clock(self.chip), program, launch_seconds=launch_seconds)
            return replace(found, point=operating_point(self.chip, highest_clock_ratio(self.chip))), l2
        engine = partial(execute_capped, self.chip, program, l2, launch_seconds=launch_seconds, fidelity=self.fidelity)
        result, l2_after = remembered(self.chip, program, l2, launch_seconds, self.fidelity, engine)
        if self.timeline is None or self.timeline.left <= 0:
            return result, l2_after
        recorded, l2_after = execute(
            at_clock(self.chip, result.point.clock_ratio),
            program,
            l2,
            launch_seconds=launch_seconds,
            fidelity=self.fidelity,
            most_intervals=self.timeline.left,
            record=self.timeline.add,
        )
        self.timeline.shift(recorded.total_ps)
        return replace(recorded, point=result.point), l2_after

    def _predict(self, operator: Operator, launch_seconds: float) -> Iterator[tuple[Kernel, KernelResult]]:
        if not operator.kernels:
            cause = f" with {', '.join(self.departures)}" if self.departures else ""
            others = "analytical, tile, burst" + (", or plain attention and weights" if cause else "")
            raise InputError(
                f"fidelity = {self.fidelity!r}: has no model of operator {operator.name}{cause}; allowed: {others}"
            )
        predictor = FIDELITY_PREDICTORS[self.fidelity]
        for kernel in operator.kernels:
            found = execute_predicted(self.chip, kernel, predictor, launch_seconds=launch_seconds)
            yield kernel, replace(found, point=operating_point(self.chip))
            launch_seconds = 0.0

    def _row(self, operator: Operator, results: Sequence[tuple[Work, KernelResult]]) -> dict[str, Any]:
        first = results[0][0]
        parts = [self._fields(program, result) for program, result in results]
        row = {name: sum(part[name] for part in parts) for name in parts[0]}
        peaks = peaks_of(self.chip, first.dtype)
        available = row["seconds"] * peaks.tensor_flops_per_second
        return row | {
            "name": operator.name,
            "kind": operator.kind,
            "shape": first.shape,
            "utilization": row["flops"] / available if available else 0.0,
            "bound_by": bound_by(row, peaks),
            SUSTAINED_CLOCK: sum(result.seconds * result.tensor_hz for _, result in results) / row["seconds"],
        }

    def _fields(self, program: Work, result: KernelResult) -> dict[str, float]:
        """Fields that add up over the programs of an operator."""
        energy = energy_joules(self.chip, result, program.dtype, program.useful_flops // 2)
        hz = self.chip.clock.tensor_hz
        fields: dict[str, float] = {"seconds": result.seconds, "flops": program.useful_flops}
        fields |= {name: result.count(event) for name, event in _COUNTED.items()}
        fields["l2_bytes"] = result.l2_bytes
        fields |= {f"{cause}_cycles": result.cause_seconds(Cause(i)) * hz for i, cause in enumerate(CAUSES)}
        fields |= {f"{component}_joules": joules for component, joules in energy.items()}
        return fields


def peaks_of(chip: Chip, dtype: str) -> Peaks:
    """What a chip can do per second, for roll-ups and bounds: at its highest clock."""
    chip = at_highest_clock(chip)
    return Peaks(
        tensor_flops_per_second=chip.peak_flops(dtype),
        vector_flops_per_second=chip.peak_vector_flops,
        l2_bytes_per_second=chip.l2_bytes_per_second,
        dram_bytes_per_second=chip.memory.bandwidth_bytes_per_second,
        link_bytes_per_second=chip.link.bandwidth_bytes_per_second,
    )


def in_sequence(rows: Sequence[tuple[int, Mapping[str, Any]]], tensor_hz: float) -> list[dict[str, Any]]:
    """Rows of a trace from (layer, fields): with start and end cycles, each beginning where the last one ended."""
    placed, now_seconds = [], 0.0
    for layer, fields in rows:
        start = round(now_seconds * tensor_hz)
        now_seconds += fields["seconds"]
        placed.append({**fields, "layer": layer, "start_cycle": start, "end_cycle": round(now_seconds * tensor_hz)})
    return placed
