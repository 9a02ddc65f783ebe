"""What fits into memory: SPAD's capacities, the largest set of live buffers, and the message when it does not fit."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.errors import InputError
from workloads.layers.capacity import GIB, MemoryUse, check_fits, memory_use
from workloads.models.footprint import Footprint
from workloads.models.model import Model
from workloads.models.parallel import check_parallel
from workloads.models.presets import load_model

BLOOM = load_model("bloom-176b")
LLAMA = load_model("llama-3-70b")
H100 = load_chip("spad-h100")
PREFILL = load_chip("spad-prefill")
FP16: dict[str, Any] = {"dtype_bits": 16, "unfused": False}


def fits(chip: Chip, model: Model, **sizes: Any) -> MemoryUse:
    """Check a phase of which all tokens have logits unless ``logit_tokens`` says otherwise."""
    return check_fits(chip, model, Footprint(**{"logit_tokens": sizes["tokens"], **FP16, **sizes}))


def message_of(chip: Chip, model: Model, **sizes: Any) -> str:
    with pytest.raises(InputError) as caught:
        fits(chip, model, **sizes)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("chip", "expected"), [(PREFILL, 35_446 - 21), (H100, 66_261 - 21)])
def test_kv_cache_of_bloom_on_eight_chips(chip: Any, expected: int) -> None:
    """SPAD's facts: "about 35 K" and "about 66 K" tokens.

    (8 x 0.9 x 64 GiB - 352,494,542,848 B) / 4,014,080 B = 35,446 tokens, with 80 GiB 66,261; the norms and biases that
    every chip holds take the place of 21.
    """
    use = memory_use(chip, BLOOM, Footprint(1, 1, 1, 1, tp=8, **FP16))
    tokens = (use.usable_bytes - use.weight_bytes) // use.kv_cache_bytes
    assert tokens == expected
    fits(chip, BLOOM, batch=1, kv_len=tokens, tokens=1, tp=8)
    assert "too much" in message_of(chip, BLOOM, batch=1, kv_len=tokens + 1, tokens=1, tp=8)


@pytest.mark.parametrize(("chip", "batch"), [(H100, 64), (PREFILL, 32), (H100, 32)])
def test_the_decode_batches_that_fit(chip: Any, batch: int) -> None:
    use = fits(chip, BLOOM, batch=batch, kv_len=1025, tokens=batch, tp=8, dtype_bits=16, unfused=True)
    assert use.excess_bytes == 0
    assert use.kv_cache_bytes == batch * 1025 * BLOOM.kv_bytes_per_token(16, 8)


def test_a_decode_batch_of_64_does_not_fit_on_prefill_chips() -> None:
    """On each chip 2^16 x 501760 B = 30.625 GiB of KV cache and 41.045 GiB of weights against 57.6: 14.07 too much.

    On 16 chips that is about 15.3 + 20.5 GiB. Weights: 1/8 of 352.49 GB, and 10.5 MB of norms and biases held by all.
    """
    message = message_of(PREFILL, BLOOM, batch=64, kv_len=1024, tokens=64, tp=8, unfused=True)
    assert message.startswith(
        "tp = 8, batch = 64, kv_len = 1024: bloom-176b does not fit on spad-prefill, 14.07 GiB too much per chip: "
        "weights 41.05 GiB + KV cache 30.62 GiB"
    )
    assert "57.60 GiB for weights and KV cache, 64.00 GiB in all" in message
    assert message.endswith("smallest tp that fits: 16")


def test_the_other_demo_runs_fit() -> None:
    for chip in (H100, PREFILL, load_chip("spad-decode")):
        for model, tp in ((BLOOM, 8), (LLAMA, 4)):
            prefill = fits(chip, model, batch=2, kv_len=1024, tokens=2048, tp=tp, dtype_bits=16, unfused=True)
            decode = fits(chip, model, batch=32, kv_len=1025, tokens=32, tp=tp, dtype_bits=16, unfused=False)
            assert prefill.excess_bytes == decode.excess_bytes == 0
            assert decode.kv_cache_bytes > prefill.kv_cache_bytes


def test_weights_alone_can_be_too_much() -> None:
    """141 GB of weights on one chip of 72 usable GiB; 2 chips hold them, and BLOOM's 352 GB fit on no single one."""
    message = message_of(H100, LLAMA, batch=1, kv_len=1, tokens=1, tp=1)
    assert "weights 131.42 GiB" in message
    assert message.endswith("smallest tp that fits: 2")


