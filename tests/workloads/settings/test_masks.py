"""Masks, caches and drafts of a model run: what changes in a layer, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from results.trace.trace import Trace
from tests.support.small_programs import small_chip
from tests.support.tiny_model import write_tiny_llama
from uarch.errors import InputError
from workloads.running.runner import simulate


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return str(write_tiny_llama(tmp_path))


def run(model: str, phase: str, seq: int | None = 96, **options: Any) -> Trace:
    return simulate(small_chip(), model, phase, batch=2, seq=seq, **{"fidelity": "analytical", **options})


def of_layer(trace: Trace, name: str) -> Any:
    (row,) = trace.layers[(trace.layers["layer"] == 1) & (trace.layers["name"] == name.encode())]
    return row


def names(trace: Trace) -> list[str]:
    return [name.decode() for name in trace.layers[trace.layers["layer"] == 1]["name"]]


def test_a_window_keeps_its_share(tiny: str) -> None:
    dense, window = (of_layer(run(tiny, "prefill", mask=mask), "attention") for mask in (None, "window:16"))
    kept = 16 * 17 // 2 + 80 * 16
    assert window["flops"] == dense["flops"] * kept / (96 * 97 // 2)
    assert window["flops"] / 2 < window["macs"] <= dense["macs"]


def test_a_draft_is_verified_for_every_sequence(tiny: str, tmp_path: Path) -> None:
    """Five new tokens of each sequence, logits for all of them."""
    tree = tmp_path / "tree.json"
    tree.write_text(json.dumps({"parents": [-1, 0, 0, 1, 2]}))
    decode, chain = run(tiny, "decode"), run(tiny, "verify", draft="chain:4")
    treed = run(tiny, "verify", draft=f"tree:{tree}")
    assert chain.rollup["tokens_per_second"] * chain.rollup["seconds"] == pytest.approx(10)
    assert of_layer(chain, "qkv")["flops"] == 5 * of_layer(decode, "qkv")["flops"]
    assert of_layer(chain, "attention")["flops"] * 96 == of_layer(decode, "attention")["flops"] * sum(range(92, 97))
    assert of_layer(treed, "attention")["flops"] * 96 == of_layer(decode, "attention")["flops"] * (
        5 * 91 + 1 + 2 + 2 + 3 + 3
    )
    heads = [trace.layers[trace.layers["name"] == b"lm_head"]["flops"][0] for trace in (decode, chain)]
    assert heads[1] == 5 * heads[0]


def test_a_paged_narrow_cache_is_stored_and_read(tiny: str) -> None:
    plain, stored = run(tiny, "decode"), run(tiny, "decode", kv_dtype="int8", page_size=16)
    assert "kv_store" in names(stored)
    assert "kv_store" not in names(plain)
    narrow, wide = (of_layer(trace, "attention")["dram_read_bytes"] for trace in (stored, plain))
    assert 0.4 < narrow / wide < 0.8
    assert stored.workload["kv_dtype"] == "int8"


def test_selected_pages_are_chosen_first(tiny: str) -> None:
    trace = run(tiny, "decode", seq=512, mask="topk:16,64")
    position = names(trace).index("page_bounds")
    assert names(trace)[position : position + 3] == ["page_bounds", "page_choice", "attention"]
    dense = of_layer(run(tiny, "decode", seq=512), "attention")
    assert of_layer(trace, "attention")["flops"] == dense["flops"] * 64 / 512


@pytest.mark.parametrize("phase", ["prefill", "decode", "verify"])
def test_native_sparse_attention_in_a_layer(tiny: str, phase: str) -> None:
    """Gates from the hidden state, six programs; a decode step at 96 tokens completes a block of 32 every 16."""
    draft = {"draft": "chain:3"} if phase == "verify" else {}
    trace = run(tiny, phase, mask="nsa:32,16,32,3,32", **draft)
    expected = ["gates", "compression", *(f"attention_{branch}" for branch in ("compressed", "selected", "window"))]
    first = names(trace).index("gates")
    assert names(trace)[first : first + 7] == [*expected, "gated_sum", "projection"]
    dense = run(tiny, phase, **draft)
    attention = sum(of_layer(trace, name)["flops"] for name in expected[2:])
    assert attention == of_layer(dense, "attention")["flops"] * _kept(phase) / _dense(phase)
    assert trace.workload["mask"] == "nsa:32,16,32,3,32"


def _positions(phase: str) -> range:
    return range({"prefill": 0, "decode": 95, "verify": 92}[phase], 96)


def _dense(phase: str) -> int:
    return sum(position + 1 for position in _positions(phase))


def _kept(phase: str) -> int:
    """Compressed keys whose 32 tokens have ended; the first block of 32 and the last two; a window of 32."""
    return sum(max(0, (i - 15) // 16) + i + 1 + min(i + 1, 32) for i in _positions(phase))


@pytest.mark.parametrize(
    "options", [{}, {"page_size": 16, "kv_dtype": "int8"}, {"mask": "window:40"}, {"mask": "topk:8,16"}]
)
@pytest.mark.parametrize("phase", ["decode", "verify"])
def test_contexts_of_different_lengths(tiny: str, tmp_path: Path, phase: str, options: dict[str, Any]) -> None:
    """Attention works on the sum of the contexts; all else is that of equally many tokens."""
    draft: dict[str, Any] = {"draft": "chain:3"} if phase == "verify" else {}
    contexts = tmp_path / "contexts.txt"
    contexts.write_text("96\n17\n")
    ragged = run(tiny, phase, seq=None, contexts=str(contexts), **draft, **options)
    parts = [run(tiny, phase, seq=length, **draft, **options) for length in (96, 17)]
    assert ragged.workload["seq"] == 96
    expected = sum(of_layer(part, "attention")["flops"] for part in parts) / 2
    assert of_layer(ragged, "attention")["flops"] == expected
    assert of_layer(ragged, "qkv")["flops"] == of_layer(parts[0], "qkv")["flops"]
    assert "kv_store" in names(ragged)


@pytest.mark.compiled("whole models are too large for the interpreter")
def test_the_engine_runs_them_too(tiny: str) -> None:
    options: dict[str, Any] = {"fidelity": "tile", "kv_dtype": "fp8", "page_size": 8}
    for phase, more in (("prefill", {"mask": "sink:4,20"}), ("verify", {"draft": "chain:2", "mask": "window:40"})):
        trace, bound = (run(tiny, phase, **{**options, **more, "fidelity": f}) for f in ("tile", "analytical"))
        assert trace.rollup["seconds"] >= bound.rollup["seconds"]
        assert trace.rollup["flops"] == bound.rollup["flops"]


@pytest.mark.parametrize(
    ("phase", "options", "expected"),
    [
        ("verify", {}, "draft = None: must be given with phase = 'verify', and only there"),
        ("decode", {"draft": "chain:2"}, "draft = 'chain:2': must be given with phase = 'verify', and only there"),
        ("verify", {"draft": "chain:200"}, "seq = 96: must be at least 201, the new tokens, which it includes"),
        ("prefill", {"mask": "topk:16,64"}, "pages are selected for single new tokens"),
        ("prefill", {"mask": "window"}, "mask = 'window': not known; allowed: causal, full"),
        ("decode", {"mask": "nsa", "kv_dtype": "int8"}, "native sparse attention has no page_size and no kv_dtype"),
        ("decode", {"mask": "nsa", "attention": "unfused"}, "attention = 'unfused': has no mask"),
        ("decode", {"contexts": "constant:4"}, "give either seq = TOKENS or contexts = LENGTHS"),
        ("decode", {"seq": None}, "seq = None: give either seq = TOKENS or contexts = LENGTHS"),
        (
            "prefill",
            {"seq": None, "contexts": "constant:4"},
            "allowed only with phase = 'decode' or 'verify': prompts of",
        ),
        ("decode", {"seq": None, "contexts": "constant:4", "ep": 2}, "allowed only with ep = 1, micro_batches = 1"),
        (
            "verify",
            {"seq": None, "contexts": "uniform:1,2", "draft": "chain:1", "seed": 1},
            "fewer than its 2 new tokens",
        ),
        ("decode", {"page_size": 3}, "page_size = 3: must be a power of two"),
        ("decode", {"kv_dtype": "mxfp4"}, "kv_dtype = 'mxfp4': must have a scale for each token and head"),
        ("decode", {"kv_dtype": "int3"}, "kv_dtype = 'int3': not known; did you mean 'int8'? allowed:"),
        (
            "decode",
            {"attention": "unfused", "page_size": 16},
            "attention = 'unfused': has no mask, kv_dtype, page_size",
        ),
    ],
)
def test_wrong_options_are_refused(tiny: str, phase: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as error:
        run(tiny, phase, **options)
    assert expected in str(error.value)


def test_a_tree_is_its_own_mask(tiny: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree.json"
    tree.write_text(json.dumps({"parents": [-1, 0]}))
    with pytest.raises(InputError, match="allowed only with draft = 'chain:K': the tree of a draft is the mask"):
        run(tiny, "verify", draft=f"tree:{tree}", mask="window:8")
