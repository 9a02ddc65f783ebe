"""Running one point: constraints that need no run first, then every run, then the objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from uarch.errors import InputError
from workloads.models.presets import load_model
from workloads.running.runner import simulate_phase
from workloads.settings.choices import Fidelity
from workloads.settings.stack import load_stack
from workloads.sweep.design import Design, Point
from workloads.sweep.expressions import Value, parsed
from workloads.sweep.names import PHYSICAL, RATE_OUTPUTS, ROLLUP_OUTPUTS, derives, needs_runs
from workloads.sweep.schema import Sweep

Status = Literal["done", "excluded", "failed"]
"""What became of a point: run within the constraints, outside them, or not possible."""


@dataclass(frozen=True)
class Row:
    """A point in the table of a sweep."""

    point: int
    fidelity: Fidelity
    status: Status
    message: str = ""
    """Constraint that does not hold, or what was wrong with the point."""
    inputs: dict[str, Value | None] = field(default_factory=dict)
    """Value of every parameter."""
    outputs: dict[str, Value | None] = field(default_factory=dict)
    """Names that are derived, what the chip is and costs, outputs of the runs and objectives."""

    @property
    def key(self) -> tuple[int, Fidelity]:
        """What tells the rows of a table apart."""
        return self.point, self.fidelity


class Job(NamedTuple):
    """A point to run with one fidelity."""

    sweep: Sweep
    point: Point
    fidelity: Fidelity


def run_job(job: Job) -> Row:
    """Run a point in this process; whatever goes wrong becomes the message of its row."""
    design = Design(job.sweep, job.point)
    try:
        broken = broken_constraint(design, before_runs=True)
        if broken is None:
            _run(design, job.fidelity)
            broken = broken_constraint(design, before_runs=False)
        status: Status = "done" if broken is None else "excluded"
        return _row(job, design, status, broken or "")
    except InputError as error:
        return _row(job, design, "failed", str(error))
    except Exception as error:  # one point that shows a defect must not cost the others
        return _row(job, design, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}")


def broken_constraint(design: Design, *, before_runs: bool) -> str | None:
    """First constraint that does not hold, of those that need no run or of those that do; None if all hold."""
    for text in design.sweep.constraints:
        if needs_runs(design.sweep, text) != before_runs and not parsed(text).value(design.value):
            return text
    return None


def _run(design: Design, fidelity: Fidelity) -> None:
    """Run everything that the sweep runs at this point, and keep the outputs in the design."""
    for name in design.sweep.run:
        trace = simulate_phase(
            design.chip, load_model(design.model(name)), design.phase(name, fidelity), load_stack(design.stack)
        )
        found = _outputs(design, trace.rollup)
        design.outputs |= {f"{name}.{key}": value for key, value in found.items()}


def _outputs(design: Design, rollup: Mapping[str, float | int | str]) -> dict[str, Value]:
    """Outputs of a run from its roll-up, and from what each of its chips costs and covers."""
    rate, n_chips = float(rollup["tokens_per_second"]), int(rollup["n_chips"])
    usd, mm2 = (n_chips * float(design.value(name)) for name in ("hardware_cost_usd", "die_area_mm2"))
    joules = float(rollup["energy_per_token_joules"])
    rates = (rate / usd, rate / mm2, 1 / joules if joules else 0.0)
    return {**{name: rollup[name] for name in ROLLUP_OUTPUTS}, **dict(zip(RATE_OUTPUTS, rates, strict=True))}


def _row(job: Job, design: Design, status: Status, message: str) -> Row:
    sweep = job.sweep
    inputs = {name: _known(design, name) for name in input_names(sweep)}
    outputs: dict[str, Value | None] = {name: _known(design, name) for name in sweep.derived if derives(sweep, name)}
    outputs |= {name: _known(design, name) for name in PHYSICAL}
    outputs.update(design.outputs)
    objectives: dict[str, Value | None] = {}
    try:
        objectives = {each.column: parsed(each.text).value(design.value) for each in sweep.objective}
    except (InputError, KeyError) as error:
        if status == "done":
            status, message = "failed", str(error)
    return Row(job.point.number, job.fidelity, status, message, inputs, outputs | objectives)


def input_names(sweep: Sweep) -> list[str]:
    """Fields that differ between points: parameters, fields that are derived, and those of the points that the file lists."""
    derived = [name for name in sweep.derived if not derives(sweep, name)]
    return list(dict.fromkeys([*sweep.parameter, *derived, *(name for each in sweep.point for name in each)]))


def _known(design: Design, name: str) -> Value | None:
    """Value of a name; None where the point is so wrong that it has none."""
    if name in design.point.values:
        return design.point.values[name]
    try:
        value = design.value(name)
    except Exception:  # the message of the row says what is wrong
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value
