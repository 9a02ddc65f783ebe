"""Attention under masks and on ragged, paged or quantised caches: time, work and what must be refused.

Exercised with it: padded_mask.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.small_programs import small_chip
from uarch.errors import InputError
from workloads.single.attention import AttentionRun, simulate_attention

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
LENGTH = 128 if WITHOUT_JIT else 1024
HEADS: dict[str, Any] = {"batch": 1, "q_heads": 4, "kv_heads": 2, "head_dim": 64}


def prefill(mask: str | None, length: int = LENGTH, **options: Any) -> AttentionRun:
    return simulate_attention(small_chip(), "prefill", **HEADS, kv_len=length, mask=mask, **options)


@pytest.mark.parametrize(
    "mask", ["causal", "full", f"window:{LENGTH // 4}", "sink:4,60", "blocks:32,0.2", "vslash:20,100"]
)
def test_no_mask_beats_the_roofline_of_what_it_keeps(mask: str) -> None:
    run = prefill(mask)
    report = run.mask
    assert report is not None
    peak = small_chip().peak_flops("fp16")
    assert run.seconds >= run.roofline_seconds >= run.flops / peak
    assert run.flops == 4 * 64 * 4 * report.kept_scores
    assert report.kept_scores <= report.computed_scores <= run.macs // (2 * 64 * 4)
    assert report.dense_scores == LENGTH * (LENGTH + 1) // 2
    assert report.padding_fraction == pytest.approx(1 - report.kept_scores / report.computed_scores)
    assert report.speedup == pytest.approx(report.dense_seconds / run.seconds)


def test_selected_pages_and_trees_do_not_beat_it_either(tmp_path: Path) -> None:
    tree = tmp_path / "tree.json"
    tree.write_text(json.dumps({"parents": [-1, 0, 0, 1, 1, 2]}))
    for mask, phase, q_len, scores in (
        ("topk:16,64", "decode", 1, 2 * 64),
        (f"tree:{tree}", "prefill", 6, 2 * (6 * (LENGTH - 6) + 1 + 2 + 2 + 3 + 3 + 3)),
    ):
        run = simulate_attention(small_chip(), phase, **HEADS, kv_len=LENGTH, q_len=q_len, mask=mask)
        assert run.seconds >= run.roofline_seconds
        assert run.mask is not None
        assert 2 * run.mask.kept_scores == scores
        assert run.flops == 4 * 64 * 4 * run.mask.kept_scores


@pytest.mark.compiled("the interpreter's short contexts are few blocks, which all patterns fill")
@pytest.mark.parametrize(
    ("phase", "kind", "budgets"),
    [
        ("prefill", "window:{}", (1, 4, 16)),
        ("prefill", "sink:16,{}", (1, 4, 15)),
        ("prefill", "vslash:2,{}", (1, 4, 16)),
        ("decode", "topk:16,{}", (1, 4, 16)),
        ("decode", "nsa:32,16,64,4,{}", (1, 4, 16)),
    ],
)
def test_time_of_every_kind_rises_with_what_it_keeps(phase: str, kind: str, budgets: tuple[int, ...]) -> None:
    """On average over what is drawn, and in whole tiles as well; budgets in sixteenths of the keys."""
    sizes: dict[str, Any] = {**HEADS, "kv_len": LENGTH}
    kept, computed, seconds = [], [], []
    for budget in budgets:
        mask = kind.format(budget * LENGTH // 16)
        runs = [simulate_attention(small_chip(), phase, **sizes, mask=mask, seed=seed) for seed in range(2)]
        kept.append(float(np.mean([run.mask.kept_scores for run in runs if run.mask])))
        computed.append(float(np.mean([run.mask.computed_scores for run in runs if run.mask])))
        seconds.append(float(np.mean([run.seconds for run in runs])))
    assert kept == sorted(set(kept))
    assert computed == sorted(computed)
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_native_sparse_attention_keeps_what_its_branches_keep(phase: str) -> None:
    """Compressed keys of 32 every 16, all blocks up to 4, a window of 64: sums over the queries; never below the roofline."""
    sizes: dict[str, Any] = {**HEADS, "kv_len": LENGTH, "mask": "nsa:32,16,64,4,64"}
    run = simulate_attention(small_chip(), phase, **sizes)
    positions = range(LENGTH) if phase == "prefill" else [LENGTH - 1]
    compressed = sum(max(0, (position - 15) // 16) for position in positions)
    selected = sum(min(position + 1, 3 * 64 + position % 64 + 1) for position in positions)
    window = sum(min(position + 1, 64) for position in positions)
    assert run.mask is not None
    assert run.mask.kept_scores == compressed + selected + window
    summaries = 2 * 2 * 32 * 64 * 64 * ((LENGTH - 16) // 16 if phase == "prefill" else 1)
    assert run.flops == 4 * 64 * 4 * run.mask.kept_scores + 2 * summaries
    assert run.seconds >= run.roofline_seconds >= run.flops / small_chip().peak_flops("fp16")


def test_dense_masks_take_the_time_of_causal_attention(tmp_path: Path) -> None:
    """The same cycles through a mask as without one: there is one machinery."""
    blocks = tmp_path / "all.json"
    blocks.write_text(json.dumps({"block": 64, "rows": [list(range(r + 1)) for r in range(LENGTH // 64)]}))
    plain = prefill(None)
    for mask in ("causal", f"window:{LENGTH}", f"sink:4,{LENGTH}", f"blocks:{blocks}"):
        run = prefill(mask)
        assert run.mask is not None
        assert run.mask.kept_fraction == 1
        assert run.macs == plain.macs or run.programs[0].mapping != plain.programs[0].mapping
        assert run.cycles <= plain.cycles


def test_time_falls_with_the_kept_share() -> None:
    """On average over patterns; a tenth of the blocks does not take a tenth of the time."""
    times = {}
    for share in (0.1, 0.4, 0.7, 1.0):
        runs = [prefill(f"blocks:32,{share}", seed=seed) for seed in range(2)]
        times[share] = float(np.mean([run.seconds for run in runs]))
    assert sorted(times.values()) == list(times.values())
    assert times[0.1] > 0.1 * times[1.0]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=5), st.sampled_from([0, 16]), st.integers(0, 3))
def test_packed_never_loads_more_than_padded(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], page_size: int, seed: int
) -> None:
    contexts = tmp_path_factory.mktemp("contexts") / "contexts.txt"
    contexts.write_text("\n".join(map(str, lengths)))
    options: dict[str, Any] = {**HEADS, "batch": len(lengths), "contexts": str(contexts), "page_size": page_size}
    packed, padded = (
        simulate_attention(small_chip(), "decode", **options, pack=pack, seed=seed, fidelity="analytical")
        for pack in ("packed", "padded")
    )
    assert packed.flops == padded.flops == 4 * 64 * 4 * sum(lengths)
    assert packed.macs <= padded.macs
    assert packed.dram_bytes <= padded.dram_bytes


def test_narrow_caches_load_less_and_convert_more() -> None:
    """Keys and values of 512 tokens in a byte, or half of one with fp16 scales, instead of two."""
    runs = {
        kv_dtype: simulate_attention(
            small_chip(), "decode", **HEADS, kv_len=512, kv_dtype=kv_dtype, fidelity="analytical"
        )
        for kv_dtype in (None, "fp8", "int8", "int4", "fp4")
    }
    queries_bytes, elements, scale_bytes = 2 * 4 * 64, 2 * 512 * 2 * 64, 2 * 512 * 2 * 2
    expected = {
        None: 2 * elements,
        "fp8": elements,
        "int8": elements + scale_bytes,
        "int4": elements // 2 + scale_bytes,
        "fp4": elements // 2 + scale_bytes,
    }
    assert {name: run.dram_bytes - queries_bytes for name, run in runs.items()} == expected
    vector = [run.joules_by_component["vector"] for run in runs.values()]
    assert sorted(vector) == vector
    assert vector[0] < vector[1]


def test_pages_cost_their_table_and_their_last_rows() -> None:
    """1000 keys of 2 heads on pages of 8 are 125 entries of 4 bytes; on pages of 16 also 8 rows that are not there."""
    plain = simulate_attention(small_chip(), "decode", **HEADS, kv_len=1000)
    for page_size, rows, entries in ((8, 0, 125), (16, 8, 63)):
        paged = simulate_attention(small_chip(), "decode", **HEADS, kv_len=1000, page_size=page_size)
        assert paged.dram_bytes == plain.dram_bytes + 4 * entries + rows * 2 * 2 * 64 * 2
        assert paged.flops == plain.flops


def test_prefill_and_decode_in_one_batch(tmp_path: Path) -> None:
    """A chunk of 64 new tokens and three single ones: the second number of a line."""
    contexts = tmp_path / "mixed.txt"
    contexts.write_text("200 64\n100 1\n50 1\n1 1\n")
    run = simulate_attention(small_chip(), "prefill", **{**HEADS, "batch": 4}, contexts=str(contexts))
    kept = sum(range(137, 201)) + 100 + 50 + 1
    assert run.flops == 4 * 64 * 4 * kept
    assert run.shape == "b 4, h 4/2 x 64, q 64, kv 200"


def test_latent_attention_loads_its_cache_once() -> None:
    """Absorbed weights: 16 heads share a latent of 64 and a rotary part of 16, and its first 64 columns are the values."""
    sizes: dict[str, Any] = {"batch": 2, "q_heads": 16, "kv_heads": 1, "head_dim": 80}
    run = simulate_attention(
        small_chip(), "decode", **sizes, kv_len=300, value_dim=64, latent=True, fidelity="analytical"
    )
    assert run.dram_bytes == 2 * 2 * (300 * 80 + 16 * 80)
    assert run.flops == 2 * 2 * 16 * 300 * (80 + 64)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mask": "window"}, "mask = 'window': not known; allowed: causal, full, window:W, sink:S,W, blocks:FILE"),
        ({"mask": "window:0"}, "mask = 'window:0': must be window:W with numbers from 1 to"),
        ({"mask": "sink:4"}, "mask = 'sink:4': must be sink:S,W with numbers"),
        ({"mask": "blocks:0,0.5"}, "must be blocks:BLOCK,SHARE with BLOCK from 1 to 4096 and SHARE from 0 to 1"),
        ({"mask": "topk:16,64"}, "mask = 'topk:16,64': pages are selected for single new tokens, in decode"),
        ({"mask": "topk:16,65"}, "BUDGET must be a multiple of PAGE"),
        ({"mask": "nsa:32,16,64"}, "must be nsa:BLOCK,STRIDE,SELECTION,COUNT,WINDOW with numbers"),
        ({"mask": "nsa:32,12,64,16,512"}, "STRIDE must divide BLOCK and SELECTION"),
        ({"mask": "nsa:128,16,64,16,512"}, "BLOCK must be at most SELECTION, and COUNT at least 3"),
        ({"mask": "nsa", "page_size": 16}, "mask = 'nsa': has no contexts, pages, kv_dtype or value_dim"),
        ({"page_size": 24}, "page_size = 24: must be a power of two from 2 to 1024, or 0 for no pages"),
        ({"kv_dtype": "int2"}, "kv_dtype = 'int2': not known; did you mean 'int8'? allowed: fp32, "),
        ({"pack": "tight"}, "pack = 'tight': not known; allowed: packed, padded"),
        ({"contexts": "azure-conversation"}, "kv_len: give either kv_len or contexts"),
        ({"kv_len": None}, "kv_len: give either kv_len or contexts"),
        ({"latent": True}, "value_dim = 0: must be from 1 to head_dim = 64 if latent"),
        ({"schedule": "unfused", "mask": "full"}, "schedule = 'unfused': has no masks, contexts, pages"),
        ({"kv_len": None, "contexts": "constant:4", "q_len": 5}, "sequence 0 has 4 keys, fewer than its 5 new tokens"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as error:
        simulate_attention(**{"chip": small_chip(), "phase": "prefill", **HEADS, "kv_len": 64, **options})
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("tree", {"parents": [0]}, "parents.0 must be -1"),
        ("tree", {"parents": [-1, 0, 2]}, "parents.2 must be the number of an earlier node, 0 to 1"),
        ("tree", {"parents": [-1, 0]}, "has 2 nodes; q_len = 64 must be as many"),
        ("tree", {}, "parents is missing"),
        ("blocks", {"block": 8, "rows": [[0], [0]]}, "rows.1 must have block 1"),
        ("blocks", {"block": 8, "rows": [[0], [1, 0]]}, "rows.1 must be ascending numbers"),
        ("blocks", {"block": 8, "rows": [[0]]}, "has 1 rows of blocks of 8: fewer than 64 keys need"),
    ],
)
def test_wrong_mask_files_are_refused(tmp_path: Path, kind: str, content: dict[str, Any], expected: str) -> None:
    path = tmp_path / "mask.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        prefill(f"{kind}:{path}", 64)
    assert expected in str(error.value)
