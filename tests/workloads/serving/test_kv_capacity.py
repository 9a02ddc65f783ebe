"""KV tokens of a serving engine: vLLM's own count, and what changes it."""

from __future__ import annotations

import pytest

from uarch.chip_file import load_chip
from uarch.errors import InputError
from workloads.models.presets import load_model
from workloads.serving.kv_capacity import GIB, EngineMemory, Replica, kv_tokens_capacity

pytestmark = pytest.mark.once("no kernel")

ONE = Replica(tp=1, ep=1, pp=1, element_bits=16, max_sequences=256, max_batched_tokens=2048)


def test_llama_8b_on_an_rtx_4090_as_vllm_counts() -> None:
    """vLLM 0.19: 2588 blocks of 16 tokens with its defaults (gpu_memory_utilization 0.9, 256 sequences, 2048 tokens)."""
    assert kv_tokens_capacity(load_chip("rtx-4090"), load_model("llama-3-8b"), ONE) == pytest.approx(41_408, rel=0.03)


def test_the_rule_on_paper() -> None:
    """0.9 x 0.988 of 24 GiB, minus 16.06 GB of weights, 256 x 128,256 logits of 31 bytes, 0.3 GiB; 131,072 bytes a token."""
    left = 0.9 * 0.988 * 24 * GIB - 16_060_522_496 - 256 * 128_256 * 31 - 0.3 * GIB
    assert kv_tokens_capacity(load_chip("rtx-4090"), load_model("llama-3-8b"), ONE) == int(left // 131_072)


def test_more_of_the_memory_is_more_tokens() -> None:
    chip, model = load_chip("h100"), load_model("llama-3-8b")
    tokens = [kv_tokens_capacity(chip, model, ONE, EngineMemory(utilization=share)) for share in (0.5, 0.7, 0.9)]
    step = 0.2 * 0.988 * chip.capacity_bytes / 131_072
    assert tokens[1] - tokens[0] == pytest.approx(step, abs=1)
    assert tokens[2] - tokens[1] == pytest.approx(step, abs=1)


def test_a_model_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"llama-3-70b leaves no room for a KV cache on h100: 71\.\d\d GiB for the engine"
    ):
        kv_tokens_capacity(load_chip("h100"), load_model("llama-3-70b"), ONE)
