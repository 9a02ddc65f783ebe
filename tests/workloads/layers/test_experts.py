"""Which chip of an expert-parallel group is simulated."""

from __future__ import annotations

import pytest

from workloads.layers.experts import route, sizes_of
from workloads.models.parallel import check_parallel
from workloads.models.presets import load_model
from workloads.settings.phase import Phase


def test_the_busiest_chip_is_the_one_that_is_simulated() -> None:
    model = load_model("qwen3-30b-a3b")
    phase = Phase("decode", 100, 1, expert_load="zipf:1", seed=1)
    routing = route(sizes_of(model), check_parallel(model, 1, 4), phase)
    received = [sum(routing.exchange.rows(rank)) for rank in range(4)]
    assert sum(routing.rows) == max(received)
    assert sum(received) == 4 * 100 * 8
    assert routing.imbalance == max(received) / 800


def test_a_model_without_experts_has_no_sizes_of_them() -> None:
    with pytest.raises(ValueError, match="llama-3-8b has no experts"):
        sizes_of(load_model("llama-3-8b"))