def test_no_degree_fits() -> None:
    """One K/V head of 10^9 tokens is 41 TB however many chips there are."""
    message = message_of(H100, LLAMA, batch=1000, kv_len=1_000_000, tokens=1000, tp=8)
    assert message.endswith("no tp of 1, 2, 4, 8, 16, 32, 64 fits")


def test_activations_use_what_weights_and_kv_cache_leave() -> None:
    """Scores and probabilities of 64 sequences of 1024 on 14 heads are 2 x 64 x 14 x 1024^2 x 2 B = 3.5 GiB.

    Those of 4 sequences of 8192 are 14 GiB, next to 32768 tokens of stream and QKV, (14336 + 3 x 14 x 128) x 2 B each.
    """
    sizes: dict[str, Any] = {"batch": 64, "kv_len": 1024, "tokens": 65536, "tp": 8, "dtype_bits": 16}
    fused = fits(H100, BLOOM, **sizes, unfused=False, logit_tokens=64)
    unfused = memory_use(H100, BLOOM, Footprint(64, 1024, 65536, 64, tp=8, dtype_bits=16, unfused=True))
    assert unfused.activation_bytes > 3.5 * GIB
    assert fused.activation_bytes < unfused.activation_bytes
    assert fused.weight_bytes + fused.kv_cache_bytes < fused.usable_bytes < fused.total_bytes
    longer: dict[str, Any] = {"batch": 4, "kv_len": 8192, "tokens": 32768, "tp": 8, "logit_tokens": 4}
    fits(H100, BLOOM, **longer)
    assert "activations 15.20 GiB; " in message_of(PREFILL, BLOOM, **longer, unfused=True)


def test_the_worse_of_both_limits_counts() -> None:
    use = MemoryUse(50, 45, 40, usable_bytes=90, capacity_bytes=100)
    assert use.excess_bytes == 35
    assert replace(use, activation_bytes=0).excess_bytes == 5
    assert replace(use, kv_cache_bytes=40, activation_bytes=10).excess_bytes == 0


def test_logits_of_all_tokens_can_be_the_largest_buffers() -> None:
    """4096 rows of 32064 logits, next to the stream and the normed rows, 2 B each."""
    use = fits(H100, LLAMA, batch=1, kv_len=4096, tokens=4096, tp=4)
    assert use.activation_bytes == 2 * 4096 * (8192 + 8192 + 32064)
    last = fits(H100, LLAMA, batch=1, kv_len=4096, tokens=4096, tp=4, logit_tokens=1)
    assert last.activation_bytes == 2 * 4096 * (2 * 8192 + 2 * 7168)  # stream, normed stream, gate and up


def live_sets(model: Any, footprint: Footprint) -> list[int]:
    """Elements live at each operator of a pass: a buffer lives from its writer to its last reader."""
    shard = check_parallel(model, footprint.tp)
    tokens, rows, hidden, head_dim = footprint.tokens, footprint.logit_tokens, model.hidden, model.head_dim
    scores = shard.q_heads * footprint.kv_len if footprint.unfused else 0
    operators = ["norm", "qkv", "qk", "softmax", "pv", "out", "norm2", "up", "act", "down"]
    operators += ["next_norm", "final_norm", "lm_head"]
    buffers = [
        (tokens * hidden, "norm", "lm_head"),  # residual stream
        (tokens * hidden, "norm", "qkv"),
        (tokens * shard.q_heads * head_dim, "qkv", "pv"),  # Q, which could end at qk, shares its buffer with K and V
        (tokens * 2 * shard.kv_heads * head_dim, "qkv", "pv"),
        (tokens * scores, "qk", "softmax"),
        (tokens * scores, "softmax", "pv"),
        (tokens * shard.q_heads * head_dim, "pv", "out"),
        (tokens * hidden, "out", "norm2"),
        (tokens * hidden, "norm2", "up"),
        (tokens * shard.ffn * (2 if model.gated_ffn else 1), "up", "act"),
        (tokens * shard.ffn, "act", "down"),
        (tokens * hidden, "down", "next_norm"),
        (tokens * hidden, "next_norm", "next_norm"),
        (rows * hidden, "final_norm", "lm_head"),
        (rows * shard.vocab, "lm_head", "lm_head"),
    ]
    return [
        sum(size for size, first, last in buffers if operators.index(first) <= position <= operators.index(last))
        for position in range(len(operators))
    ]


