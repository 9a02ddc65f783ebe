"""Pipeline parallelism: how layers are split into stages, and the critical path of micro-batches through them.

Every stage is a tensor-parallel group of its own; it hands the residual stream on to the next, each chip to its counterpart.
All stages begin empty, as in the prefill of a batch or in one decode step: a step's tokens pass through all stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results.analysis.bounds import Peaks, bound_by
from uarch.errors import must_be
from workloads.models.model import Model, stage_sizes

Row = dict[str, Any]
"""Trace fields of one operator instance, layer and start left out."""

OUTSIDE_LAYERS = -1
_NOT_ADDED = ("name", "kind", "shape", "utilization", "bound_by", "sustained_hz")


def check_pipeline(model: Model, pp: int, batch: int, micro_batches: int) -> None:
    """Raise :class:`uarch.InputError` if the layers or the batch cannot be split that way."""
    if not 1 <= pp <= model.n_layers:
        raise must_be("pp", pp, f"at least 1 and at most n_layers = {model.n_layers} of {model.name}")
    if micro_batches < 1 or batch % micro_batches:
        raise must_be("micro_batches", micro_batches, f"at least 1 and divide batch = {batch}")


def stages_of(
    before: Sequence[Row], layers: Sequence[Sequence[Row]], after: Sequence[Row], transfer: Sequence[Row], pp: int
) -> list[list[tuple[int, Row]]]:
    """(layer, row) of each stage in order: embedding in the first, LM head in the last, a transfer before all others."""
    stages, first = [], 0
    for index, size in enumerate(stage_sizes(len(layers), pp)):
        rows = [(OUTSIDE_LAYERS, row) for row in (transfer if index else before)]
        rows += [(layer, row) for layer in range(first, first + size) for row in layers[layer]]
        stages.append(rows)
        first += size
    stages[-1] += [(OUTSIDE_LAYERS, row) for row in after]
    return stages


def critical_path(
    stages: Sequence[Sequence[tuple[int, Row]]], micro_batches: int, peaks: Peaks
) -> list[tuple[int, Row]]:
    """Rows whose times add up to the latency of all micro-batches.

    The first one goes through all stages; meanwhile the others queue up at the slowest, which then takes them one after the
    other: they are one row after its first pass. ``peaks``: of the chip, for that row's utilisation and bound.
    """
    slowest = max(range(len(stages)), key=lambda stage: stage_seconds(stages[stage]))
    path: list[tuple[int, Row]] = []
    for index, stage in enumerate(stages):
        path += stage
        if index == slowest and micro_batches > 1:
            path.append((OUTSIDE_LAYERS, _repeated([row for _, row in stage], micro_batches - 1, peaks)))
    return path


def stage_seconds(stage: Sequence[tuple[int, Row]]) -> float:
    """Time of one micro-batch in a stage."""
    return float(sum(row["seconds"] for _, row in stage))


def group_joules(stages: Sequence[Sequence[tuple[int, Row]]], seconds: float, chips: int, micro_batches: int) -> float:
    """Energy of all chips, ``chips`` in each stage: what every micro-batch costs, and static power for the whole latency."""
    rows = [row for stage in stages for _, row in stage]
    static_joules = sum(row["static_joules"] for row in rows)
    dynamic_joules = sum(sum(v for k, v in row.items() if k.endswith("_joules")) for row in rows) - static_joules
    static_watts = static_joules / sum(row["seconds"] for row in rows)
    return float(chips * (micro_batches * dynamic_joules + len(stages) * static_watts * seconds))


def energy_per_token(rollup: Mapping[str, Any], joules: float) -> dict[str, float]:
    """The roll-up's fields of energy per token, and of its range, for a group that spends ``joules`` in all."""
    fields = [name for name in rollup if name.startswith(("energy_per_token_", "board_energy_per_token_"))]
    correction = joules / (rollup["tokens"] * rollup["energy_per_token_joules"])
    return {name: rollup[name] * correction for name in fields}


def _repeated(rows: Sequence[Row], times: int, peaks: Peaks) -> Row:
    added = {name: times * sum(row[name] for row in rows) for name in rows[0] if name not in _NOT_ADDED}
    return added | {
        "name": "other_micro_batches",
        "kind": "pipeline",
        "shape": f"{times} of a stage",
        "sustained_hz": times * sum(row["seconds"] * row["sustained_hz"] for row in rows) / added["seconds"],
        "utilization": added["flops"] / (added["seconds"] * peaks.tensor_flops_per_second),
        "bound_by": bound_by(added, peaks),
    }
