"""Pipeline stages and micro-batches, and all-reduces behind products: sums and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.analysis.bounds import WORK_FIELDS
from results.analysis.invariants import check
from results.trace.schema import text
from tests.support.tiny_model import LAYERS, write_tiny_llama
from uarch.chip_file import load_chip
from uarch.errors import InputError
from workloads.layers.capacity import memory_use
from workloads.models.footprint import Footprint
from workloads.models.model import stage_sizes
from workloads.models.presets import load_model
from workloads.running.execution import peaks_of
from workloads.running.overlap import overlap_all_reduces
from workloads.running.pipeline import critical_path, group_joules, stage_seconds, stages_of
from workloads.running.runner import simulate
from workloads.settings.stack import load_stack

CHIP = load_chip("h100", ["core.count=4", "mapping=search"])
SMALL: dict[str, Any] = {"chip": CHIP, "phase": "prefill", "batch": 4, "seq": 32, "fidelity": "lltile"}


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return str(write_tiny_llama(tmp_path))


def row(seconds: float, name: str = "op") -> dict[str, Any]:
    work = dict.fromkeys(WORK_FIELDS, 0.0) | {"flops": 0.0, "seconds": seconds}
    named = {"name": name, "kind": "gemm", "shape": "", "sustained_hz": 1e9}
    return work | named | {"static_joules": 2 * seconds, "dram_joules": 1.0}


@given(n_layers=st.integers(1, 200), pp=st.integers(1, 200))
def test_stages_share_the_layers_evenly(n_layers: int, pp: int) -> None:
    sizes = stage_sizes(n_layers, min(pp, n_layers))
    assert sum(sizes) == n_layers
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


@given(
    times=st.lists(st.floats(0.01, 10), min_size=3, max_size=9),
    pp=st.integers(1, 3),
    micro_batches=st.integers(1, 6),
)
def test_the_critical_path_is_that_of_a_simulated_pipeline(times: list[float], pp: int, micro_batches: int) -> None:
    """Micro-batch b leaves stage s when it and the one before it have: the oracle is that recurrence."""
    stages = stages_of([row(0.5)], [[row(seconds)] for seconds in times], [row(0.25)], [row(0.1)], pp)
    left = np.zeros(pp)
    for _ in range(micro_batches):
        now = 0.0
        for index, stage in enumerate(stages):
            now = max(now, left[index]) + stage_seconds(stage)
            left[index] = now
    path = critical_path(stages, micro_batches, peaks_of(CHIP, "fp16"))
    assert sum(fields["seconds"] for _, fields in path) == pytest.approx(now)


def test_the_group_spends_dynamic_energy_per_micro_batch_and_static_power_all_the_time() -> None:
    stages = stages_of([], [[row(1.0)], [row(3.0)]], [], [row(0.5)], 2)
    # 3 rows of 1 J each for 2 micro-batches, and 2 W of 2 stages for 10 s; 4 chips in each stage.
    assert group_joules(stages, 10.0, 4, 2) == pytest.approx(4 * (2 * 3 + 2 * 2 * 10))


def test_a_pipelined_phase_is_the_same_work_and_its_transfers(tiny: str) -> None:
    alone, staged = (simulate(model=tiny, **SMALL, pp=pp) for pp in (1, LAYERS))
    assert check(staged) == []
    transfers = staged.layers[np.array(text(staged.layers["kind"])) == "point_to_point"]
    assert len(transfers) == LAYERS - 1
    assert staged.rollup["macs"] == alone.rollup["macs"]
    expected = float(alone.rollup["seconds"]) + float(transfers["seconds"].sum())
    assert staged.rollup["seconds"] == pytest.approx(expected)
    assert staged.rollup["n_chips"] == LAYERS


def test_micro_batches_fill_the_stages(tiny: str) -> None:
    one, four = (simulate(model=tiny, **SMALL, pp=LAYERS, micro_batches=parts) for parts in (1, 4))
    assert check(four) == []
    quarter = simulate(model=tiny, **{**SMALL, "batch": 1}, pp=LAYERS)
    assert float(four.rollup["seconds"]) >= float(quarter.rollup["seconds"])
    assert four.rollup["tokens"] == one.rollup["tokens"]


def test_the_engine_executes_transfers(tiny: str) -> None:
    trace = simulate(model=tiny, **{**SMALL, "fidelity": "tile"}, pp=LAYERS)
    assert check(trace) == []
    transfer = trace.layers[np.array(text(trace.layers["kind"])) == "point_to_point"][0]
    hidden_bytes = 4 * 32 * load_model(tiny).hidden * 2
    assert transfer["link_bytes"] == hidden_bytes
    assert transfer["seconds"] > hidden_bytes / CHIP.link.bandwidth_bytes_per_second


def test_stages_divide_weights_and_kv_cache() -> None:
    chip, model = load_chip("spad-h100"), load_model("bloom-176b")
    whole, half = (memory_use(chip, model, Footprint(64, 1024, 64, 64, 4, 16, False, pp=pp)) for pp in (1, 2))
    assert half.kv_cache_bytes * 2 == whole.kv_cache_bytes
    # Tied embeddings: both stages have the table.
    table = -(-model.vocab // 4) * model.hidden * 2
    assert half.weight_bytes * 2 == pytest.approx(whole.weight_bytes + table, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pp": LAYERS + 1}, f"pp = {LAYERS + 1}: must be at least 1 and at most n_layers = {LAYERS}"),
        ({"pp": 0}, "pp = 0: must be at least 1"),
        ({"pp": 2, "micro_batches": 3}, "micro_batches = 3: must be at least 1 and divide batch = 4"),
        ({"overlap_chunks": 0}, "overlap_chunks = 0: must be at least 1"),
    ],
)
def test_impossible_splits_are_refused(tiny: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(model=tiny, **SMALL, **options)


@given(product=st.floats(1e-6, 1.0), reduced=st.floats(1e-6, 1.0), chunks=st.integers(1, 64))
def test_overlap_hides_at_most_the_shorter_of_the_two(product: float, reduced: float, chunks: int) -> None:
    stack = load_stack("graph")
    rows = [row(product) | {"launch_cycles": 0.0}, row(reduced) | {"kind": "all_reduce", "link_cycles": reduced}]
    both = overlap_all_reduces(rows, chunks, CHIP, stack)
    seconds = sum(fields["seconds"] for fields in both)
    assert max(product, reduced) * (1 - 1e-12) <= seconds <= product + reduced
    assert both[1]["link_cycles"] == pytest.approx(both[1]["seconds"])
    assert both[1]["dram_joules"] == 1.0