@settings(deadline=None)
@given(
    st.sampled_from(["llama-3-8b", "bloom-176b", "gpt-3-175b"]),
    st.integers(1, 64),
    st.integers(1, 4096),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 2, 8]),
    st.booleans(),
)
def test_activations_are_the_largest_live_set(
    name: str, batch: int, kv_len: int, decode: bool, all_logits: bool, tp: int, unfused: bool
) -> None:
    tokens = batch if decode else batch * kv_len
    logit_tokens = tokens if all_logits else batch
    footprint = Footprint(batch, kv_len, tokens, logit_tokens, tp=tp, dtype_bits=16, unfused=unfused)
    model = load_model(name)
    assert memory_use(H100, model, footprint).activation_bytes == 2 * max(live_sets(model, footprint))


@settings(deadline=None)
@given(st.integers(1, 128), st.integers(1, 4096), st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([8, 16, 32]))
def test_more_needs_more(batch: int, kv_len: int, tp: int, dtype_bits: int) -> None:
    footprint = Footprint(batch, kv_len, batch, batch, tp=tp, dtype_bits=dtype_bits, unfused=True)
    use = memory_use(H100, LLAMA, footprint)
    for name in ("batch", "kv_len", "tokens", "logit_tokens", "dtype_bits"):
        more = memory_use(H100, LLAMA, replace(footprint, **{name: 2 * getattr(footprint, name)}))
        assert more.total_bytes >= use.total_bytes
    assert memory_use(H100, LLAMA, replace(footprint, tp=2 * tp)).total_bytes <= use.total_bytes
    doubled = memory_use(H100, LLAMA, replace(footprint, dtype_bits=2 * dtype_bits))
    assert doubled.total_bytes == 2 * use.total_bytes


@settings(deadline=None)
@given(st.integers(1, 2048), st.integers(1, 8192), st.sampled_from([1, 2, 4, 8, 16]))
def test_the_degree_in_the_message_fits_and_smaller_ones_do_not(batch: int, kv_len: int, tp: int) -> None:
    sizes: dict[str, Any] = {"batch": batch, "kv_len": kv_len, "tokens": batch}
    footprint = Footprint(**sizes, logit_tokens=batch, tp=tp, **FP16)
    if not memory_use(PREFILL, BLOOM, footprint).excess_bytes:
        return
    message = message_of(PREFILL, BLOOM, **sizes, tp=tp)
    found = re.search(r"smallest tp that fits: (\d+)$", message)
    if found:
        fits(PREFILL, BLOOM, **sizes, tp=int(found[1]))
    assert found or message.endswith("no tp of 1, 2, 4, 8, 16 fits")
    largest_that_does_not = int(found[1]) // 2 if found else 16
    assert largest_that_does_not >= tp
    message_of(PREFILL, BLOOM, **sizes, tp=largest_that_does_not)


@pytest.mark.parametrize("name", ["batch", "kv_len", "tokens", "logit_tokens"])
@pytest.mark.parametrize("value", [0, -5])
def test_sizes_below_1_are_refused(name: str, value: int) -> None:
    sizes = {"batch": 1, "kv_len": 1, "tokens": 1, "tp": 8, name: value}
    assert message_of(H100, BLOOM, **sizes) == f"{name} = {value}: must be at least 1"


def test_a_degree_that_does_not_divide_is_refused() -> None:
    assert "tp = 5: does not divide q_heads = 112" in message_of(H100, BLOOM, batch=1, kv_len=1, tokens=1, tp=5)
