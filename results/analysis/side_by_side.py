"""Runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from results.trace.trace import Trace

_COLUMNS = {
    "latency_seconds": "seconds",
    "tokens_per_second": "tokens_per_second",
    "utilization": "utilization",
    "dram_bytes_per_second": "dram_bytes_per_second",
    "dram_bandwidth_fraction": "dram_bandwidth_fraction",
    "energy_per_token_joules": "energy_per_token_joules",
    "bound_by": "bound_by",
}
"""Column -> field of the roll-up. The latency is that of the whole phase: a prefill, or one token of decode."""


def comparison_rows(traces: Sequence[Trace]) -> list[dict[str, float | int | str]]:
    """One row per trace, in the order given: chip, model, phase and the numbers that a comparison starts from."""
    return [
        {
            "chip": str(trace.chip["name"]),
            "model": str(trace.workload["model"]),
            "phase": str(trace.workload["phase"]),
            **{column: trace.rollup[field] for column, field in _COLUMNS.items()},
        }
        for trace in traces
    ]
