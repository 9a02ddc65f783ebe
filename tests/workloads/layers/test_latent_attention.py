"""What latent attention costs: closed forms of work and bytes, in prefill and in decode."""

from __future__ import annotations

from typing import Any

import pytest

from kernels.attention.attention import FlashMapping
from kernels.attention.streamed import flash_attention
from kernels.attention.tensors import allocate_attention
from kernels.gemm.weights import plain, weight_format
from kernels.program.address_space import AddressSpace
from tests.support.small_programs import small_chip
from uarch.chip_file import load_chip
from uarch.engine.roofline import compulsory_traffic
from uarch.errors import InputError
from workloads.layers.capacity import check_fits, memory_use
from workloads.layers.latent_attention import absorbed_attention, expanded_attention
from workloads.layers.layout import Layout
from workloads.models.footprint import Footprint
from workloads.models.parallel import check_parallel
from workloads.models.presets import load_model
from workloads.settings.phase import Phase

DEEPSEEK = load_model("deepseek-v3")


def layout_of(phase: str, tp: int) -> Layout:
    return Layout(AddressSpace(), DEEPSEEK, check_parallel(DEEPSEEK, tp), Phase(phase, 4, 512, tp=tp), plain("fp16"))


def test_shapes_of_both_phases() -> None:
    """Expanded: 192 columns of keys, 128 of values; absorbed: one head of 512 + 64, of which 512 are values."""
    expanded, absorbed = expanded_attention(layout_of("prefill", 8)), absorbed_attention(layout_of("decode", 8))
    assert (expanded.q_heads, expanded.kv_heads, expanded.head_dim, expanded.value_width) == (16, 16, 192, 128)
    assert (absorbed.q_heads, absorbed.kv_heads, absorbed.head_dim, absorbed.value_width) == (16, 1, 576, 512)
    assert expanded.softmax_scale == absorbed.softmax_scale == 192**-0.5
    assert expanded.flops == 2 * 4 * 16 * (512 * 513 // 2) * (192 + 128)
    assert absorbed.flops == 2 * 4 * 16 * 512 * (576 + 512)


def test_the_cache_is_read_once_as_keys_and_values() -> None:
    """4 sequences x 512 tokens x 576 elements, queries of 16 heads and nothing for values."""
    attention, space = absorbed_attention(layout_of("decode", 8)), AddressSpace()
    tensors = allocate_attention(attention, space)
    program = flash_attention("a", attention, tensors, FlashMapping(1, 64, 2, pack=16), space)
    assert compulsory_traffic(program).read_bytes == 4 * (512 * 576 + 16 * 576) * 2
    assert program.macs == 4 * 16 * 512 * (576 + 512)


def footprint(**sizes: Any) -> Footprint:
    return Footprint(
        **{
            "batch": 1,
            "kv_len": 1,
            "tokens": 1,
            "logit_tokens": 1,
            "tp": 8,
            "dtype_bits": 16,
            "unfused": False,
            **sizes,
        }
    )


def test_memory_of_experts_latents_and_stored_weights() -> None:
    """DeepSeek-V3 on 8 x 4 chips: a 32nd of the routed experts and an 8th of the rest; every chip has the whole cache."""
    chip = load_chip("h100")
    alone, spread = (memory_use(chip, DEEPSEEK, footprint(ep=ep)) for ep in (1, 4))
    routed_bytes = 58 * 256 * 3 * 7168 * 2048 * 2
    assert alone.weight_bytes - spread.weight_bytes == routed_bytes // 8 - routed_bytes // 32
    assert memory_use(chip, DEEPSEEK, footprint(kv_len=1000)).kv_cache_bytes == 1000 * 61 * 576 * 2
    form = weight_format(chip, "fp16", weight_dtype="int4", group_size=128)
    narrow = memory_use(chip, DEEPSEEK, footprint(weights=form))
    linear = sum(DEEPSEEK.linear_parameters_per_chip(8, 1, kind) for kind in DEEPSEEK.layer_kinds)
    assert alone.weight_bytes - narrow.weight_bytes == pytest.approx(linear * (16 - 4 - 16 / 128) / 8, abs=1)


def test_what_does_not_fit_names_both_degrees() -> None:
    check_fits(load_chip("h100"), DEEPSEEK, footprint(ep=4))
    with pytest.raises(InputError, match=r"tp = 8, ep = 2, batch = 1, kv_len = 1: deepseek-v3 does not fit on h100"):
        check_fits(load_chip("h100"), DEEPSEEK, footprint(ep=2))


def test_many_copies_of_tokens_take_memory() -> None:
    """A prefill of a million tokens: every copy's row in and its 2 x 2048 / 8 inner columns, besides two streams and more."""
    use = memory_use(small_chip(), DEEPSEEK, footprint(tokens=1 << 20))
    rows = (1 << 20) * 8
    assert use.activation_bytes == 2 * (3 * (1 << 20) * 7168 + rows * max(7168 + 2 * 256, 2 * 7168))
