"""Tensor parallelism: degrees that a model allows, and what one chip then holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uarch.errors import InputError
from workloads.models.parallel import Shard, allowed_degrees, check_parallel
from workloads.models.presets import load_model

LLAMA = load_model("llama-3-70b")


def test_shares_of_a_chip() -> None:
    assert check_parallel(LLAMA, 1) == Shard(1, 64, 8, 28672, 128256)
    assert check_parallel(LLAMA, 4) == Shard(4, 16, 2, 7168, 32064)
    assert check_parallel(load_model("bloom-176b"), 8) == Shard(8, 14, 14, 7168, 31360)


def test_kv_heads_are_replicated_beyond_one_per_chip() -> None:
    assert check_parallel(LLAMA, 32) == Shard(32, 2, 1, 896, 4008)


def test_the_vocabulary_is_padded() -> None:
    """50257 = 29 x 1733 divides by no power of two: 8 chips hold 6283 rows each, 7 of them padding."""
    assert check_parallel(load_model("gpt-3-175b"), 8).vocab * 8 == 50257 + 7


@pytest.mark.parametrize(
    ("name", "degrees"),
    [
        ("llama-3-8b", [1, 2, 4, 8, 16, 32]),
        ("llama-3-70b", [1, 2, 4, 8, 16, 32, 64]),
        ("bloom-176b", [1, 2, 4, 7, 8, 14, 16, 28, 56, 112]),  # divisors of 112 heads; 57344 = 512 x 112
        ("gpt-3-175b", [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 96]),  # divisors of 96 heads; 49152 = 512 x 96
    ],
)
def test_allowed_degrees(name: str, degrees: list[int]) -> None:
    assert allowed_degrees(load_model(name)) == degrees


@pytest.mark.parametrize(
    ("change", "tp", "part"),
    [
        ({}, 0, "tp = 0: must be at least 1; allowed for llama-3-70b: 1, 2, 4, 8, 16, 32, 64"),
        ({}, -8, "tp = -8: must be at least 1"),
        ({}, 3, "tp = 3: does not divide q_heads = 64; allowed for llama-3-70b: 1, 2, 4, 8, 16, 32, 64"),
        ({}, 128, "tp = 128: does not divide q_heads = 64"),
        ({"q_heads": 12, "kv_heads": 6}, 4, "tp = 4: neither divides kv_heads = 6 nor is a multiple of it"),
        ({"ffn": 28674}, 4, "tp = 4: does not divide ffn = 28674; allowed for llama-3-70b: 1, 2"),
    ],
)
def test_a_degree_that_does_not_divide_is_refused(change: dict[str, int], tp: int, part: str) -> None:
    model = replace(LLAMA, **change)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        check_parallel(model, tp)
    assert part in str(caught.value)


@settings(deadline=None)
@given(st.integers(1, 24), st.integers(1, 8), st.integers(1, 200), st.integers(1, 5000), st.data())
def test_all_chips_together_hold_the_whole_model(
    kv_heads: int, group: int, ffn_share: int, vocab: int, data: st.DataObject
) -> None:
    ffn = ffn_share * kv_heads * group  # so that many degrees divide it
    model = replace(LLAMA, q_heads=kv_heads * group, kv_heads=kv_heads, ffn=ffn, vocab=vocab)
    tp = data.draw(st.sampled_from(allowed_degrees(model)))
    shard = check_parallel(model, tp)
    assert (shard.q_heads * tp, shard.ffn * tp) == (model.q_heads, ffn)
    assert shard.kv_heads * tp == max(kv_heads, tp)
    assert vocab <= shard.vocab * tp < vocab + tp
    assert shard.q_heads % shard.kv_heads == 0
    assert model.parameters_per_chip(tp) * tp >= model.total_parameters
