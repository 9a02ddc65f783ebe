"""Steps of whole models: the other phases are cases of one, and mixed batches lie between their parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.trace.trace import Trace
from tests.support.small_programs import small_chip
from tests.support.tiny_model import tiny_config, write_tiny_llama
from uarch.errors import InputError
from workloads.models.architectures import model_of_config
from workloads.models.model import Model
from workloads.running.runner import simulate
from workloads.running.steps import StepRunner

MIXED = [(1, 90), (40, 40), (16, 80), (1, 33)]


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return str(write_tiny_llama(tmp_path))


def model_of(architecture: str) -> Model:
    return model_of_config(tiny_config(architecture), "tiny", architecture)


def step_of(model: Model | str, sequences: list[tuple[int, int]], **options: Any) -> Trace:
    return simulate(small_chip(), model, "step", step=sequences, **{"fidelity": "analytical", **options})


def flops_of(trace: Trace, *names: str) -> float:
    chosen = np.isin(trace.layers["name"], [name.encode() for name in names])
    return float(trace.layers["flops"][chosen].sum())


def names_of(trace: Trace) -> list[str]:
    return [name.decode() for name in trace.layers["name"]]


def assert_same(first: Trace, second: Trace) -> None:
    """All numbers of all operators, bit for bit."""
    assert (first.layers == second.layers).all()
    differing = {name for name, value in first.rollup.items() if second.rollup[name] != value}
    assert differing <= {"phase"}


@pytest.mark.compiled("whole models are too large for the interpreter")
@pytest.mark.parametrize("cache", [{}, {"page_size": 16, "kv_dtype": "int8"}])
@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Gemma2ForCausalLM", "DeepseekV3ForCausalLM"])
def test_equal_sequences_are_the_other_phases(tiny: str, architecture: str, cache: dict[str, Any]) -> None:
    """Prompts are a prefill, single tokens a decode step, and several tokens on a context, all with logits, a chain."""
    model = tiny if architecture == "LlamaForCausalLM" else model_of(architecture)
    options: dict[str, Any] = {"fidelity": "tile", **cache}
    for phase, sizes, more in (
        ("prefill", (24, 24), {}),
        ("decode", (1, 24), {}),
        ("verify", (3, 24), {"logits": "all"}),
    ):
        draft = {"draft": "chain:2"} if phase == "verify" else {}
        other = simulate(small_chip(), model, phase, batch=2, seq=24, **options, **draft)
        assert_same(step_of(model, [sizes] * 2, **options, **more), other)


def test_single_tokens_on_any_contexts_are_a_decode_step(tiny: str, tmp_path: Path) -> None:
    contexts = tmp_path / "contexts.txt"
    contexts.write_text("90\n33\n7\n")
    decode = simulate(small_chip(), tiny, "decode", batch=3, contexts=str(contexts), fidelity="analytical")
    assert_same(step_of(tiny, [(1, 90), (1, 33), (1, 7)]), decode)


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Gemma2ForCausalLM", "Qwen3MoeForCausalLM"])
def test_a_mixed_batch_does_the_work_of_its_parts(tiny: str, architecture: str) -> None:
    """Attention adds up over sequences, products over tokens, the LM head over sequences."""
    model = tiny if architecture == "LlamaForCausalLM" else model_of(architecture)
    mixed, alone = step_of(model, MIXED), [step_of(model, [sequence]) for sequence in MIXED]
    assert mixed.rollup["tokens"] == 58
    for operators in (("attention",), ("qkv",), ("lm_head",), ("router",)):
        assert flops_of(mixed, *operators) == sum(flops_of(part, *operators) for part in alone)
    assert names_of(mixed).count("last_tokens") == 1
    assert mixed.workload["step"] == "1/90, 40/40, 16/80, 1/33"


def test_prompts_of_different_lengths(tiny: str) -> None:
    """Their new tokens see causal triangles: 30 x 31 / 2 and 50 x 51 / 2 scores."""
    trace = step_of(tiny, [(30, 30), (50, 50)])
    layers, heads, head_dim = 3, 4, 64
    assert flops_of(trace, "attention") == layers * 4 * heads * head_dim * (30 * 31 // 2 + 50 * 51 // 2)


def test_latents_are_absorbed_for_single_tokens_and_expanded_for_prompts() -> None:
    model = model_of("DeepseekV3ForCausalLM")
    layer = names_of(step_of(model, [(64, 64), (1, 90)]))
    assert layer.count("attention") == layer.count("prefill_attention") == 5
    assert "prefill_attention" not in names_of(step_of(model, [(1, 90), (1, 33)]))
    assert "q_absorb" not in names_of(step_of(model, [(64, 64), (30, 30)]))


@settings(max_examples=8)
@given(st.lists(st.tuples(st.integers(1, 64), st.integers(0, 128)), min_size=1, max_size=4), st.data())
def test_more_work_takes_no_less_time(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    """A longer context, more new tokens, or one more sequence; the closed form's choice of tiles is off by up to 3 %."""
    model = model_of("Gemma2ForCausalLM")
    sequences = [(new, new + past) for new, past in pairs]
    chosen = data.draw(st.integers(0, len(pairs) - 1))
    new, context = sequences[chosen]
    least = 0.97 * step_of(model, sequences).rollup["seconds"]
    for more in ((new, context + 64), (new + 16, context + 16)):
        grown = [more if i == chosen else pair for i, pair in enumerate(sequences)]
        assert step_of(model, grown).rollup["seconds"] >= least
    assert step_of(model, [*sequences, (new, context)]).rollup["seconds"] >= least


