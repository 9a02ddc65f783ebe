"""Whole layers of every architecture: the operators' programs replayed in order, against a layer in NumPy.

Exercised with it: feed_forward, part, registry, streamed and unfused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.gemm.weights import plain
from kernels.mapping.mapper import Mapper
from kernels.program.address_space import AddressSpace
from kernels.replay.interpreter import replay
from tests.oracles.naive_layer import NaiveLayer
from tests.support.replayed import matrix
from tests.support.small_programs import small_chip
from workloads.layers.buffers import allocate
from workloads.layers.builder import OperatorBuilder
from workloads.layers.context import LayerContext
from workloads.layers.experts import EXPERTS
from workloads.layers.key_values import KEY_VALUES
from workloads.layers.latent_attention import LATENT_ATTENTION
from workloads.layers.layout import Layer, Layout
from workloads.layers.registry import arrange
from workloads.models.architectures import model_of_config
from workloads.models.model import Model
from workloads.models.parallel import check_parallel
from workloads.settings.phase import Phase
from workloads.settings.stack import load_stack
from workloads.settings.step_batch import StepBatch

COMMON = {
    "hidden_size": 48,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
}
LATENT = {
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "n_routed_experts": 6,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 20,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "MistralForCausalLM": {"sliding_window": 7},
    "MixtralForCausalLM": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "Qwen3ForCausalLM": {"head_dim": 16},
    "Qwen3MoeForCausalLM": {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "head_dim": 16},
    "Gemma2ForCausalLM": {
        "head_dim": 16,
        "sliding_window": 5,
        "hidden_activation": "gelu",
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
    },
    "DeepseekV2ForCausalLM": {**LATENT, "q_lora_rank": None, "first_k_dense_replace": 2},
    "DeepseekV3ForCausalLM": {**LATENT, "first_k_dense_replace": 1},
}


ROUTING: dict[str, Any] = {"expert_load": "zipf:1", "seed": 5}


def model_of(architecture: str) -> Model:
    config = {**COMMON, **CONFIGS[architecture], "architectures": [architecture]}
    return model_of_config(config, "tiny", architecture)


@pytest.mark.parametrize("phase", ["prefill", "decode", "verify"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_layer_of_every_kind(architecture: str, phase: str) -> None:
    assert_layers(architecture, Phase(phase, 2, 21, draft="chain:3" if phase == "verify" else None, **ROUTING))


@pytest.mark.parametrize("phase", ["prefill", "decode", "verify"])
@pytest.mark.parametrize("cache", [{"page_size": 4}, {"kv_dtype": "fp8"}, {"kv_dtype": "int8", "page_size": 8}])
@pytest.mark.parametrize("architecture", ["Qwen3ForCausalLM", "MistralForCausalLM", "DeepseekV3ForCausalLM"])
def test_new_keys_are_stored_where_attention_finds_them(architecture: str, cache: dict[str, Any], phase: str) -> None:
    """Paged and narrow caches: what is stored, divided by its scales, is multiplied with them again."""
    assert_layers(architecture, Phase(phase, 2, 21, draft="chain:3" if phase == "verify" else None, **ROUTING, **cache))


MIXED = {
    "prompts, chunks and decodes": [(1, 19), (12, 12), (7, 21), (1, 1), (30, 40), (1, 40)],
    "prompts of different lengths": [(9, 9), (21, 21), (1, 1)],
    "chunks of one length": [(4, 21), (4, 9)],
    "decodes of different contexts": [(1, 21), (1, 5), (1, 13)],
}


@pytest.mark.parametrize("cache", [{}, {"page_size": 4}, {"kv_dtype": "int8", "page_size": 8}])
@pytest.mark.parametrize("sequences", MIXED.values(), ids=MIXED)
@pytest.mark.parametrize(
    "architecture", ["Qwen3ForCausalLM", "MistralForCausalLM", "MixtralForCausalLM", "DeepseekV3ForCausalLM"]
)
def test_a_step_of_any_batch(architecture: str, sequences: list[tuple[int, int]], cache: dict[str, Any]) -> None:
    """Every sequence attends to its own context, whatever is computed beside it."""
    step = StepBatch.of(sequences)
    sizes = {"batch": len(sequences), "seq": int(step.context_tokens.max())}
    assert_layers(architecture, Phase("step", **sizes, step=step, **ROUTING, **cache))


def assert_layers(architecture: str, work: Phase) -> None:
    """Every simulated layer of a tiny model gives what NumPy gives."""
    model, chip = model_of(architecture), small_chip()
    work = arrange(model, work)
    layout = Layout(AddressSpace(), model, check_parallel(model, 1), work, plain("fp16"))
    buffers = allocate(layout)
    builder = OperatorBuilder(LayerContext(chip, load_stack("graph"), Mapper(chip, on_engine=False), layout, buffers))
    experts = buffers.of(EXPERTS).routing.own.experts if model.experts else None
    assert len(buffers.layers) > 1
    for index, tensors in buffers.layers.items():
        operators = builder.layer(tensors, first=False)
        programs = [program for operator in operators for program in operator.programs]
        memory = _memory_of(programs)
        caches = _unpaged(tensors, work, memory)
        layer = NaiveLayer(
            *(model, tensors.kind, index, {name: values.copy() for name, values in (memory | caches).items()}),
            *(work.new_tokens.q_len.tolist(), work.new_tokens.kv_len.tolist(), experts),
        )
        for program in programs:
            replay(program, memory)
        np.testing.assert_allclose(memory["delta"], layer.run(), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(memory["hidden"], layer.memory["hidden"], rtol=1e-10, atol=1e-10)


def _memory_of(programs: list[Any]) -> dict[str, Any]:
    """Random numbers in all tensors that some program reads before any has written them."""
    memory = {}
    for program in programs:
        for name, tensor in zip(program.tensor_names, program.tensors, strict=True):
            if name.startswith(
                ("w_", "norm", "q_norm", "kv_norm", "qk_norm", "post_norm", "k_cache", "v_cache", "kv_cache", "rope")
            ):
                memory[name] = matrix(len(memory), int(tensor["batch"] * tensor["rows"]), int(tensor["cols"]))
            if name in ("hidden", "delta"):
                memory[name] = matrix(len(memory), int(tensor["batch"] * tensor["rows"]), int(tensor["cols"]))
    return memory


def _unpaged(tensors: Layer, work: Phase, memory: dict[str, Any]) -> dict[str, Any]:
    """Caches as the layer in NumPy has them: keys of every sequence one after the other, scales multiplied in."""
    cache = (tensors.of(LATENT_ATTENTION) if LATENT_ATTENTION in tensors.tensors else tensors.of(KEY_VALUES)).cache
    sequences, storage = cache.sequences, cache.storage
    lengths = enumerate(sequences.kv_len.tolist())
    rows = np.concatenate([sequences.base_row(s) + sequences.rows(s, np.arange(kv_len)) for s, kv_len in lengths])
    caches = {}
    of_values = [] if cache.v is cache.k else [(cache.v, storage.v_scales)]
    for tensor, scales in ((cache.k, storage.k_scales), *of_values):
        values = memory[tensor.name][rows]
        if scales is not None:
            values = values * memory[scales.name][rows].repeat(tensor.cols // scales.cols, axis=1)
        caches[tensor.name] = values
    return caches
