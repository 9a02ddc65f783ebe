"""Every model that comes with the package runs on an H100 in both phases, on as many chips as it needs."""

from __future__ import annotations

import pytest

from results.analysis.invariants import check
from workloads.models.presets import load_model, model_names
from workloads.running.runner import simulate

pytestmark = pytest.mark.once("studies of many runs")

CHIPS = {"bloom-176b": 8, "gpt-3-175b": 8, "llama-2-70b": 4, "llama-3-70b": 4, "deepseek-v2": 8, "mixtral-8x7b": 2}


@pytest.mark.compiled("too large for the interpreter")
@pytest.mark.parametrize("name", model_names())
def test_time_is_that_of_the_weights_in_decode_and_of_the_work_in_prefill(name: str) -> None:
    """By closed forms: a decode step of 1 sequence reads all weights that it uses; a prefill of 1024 tokens computes."""
    tp, ep = (8, 4) if name == "deepseek-v3" else (CHIPS.get(name, 1), 1)
    model, sizes = load_model(name), {"tp": tp, "ep": ep, "fidelity": "analytical", "expert_load": "balanced"}
    decode = simulate("h100", name, "decode", batch=ep, seq=64, **sizes)
    prefill = simulate("h100", name, "prefill", batch=ep, seq=1024, **sizes)
    for trace in (decode, prefill):
        assert check(trace) == []
    table = 0 if model.tied_embeddings else model.vocab * model.hidden
    read = (model.active_parameters - table) * 2 / tp / 3.352e12
    assert 0.9 * read < decode.rollup["seconds"] < 1.3 * read + 5e-6 * len(decode.layers)
    flops = 2 * (model.active_parameters - 2 * model.vocab * model.hidden) * 1024 / tp
    assert prefill.rollup["flops"] > flops
    assert prefill.rollup["seconds"] > flops / 989.5e12
