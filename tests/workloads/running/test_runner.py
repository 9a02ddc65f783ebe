"""A model's phase from end to end: what must hold for its trace, and how it answers to its options."""

from __future__ import annotations

from dataclasses import fields
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uarch
from results.analysis.invariants import check
from results.trace.schema import Table, text
from results.trace.trace import Trace
from tests.support.tiny_model import LAYERS, write_tiny_llama
from uarch.chip_file import load_chip
from uarch.errors import InputError
from workloads.models.presets import load_model
from workloads.running.runner import parts_of, simulate
from workloads.settings.run_options import RunOptions
from workloads.settings.stack import load_stack

CHIP = load_chip("h100", ["core.count=4", "mapping=search"])

TINY: dict[str, Any] = {"chip": CHIP, "phase": "prefill", "batch": 1, "seq": 48}


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return str(write_tiny_llama(tmp_path))


def named(trace: Trace, name: str) -> Table:
    """Rows of an operator, in the order of layers."""
    rows: Table = trace.layers[np.array(text(trace.layers["name"])) == name]
    return rows


def test_the_signature_shows_every_option_with_its_default() -> None:
    """What an editor or ``help`` shows is made from the record."""
    shown = signature(simulate).parameters
    defaults = {field.name: field.default for field in fields(RunOptions)}
    assert {name: shown[name].default for name in defaults} == defaults
    assert all(shown[name].kind is Parameter.KEYWORD_ONLY for name in defaults)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"attention": "unfused", "stack": "eager"},
        {"tp": 2, "batch": 3},
        {"tp": 4, "dtype": "bf16"},
        {"fidelity": "burst"},
    ],
    ids=str,
)
def test_a_trace_is_sound_and_no_faster_than_the_roofline(tiny: str, phase: str, options: dict[str, Any]) -> None:
    arguments = {**TINY, "model": tiny, "phase": phase, **options}
    trace, bound = simulate(**arguments), simulate(**{**arguments, "fidelity": "analytical"})
    for run in (trace, bound):
        assert check(run) == []
        assert run.workload["phase"] == phase
    assert text(trace.layers["name"]) == text(bound.layers["name"])
    assert trace.rollup["flops"] == bound.rollup["flops"]
    assert np.all(trace.layers["macs"] == bound.layers["macs"])


def test_useful_work_is_that_of_the_model(tiny: str) -> None:
    """Twice the weights for each of 48 tokens, the scores that the causal mask keeps, and the LM head once."""
    weights = 256 * (4 + 2 * 2) * 64 + 256 * 256 + 256 * 2 * 512 + 512 * 256
    scores = 48 * 49 // 2
    expected = LAYERS * (2 * 48 * weights + 2 * 2 * 4 * 64 * scores) + 2 * 512 * 256
    assert simulate(model=tiny, **TINY).rollup["flops"] == expected


def test_equal_inputs_give_equal_bytes(tiny: str, tmp_path: Path) -> None:
    for name in ("first.h5", "second.h5"):
        simulate(model=tiny, **TINY, seed=3).save(tmp_path / name)
    assert (tmp_path / "first.h5").read_bytes() == (tmp_path / "second.h5").read_bytes()


def test_later_layers_are_like_the_second(tiny: str) -> None:
    trace = simulate(model=tiny, **TINY)
    second, third = (trace.layers[trace.layers["layer"] == layer] for layer in (1, 2))
    for field in ("name", "seconds", "dram_read_bytes", "l2_hits"):
        assert np.array_equal(second[field], third[field]), field


def test_operators_of_an_unfused_layer_in_order(tiny: str) -> None:
    trace = simulate(model=tiny, **TINY, tp=2, attention="unfused")
    assert text(trace.layers["name"][trace.layers["layer"] == 1]) == [
        "norm1",
        "qkv",
        "rope",
        "qk",
        "softmax",
        "pv",
        "projection",
        "attention.all_reduce",
        "norm2",
        "ffn_in",
        "activation",
        "ffn_out",
        "ffn.all_reduce",
    ]


def test_prefill_takes_longer_than_a_decode_step(tiny: str) -> None:
    prefill = simulate(model=tiny, **{**TINY, "seq": 256})
    decode = simulate(model=tiny, **{**TINY, "seq": 256, "phase": "decode"})
    assert prefill.rollup["seconds"] > decode.rollup["seconds"]
    assert (prefill.rollup["tokens"], decode.rollup["tokens"]) == (256, 1)


def test_tensor_parallelism_halves_the_products_and_adds_communication(tiny: str) -> None:
    alone, pair = simulate(model=tiny, **TINY), simulate(model=tiny, **TINY, tp=2)
    assert pair.rollup["flops"] == alone.rollup["flops"] / 2
    assert alone.rollup["link_bytes"] == 0
    assert not len(named(alone, "ffn.all_reduce"))
    # ring all-reduce: each of 2 chips receives half the sums, then the other half's result: 48 x 256 in fp16
    assert set(named(pair, "ffn.all_reduce")["link_bytes"]) == {2 * (48 * 256 * 2) / 2}
    assert pair.rollup["energy_per_token_joules"] == pytest.approx(2 * pair.rollup["energy_joules"] / 48)