@pytest.mark.compiled("whole models are too large for the interpreter")
def test_the_engine_runs_a_mixed_batch_above_the_roofline(tiny: str) -> None:
    options: dict[str, Any] = {"page_size": 16, "kv_dtype": "int8"}
    for model in (tiny, model_of("DeepseekV3ForCausalLM")):
        tile, bound = (step_of(model, MIXED, fidelity=fidelity, **options) for fidelity in ("tile", "analytical"))
        assert tile.rollup["seconds"] >= bound.rollup["seconds"]
        assert tile.rollup["flops"] == bound.rollup["flops"]


def test_groups_of_chips_share_the_sequences_out() -> None:
    """Of five sequences on two groups the larger share has three: those with most, third and fifth most new tokens."""
    trace = step_of(model_of("Qwen3MoeForCausalLM"), [(1, 9), (20, 20), (8, 40), (1, 30), (16, 16)], ep=2)
    shapes = {row["shape"].decode() for row in trace.layers if row["name"] == b"qkv"}
    assert shapes == {"29 x 256 x 128"}


def test_micro_batches_share_the_sequences_out(tiny: str) -> None:
    """Two micro-batches through two stages, each of half of the sequences and the larger half of the tokens."""
    trace = step_of(tiny, [(24, 24), (8, 8), (1, 30), (1, 9)], pp=2, micro_batches=2)
    shapes = {row["shape"].decode() for row in trace.layers if row["name"] == b"qkv"}
    assert shapes == {"25 x 512 x 256"}
    assert trace.rollup["tokens"] == 34


def test_the_block_model_runs_steps(tiny: str) -> None:
    """Fused attention of the sequences with as many new tokens at a time, at their mean context."""
    seconds = [step_of(tiny, step, fidelity="lltile").rollup["seconds"] for step in (MIXED, [*MIXED, (1, 90)])]
    assert seconds[0] < seconds[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {"step": [(1, 8)], "seq": 8},
            "seq = 8: allowed only with another phase: lengths of a step are those of its sequences",
        ),
        ({"step": [(1, 8)], "batch": 2}, "batch = 2: must be left out, or 1: the sequences of the step"),
        ({}, "step_file = None: must be given with phase = 'step', or step from Python"),
        ({"step": [(1, 8), (4, 8)], "attention": "unfused"}, "attention = 'unfused'"),
        (
            {"step": [(1, 80), (4, 80)], "mask": "nsa"},
            "step = '1/80, 4/80': allowed only with attention = 'flash' and without mask = 'nsa'",
        ),
        ({"step": [(1, 80), (4, 80)], "mask": "topk:16,32"}, "pages are selected for single new tokens"),
        (
            {"step": [(1, 80)], "contexts": "constant:4"},
            "contexts = 'constant:4': allowed only with phase = 'decode' or 'verify'",
        ),
        (
            {"step": [(1, 80)], "draft": "chain:2"},
            "draft = 'chain:2': must be given with phase = 'verify', and only there",
        ),
    ],
)
def test_what_a_step_must_not_have(tiny: str, arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as error:
        simulate(small_chip(), tiny, "step", fidelity="analytical", **arguments)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"seq": 8}, "batch = None: must be given with phase = 'decode': the number of sequences"),
        ({"batch": 1, "seq": 8, "step_file": "x.csv"}, "step_file = 'x.csv': allowed only with phase = 'step'"),
    ],
)
def test_what_other_phases_must_not_have(tiny: str, arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as error:
        simulate(small_chip(), tiny, "decode", fidelity="analytical", **arguments)
    assert expected in str(error.value)


def test_a_runner_gives_the_times_of_single_runs(tiny: str, tmp_path: Path) -> None:
    """By closed forms no mapping is searched for, so that nothing is shared but what is loaded."""
    runner = StepRunner(small_chip(), tiny, fidelity="analytical", tp=2)
    assert runner.seconds(MIXED) == step_of(tiny, MIXED, tp=2).rollup["seconds"]
    assert runner.seconds(MIXED) == runner.run(MIXED).rollup["seconds"]
    assert json.dumps(runner.run(MIXED).workload)
