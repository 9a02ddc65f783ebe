"""The numbers of a whole run, added up from its op instances."""

from __future__ import annotations

import numpy as np

from results.analysis.bounds import Peaks, bound_by, resource_use, totals
from results.analysis.energy_range import Ranges, range_fields
from results.trace.schema import ENERGY_COMPONENTS, ENERGY_FIELDS, STALL_CAUSES, Table, matrix, text


def rollup(
    layers: Table,
    *,
    clock_hz: float,
    phase: str,
    tokens: int,
    n_chips: int,
    peaks: Peaks,
    energy_ranges: Ranges | None = None,
    delivery_efficiency: float = 1.0,
) -> dict[str, float | int | str]:
    """Roll the layers table of one chip up.

    Everything is of one chip of the TP group, except that ``tokens_per_second`` and ``energy_per_token_joules`` are the
    group's: all ``n_chips`` chips work on the same tokens and each spends the energy of this one.

    Args:
        layers: op instances of one phase, dtype ``LAYER_DTYPE``.
        clock_hz: tensor clock, in which the table's cycles are counted.
        phase: prefill, decode or verify.
        tokens: tokens that the phase processes (prefill: batch x sequence) or produces (decode: batch).
        n_chips: TP degree.
        peaks: of one chip.
        energy_ranges: how far the energy of each component may be off; without them the energies have no range.
        delivery_efficiency: part of the board's power that reaches chip and memory; regulators take the rest.

    Returns:
        Flat dictionary; units are in the names (see :func:`results.trace.schema.unit_of`). ``utilization`` is useful FLOP
        over what the arrays can do in that time, ``<resource>_use_fraction`` how busy a resource is (see
        :func:`results.analysis.bounds.resource_use`), ``mean_clock_hz`` the clock that the power cap left, as the mean over
        time, ``average_power_watts`` the power of chip and memory, ``average_board_power_watts`` what a wattmeter shows,
        ``cause_<cause>_seconds`` the mean core's time by stall cause, ``kind_<kind>_seconds`` the time by op kind,
        ``energy_<component>_joules`` the energy by component.
    """
    seconds = float(layers["seconds"].sum())
    flops = float(layers["flops"].sum())
    joules = {name: float(layers[f"{name}_joules"].sum()) for name in ENERGY_COMPONENTS}
    energy_joules = float(matrix(layers, ENERGY_FIELDS).sum())
    return {
        "phase": phase,
        "tokens": tokens,
        "n_chips": n_chips,
        "clock_hz": clock_hz,
        "cycles": int((layers["end_cycle"] - layers["start_cycle"]).sum()),
        "seconds": seconds,
        "tokens_per_second": _ratio(tokens, seconds),
        "flops": flops,
        "macs": float(layers["macs"].sum()),
        "flops_per_second": _ratio(flops, seconds),
        "utilization": _ratio(flops, seconds * peaks.tensor_flops_per_second),
        **_traffic(layers, seconds, peaks),
        "energy_joules": energy_joules,
        "energy_per_token_joules": _ratio(energy_joules * n_chips, tokens),
        "average_power_watts": _ratio(energy_joules, seconds),
        "average_board_power_watts": _ratio(energy_joules, seconds * delivery_efficiency),
        "board_energy_per_token_joules": _ratio(energy_joules * n_chips, tokens * delivery_efficiency),
        "delivery_efficiency_fraction": delivery_efficiency,
        "mean_clock_hz": _ratio(float((layers["seconds"] * layers["sustained_hz"]).sum()), seconds),
        "bound_by": bound_by(totals(layers), peaks),
        **{f"{name}_use_fraction": use for name, use in resource_use(totals(layers), peaks).items()},
        **peaks.fields(),
        **{f"energy_{name}_joules": value for name, value in joules.items()},
        **(
            range_fields(joules, energy_ranges, seconds, tokens / n_chips, delivery_efficiency) if energy_ranges else {}
        ),
        **_seconds_by_cause(layers, clock_hz),
        **_seconds_by_kind(layers),
    }


def _traffic(layers: Table, seconds: float, peaks: Peaks) -> dict[str, float]:
    """Bytes moved at each level, and how much of them found what it looked for."""
    dram_bytes = float(layers["dram_read_bytes"].sum() + layers["dram_write_bytes"].sum())
    return {
        "dram_bytes": dram_bytes,
        "dram_bytes_per_second": _ratio(dram_bytes, seconds),
        "dram_bandwidth_fraction": _ratio(dram_bytes, seconds * peaks.dram_bytes_per_second),
        "dram_row_hit_rate": _hit_rate(layers, "dram_row_hits", "dram_row_misses"),
        "l2_bytes": float(layers["l2_bytes"].sum()),
        "l2_hit_rate": _hit_rate(layers, "l2_hits", "l2_misses"),
        "link_bytes": float(layers["link_bytes"].sum()),
    }


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else 0.0


def _hit_rate(layers: Table, hits: str, misses: str) -> float:
    n_hits = float(layers[hits].sum())
    return _ratio(n_hits, n_hits + float(layers[misses].sum()))


def _seconds_by_cause(layers: Table, clock_hz: float) -> dict[str, float]:
    return {f"cause_{name}_seconds": float(layers[f"{name}_cycles"].sum() / clock_hz) for name in STALL_CAUSES}


def _seconds_by_kind(layers: Table) -> dict[str, float]:
    kinds = np.array(text(layers["kind"]))
    return {
        f"kind_{kind}_seconds": float(layers["seconds"][kinds == kind].sum()) for kind in sorted(set(kinds.tolist()))
    }