def test_unfused_attention_does_the_same_useful_work_in_more_time(tiny: str) -> None:
    """Of 256 keys the streaming schedule leaves out the blocks that no query of a tile sees."""
    options = {**TINY, "model": tiny, "seq": 256}
    flash, unfused = (simulate(**options, attention=attention) for attention in ("flash", "unfused"))
    assert unfused.rollup["flops"] == flash.rollup["flops"]
    assert unfused.rollup["macs"] > flash.rollup["macs"]
    assert unfused.rollup["l2_bytes"] > flash.rollup["l2_bytes"]
    assert unfused.rollup["seconds"] > flash.rollup["seconds"]


def test_a_stack_adds_its_overheads(tiny: str) -> None:
    graph, eager = (simulate(model=tiny, **TINY, stack=stack) for stack in ("graph", "eager"))
    for name, kind in (("norm1", "norm"), ("qkv", "gemm"), ("attention", "attention"), ("activation", "activation")):
        added = load_stack("eager").launch_overhead_seconds(kind) - load_stack("graph").launch_overhead_seconds(kind)
        assert named(eager, name)["seconds"] - named(graph, name)["seconds"] == pytest.approx(added, rel=0.05)


def test_a_chip_from_a_file(tiny: str, tmp_path: Path) -> None:
    preset = Path(uarch.__file__).parent / "chips" / "h100.toml"
    custom = tmp_path / "custom.toml"
    text_of_four_cores = preset.read_text().replace("count = 132", "count = 4", 1)
    custom.write_text(text_of_four_cores.replace('name = "h100"', 'name = "custom"\nmapping = "search"', 1))
    trace = simulate(model=tiny, **{**TINY, "chip": str(custom)})
    assert trace.chip["name"] == "custom"
    assert trace.rollup == simulate(model=tiny, **TINY).rollup


def test_sizes_may_be_numbers_of_numpy(tiny: str) -> None:
    sizes = {"batch": np.int64(TINY["batch"]), "seq": np.int32(TINY["seq"]), "tp": np.uint8(1)}
    assert simulate(model=tiny, **{**TINY, **sizes}).rollup == simulate(model=tiny, **TINY).rollup


def test_the_seed_draws_the_tokens(tiny: str) -> None:
    one, other = (simulate(model=tiny, **TINY, seed=seed) for seed in (1, 2))
    assert (one.seed, other.seed) == (1, 2)
    assert one.rollup["flops"] == other.rollup["flops"]


def test_progress_names_each_part_before_it_runs(tiny: str) -> None:
    seen: list[str] = []
    simulate(model=tiny, **TINY, progress=seen.append)
    assert seen == parts_of(load_model(tiny)) == ["embedding", "layer 0", "layer 1", "LM head"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {"fidelity": "lltile", "mask": "window:4"},
            "fidelity = 'lltile': has no model of operator attention with mask = 'window:4'; allowed: analytical, tile, burst",
        ),
        ({"phase": "verify"}, "draft = None: must be given with phase = 'verify', and only there"),
        ({"attention": "ring"}, "attention = 'ring': not known; allowed: flash, unfused"),
        ({"fidelity": "exact"}, "fidelity = 'exact': not known; allowed: analytical, lltile, tile, burst"),
        ({"dtype": "fp17"}, "dtype = 'fp17': not known; did you mean 'fp16'? allowed: fp32, "),
        ({"stack": "eagre"}, "did you mean 'eager'?"),
        ({"chip": "h1000"}, "did you mean 'h100'?"),
        ({"batch": 0}, "batch = 0: must be at least 1"),
        ({"batch": 1.5}, "batch = 1.5: must be a whole number"),
        ({"tp": "2"}, "tp = '2': must be a whole number"),
        ({"seq": -1}, "seq = -1: must be at least 1"),
        ({"seq": float("nan")}, "seq = nan: must be a whole number"),
        ({"seed": -1}, "seed = -1: must be at least 0"),
        ({"tp": 3}, "tp = 3: does not divide q_heads = 4; allowed for "),
        ({"batch": 1 << 20}, "does not fit on h100"),
    ],
)
def test_wrong_input_is_refused(tiny: str, arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as error:
        simulate(**{**TINY, "model": tiny, **arguments})
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.compiled("a model of 176 billion parameters takes minutes in interpreted code")
@pytest.mark.parametrize(("phase", "batch", "seconds"), [("prefill", 2, 0.21), ("decode", 64, 0.0435)])
def test_spad_times_of_bloom(phase: str, batch: int, seconds: float) -> None:
    """SPAD (arXiv 2510.08544), Figures 2 and 3: BLOOM-176B on 8 of its H100s, 1024 tokens, within 15 %."""
    trace = simulate("spad-h100", "bloom-176b", phase, batch=batch, seq=1024, tp=8, attention="unfused", stack="eager")
    assert check(trace) == []
    assert trace.rollup["seconds"] == pytest.approx(seconds, rel=0.15)
