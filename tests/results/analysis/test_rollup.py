"""Roll-ups: one by hand, and the sums for any trace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.analysis.bounds import BUSY, WORK_FIELDS, Peaks, bound_by, resource_use
from results.analysis.rollup import rollup
from results.analysis.side_by_side import comparison_rows
from results.trace.schema import BOUND_NAMES, ENERGY_COMPONENTS, STALL_CAUSES, layer_table
from tests.support.synthetic_trace import CHIPS, MODELS, TOKENS, make_trace

PEAKS = Peaks(
    tensor_flops_per_second=8e12,
    vector_flops_per_second=1e12,
    l2_bytes_per_second=8e9,
    dram_bytes_per_second=2e9,
    link_bytes_per_second=1e9,
)


def test_two_ops_by_hand() -> None:
    """At 1 GHz, 3000 + 1000 cycles are 3 + 1 us. 16 MFLOP in 4 us are 4 TFLOP/s, half of the peak; 4000 bytes 1 GB/s.

    6 J of one chip are 12 J of two, for 4 tokens 3 J each.
    """
    gemm: dict[str, str | float] = {
        "kind": "gemm",
        "end_cycle": 3000,
        "seconds": 3e-6,
        "matrix_cycles": 2000,
        "dram_cycles": 1000,
    }
    norm: dict[str, str | float] = {
        "kind": "norm",
        "start_cycle": 3000,
        "end_cycle": 4000,
        "seconds": 1e-6,
        "l2_noc_cycles": 1000,
    }
    layers = layer_table(
        [
            {
                **gemm,
                "sustained_hz": 0.8e9,
                "flops": 16e6,
                "dram_read_bytes": 3000,
                "l2_hits": 3,
                "l2_misses": 1,
                "matrix_joules": 4,
            },
            {**norm, "sustained_hz": 1e9, "dram_write_bytes": 1000, "l2_hits": 2, "l2_misses": 2, "static_joules": 2},
        ]
    )
    numbers = rollup(layers, clock_hz=1e9, phase="decode", tokens=4, n_chips=2, peaks=PEAKS, delivery_efficiency=0.75)
    expected = {
        "cycles": 4000,
        "seconds": 4e-6,
        "tokens_per_second": 1e6,
        "flops_per_second": 4e12,
        "utilization": 0.5,
        "dram_bytes": 4000,
        "dram_bytes_per_second": 1e9,
        "dram_bandwidth_fraction": 0.5,
        "l2_hit_rate": 5 / 8,
        "energy_joules": 6,
        "energy_per_token_joules": 3,
        "average_power_watts": 1.5e6,
        "average_board_power_watts": 2e6,
        "board_energy_per_token_joules": 4,
        "mean_clock_hz": 0.85e9,
        "energy_matrix_joules": 4,
        "energy_static_joules": 2,
        "cause_matrix_seconds": 2e-6,
        "cause_dram_seconds": 1e-6,
        "cause_l2_noc_seconds": 1e-6,
        "kind_gemm_seconds": 3e-6,
        "kind_norm_seconds": 1e-6,
        **PEAKS.fields(),
    }
    assert {name: numbers[name] for name in expected} == pytest.approx(expected)
    assert numbers["bound_by"] == "compute"  # arrays occupied for half the time, as DRAM is: the first counts
    assert Peaks.of(numbers) == PEAKS
    assert numbers["phase"] == "decode"


def test_no_ops_give_zeros_not_nan() -> None:
    numbers = rollup(layer_table([]), clock_hz=1e9, phase="decode", tokens=1, n_chips=1, peaks=PEAKS)
    assert all(np.isfinite(value) for value in numbers.values() if not isinstance(value, str))
    assert numbers["seconds"] == 0
    assert numbers["bound_by"] == "idle"


IDLE_SECOND = dict.fromkeys(WORK_FIELDS, 0.0) | {"seconds": 1.0}


@pytest.mark.parametrize("cause", STALL_CAUSES)
def test_where_nothing_is_busy_the_largest_cause_bounds(cause: str) -> None:
    even = IDLE_SECOND | {f"{name}_cycles": 1.0 for name in STALL_CAUSES}
    assert bound_by(even, PEAKS) == "compute"  # of equal causes the first in priority
    assert bound_by(even | {f"{cause}_cycles": 2.0}, PEAKS) == BOUND_NAMES[cause]


@pytest.mark.parametrize(
    ("field", "peak", "name"),
    [
        ("macs", PEAKS.tensor_flops_per_second / 2, "compute"),
        ("vector_ops", PEAKS.vector_flops_per_second / 2, "vector"),
        ("l2_bytes", PEAKS.l2_bytes_per_second, "l2"),
        ("dram_read_bytes", PEAKS.dram_bytes_per_second, "dram"),
        ("dram_write_bytes", PEAKS.dram_bytes_per_second, "dram"),
        ("link_bytes", PEAKS.link_bytes_per_second, "link"),
    ],
)
def test_a_busy_resource_bounds_whatever_the_cores_wait_for(field: str, peak: float, name: str) -> None:
    waiting = IDLE_SECOND | {"launch_cycles": 9.0}
    assert bound_by(waiting | {field: BUSY * peak}, PEAKS) == name
    assert bound_by(waiting | {field: 0.99 * BUSY * peak}, PEAKS) == "launch"


def test_resource_use_by_hand() -> None:
    """In 2 s: 4e12 MACs of 8e12 possible, arrays occupied for 3 of 4 core cycles, 1e9 of 4e9 bytes from and to DRAM."""
    work = dict.fromkeys(WORK_FIELDS, 0.0) | {
        "seconds": 2.0,
        "macs": 4e12,
        "dram_read_bytes": 4e8,
        "dram_write_bytes": 6e8,
    }
    assert resource_use(work, PEAKS) == {"compute": 0.5, "vector": 0.0, "l2": 0.0, "dram": 0.25, "link": 0.0}
    assert resource_use(work | {"matrix_cycles": 3.0, "idle_cycles": 1.0}, PEAKS)["compute"] == 0.75
    assert set(resource_use(dict.fromkeys(WORK_FIELDS, 0.0), PEAKS).values()) == {0.0}


def test_names_of_bounds() -> None:
    assert list(BOUND_NAMES.values()) == [
        "compute",
        "vector",
        "l1",
        "l2",
        "dram",
        "link",
        "dependency",
        "launch",
        "idle",
    ]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), model=st.sampled_from(sorted(MODELS)), phase=st.sampled_from(sorted(TOKENS)))
def test_parts_add_up(seed: int, model: str, phase: str) -> None:
    trace = make_trace(seed, model=model, phase=phase)
    numbers = trace.rollup
    assert sum(float(numbers[f"energy_{name}_joules"]) for name in ENERGY_COMPONENTS) == pytest.approx(
        numbers["energy_joules"]
    )
    assert sum(float(numbers[f"cause_{name}_seconds"]) for name in STALL_CAUSES) == pytest.approx(numbers["seconds"])
    by_kind = [float(value) for name, value in numbers.items() if name.startswith("kind_")]
    assert sum(by_kind) == pytest.approx(numbers["seconds"])
    assert float(numbers["average_power_watts"]) * float(numbers["seconds"]) == pytest.approx(numbers["energy_joules"])


def test_comparison_has_a_row_per_trace_in_order() -> None:
    traces = [make_trace(chip=chip, phase=phase) for phase in TOKENS for chip in CHIPS]
    rows = comparison_rows(traces)
    assert [(row["chip"], row["phase"]) for row in rows] == [(chip, phase) for phase in TOKENS for chip in CHIPS]
    for row, trace in zip(rows, traces, strict=True):
        assert row["model"] == "model-unfused"
        assert row["latency_seconds"] == trace.rollup["seconds"]
        assert row["energy_per_token_joules"] == trace.rollup["energy_per_token_joules"]
        assert row["bound_by"] == {"prefill": "compute", "decode": "dram"}[str(row["phase"])]
