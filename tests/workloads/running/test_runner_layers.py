"""Runs of models whose layers differ, with experts, stored weights and expert parallelism."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results.analysis.invariants import check
from results.trace.schema import Table, text
from results.trace.trace import Trace
from tests.support.tiny_model import tiny_config
from uarch.chip_file import load_chip
from uarch.errors import InputError
from workloads.models.layer_plan import simulated_layers, stand_ins
from workloads.models.model import LayerKind
from workloads.models.presets import load_model
from workloads.running.runner import parts_of, simulate

CHIP = load_chip("h100", ["core.count=4", "mapping=search"])
RUN: dict[str, Any] = {"chip": CHIP, "phase": "prefill", "batch": 2, "seq": 40}
ARCHITECTURES = ("DeepseekV3ForCausalLM", "Gemma2ForCausalLM", "Qwen3MoeForCausalLM")


@pytest.fixture
def model(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(tiny_config(request.param)))
    return str(path)


def of_every_architecture(test: Any) -> Any:
    return pytest.mark.parametrize("model", ARCHITECTURES, indirect=True)(test)


def with_experts(test: Any) -> Any:
    return pytest.mark.parametrize("model", ["DeepseekV3ForCausalLM"], indirect=True)(test)


def named(trace: Trace, name: str, layer: int = 4) -> Table:
    rows: Table = trace.layers[(np.array(text(trace.layers["name"])) == name) & (trace.layers["layer"] == layer)]
    return rows


@of_every_architecture
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_trace_is_sound_and_no_faster_than_the_roofline(model: str, phase: str) -> None:
    arguments = {**RUN, "model": model, "phase": phase}
    trace, bound = simulate(**arguments), simulate(**arguments, fidelity="analytical")
    for run in (trace, bound):
        assert check(run) == []
    assert text(trace.layers["name"]) == text(bound.layers["name"])
    assert trace.rollup["flops"] == bound.rollup["flops"]
    assert trace.rollup["seconds"] > bound.rollup["seconds"]


@with_experts
@pytest.mark.parametrize(
    "options",
    [
        {"ep": 2, "expert_load": "zipf:1"},
        {"ep": 2, "tp": 2, "phase": "decode", "batch": 4},
        {"weight_dtype": "int4", "group_size": 32},
        {"weight_sparsity": "2:4", "phase": "decode"},
        {"dtype": "fp8", "weight_dtype": "fp8", "group_size": 64},
        {"logits": "all"},
    ],
    ids=str,
)
def test_options_of_experts_and_weights(model: str, options: dict[str, Any]) -> None:
    assert check(simulate(**{**RUN, "model": model, **options})) == []


def test_which_layers_are_simulated() -> None:
    """The first, and the first of each kind after each kind: A A A B B B, and A B A B."""
    a, b = LayerKind(None, False), LayerKind(None, True)
    assert stand_ins([a, a, a, b, b, b]) == [0, 1, 1, 3, 4, 4]
    assert stand_ins([a, b, a, b, a]) == [0, 1, 2, 1, 2]
    assert simulated_layers([a]) == [0]
    assert parts_of(load_model("deepseek-v3")) == [
        *("embedding", "layer 0", "layer 1", "layer 3", "layer 4"),
        "LM head",
    ]


@of_every_architecture
def test_layers_that_are_not_simulated_are_like_their_stand_ins(model: str) -> None:
    trace = simulate(**RUN, model=model)
    for layer, other in enumerate(stand_ins(load_model(model).layer_kinds)):
        rows, like = (trace.layers[trace.layers["layer"] == index] for index in (layer, other))
        for field in ("name", "seconds", "dram_read_bytes", "l2_hits"):
            assert np.array_equal(rows[field], like[field]), field


@with_experts
def test_operators_of_a_layer_with_experts_over_two_groups(model: str) -> None:
    trace = simulate(**RUN, model=model, ep=2)
    assert text(trace.layers["name"][trace.layers["layer"] == 4]) == [
        *("norm1", "latent_down", "q_norm", "q_up", "latent_cache", "q_rope", "k_rope", "k_up", "v_up", "attention"),
        *(
            "projection",
            "norm2",
            "router",
            "top_k",
            "shared_in",
            "shared_activation",
            "shared_out",
            "permute",
            "dispatch",
        ),
        *("experts_in", "expert_activation", "experts_out", "combine", "unpermute"),
    ]
    assert trace.rollup["n_chips"] == 2
    # half of the copies go to the other chip when loads are even: 40 tokens x 2 experts / 2 x 128 elements of fp16
    even = simulate(**RUN, model=model, ep=2, expert_load="balanced")
    assert named(even, "dispatch")["link_bytes"] == pytest.approx(40 * 128 * 2, rel=0.2)
    assert named(even, "combine")["link_bytes"] == named(even, "dispatch")["link_bytes"]


@with_experts
def test_useful_work_of_experts_and_latent_attention(model: str) -> None:
    """Per token: 2 of 8 experts and the shared one, keys and values expanded; causal scores; the head on 2 tokens."""
    heads, nope, rope, value, q_rank, kv_rank, hidden = 4, 32, 16, 32, 64, 64, 128
    attention = hidden * (q_rank + kv_rank + rope) + q_rank * heads * (nope + rope)
    attention += kv_rank * heads * (nope + value) + heads * value * hidden
    scores = 2 * heads * (40 * 41 // 2) * (nope + rope + value)
    dense, sparse = 3 * hidden * 256, hidden * 8 + 3 * hidden * 64 * (2 + 1)
    expected = 80 * (5 * attention + 2 * dense + 3 * sparse) + 5 * scores + 2 * hidden * 256
    assert simulate(**RUN, model=model).rollup["flops"] == 2 * expected
    every = simulate(**RUN, model=model, logits="all").rollup["flops"]
    assert every - 2 * expected == 2 * (80 - 2) * hidden * 256


@with_experts
def test_narrow_weights_are_read_in_fewer_bytes(model: str) -> None:
    """The second product of every expert, 64 x 128: int4 with a scale for every 32 is 4.5 instead of 16 bits a weight."""
    plain = named(simulate(**RUN, model=model), "experts_out")["dram_read_bytes"]
    narrow = named(simulate(**RUN, model=model, weight_dtype="int4", group_size=32), "experts_out")["dram_read_bytes"]
    assert plain - narrow == 8 * 64 * 128 * (16 - 4.5) / 8


@pytest.mark.parametrize("model", ["Gemma2ForCausalLM"], indirect=True)
def test_windows_bound_the_keys_that_are_read(model: str) -> None:
    """Of 4096 keys, layers with a window see 16 (in tiles of up to 256) and the others all."""
    trace = simulate(CHIP, model, "decode", batch=2, seq=4096)
    windowed, full = (named(trace, "attention", layer) for layer in (2, 3))
    assert windowed["macs"] < full["macs"] / 3
    assert windowed["seconds"] < full["seconds"]


@with_experts
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ep": 3, "batch": 3}, "ep = 3: tiny has 8 routed experts; allowed: divisors of that"),
        ({"ep": 4}, "batch = 2: must be a multiple of ep = 4"),
        ({"ep": 0}, "ep = 0: must be at least 1"),
        ({"attention": "unfused"}, "attention = 'unfused': not possible with the attention of tiny"),
        ({"logits": "none"}, "logits = 'none': not known; allowed: last, all"),
        ({"expert_load": "odd"}, "expert_load = 'odd': not known"),
        ({"weight_dtype": "fp32"}, "weight_dtype = 'fp32': not possible with dtype fp16"),
    ],
)
def test_wrong_input_is_refused(model: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as error:
        simulate(**{**RUN, "model": model, **options})
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_dense_model_has_no_experts_to_spread() -> None:
    with pytest.raises(InputError, match="ep = 2: llama-3-8b has no experts; allowed: 1"):
        simulate(CHIP, "llama-3-8b", "decode", batch=2, seq=8, ep=2)
