"""Models from configs: the published parameter counts, tensor by tensor, and the keys that each architecture reads.

Exercised with it: llama_family.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workloads.models.presets
from tests.support import state_dicts
from workloads.models.architectures import model_of_config
from workloads.models.parallel import allowed_degrees
from workloads.models.presets import load_model, model_names

MODELS = Path(workloads.models.presets.__file__).parent / "configs"
ORACLES = {
    "LlamaForCausalLM": state_dicts.llama,
    "BloomForCausalLM": state_dicts.bloom,
    "GPT2LMHeadModel": state_dicts.gpt2,
    "MistralForCausalLM": state_dicts.llama,
    "MixtralForCausalLM": state_dicts.mixtral,
    "Qwen3ForCausalLM": state_dicts.qwen3,
    "Qwen3MoeForCausalLM": state_dicts.qwen3_moe,
    "Gemma2ForCausalLM": state_dicts.gemma2,
    "DeepseekV2ForCausalLM": state_dicts.deepseek,
    "DeepseekV3ForCausalLM": state_dicts.deepseek,
}


def config_of(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((MODELS / f"{name}.json").read_text())
    return config


def test_the_shipped_models() -> None:
    assert set(model_names()) == {
        *(
            "bloom-176b",
            "gpt-3-175b",
            "llama-2-70b",
            "llama-3-70b",
            "llama-3-8b",
            "mistral-7b",
            "gemma-2-27b",
            "qwen3-32b",
        ),
        *("qwen3-8b", "qwen3-14b"),
        *("mixtral-8x7b", "deepseek-v2", "deepseek-v3", "qwen3-30b-a3b"),
        *("llama-68m", "llama-160m", "llama-265m", "tinyllama-1.1b", "sheared-llama-1.3b"),
    }
    assert [load_model(name).name for name in model_names()] == model_names()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # 32 x (4096 x (4096 + 2 x 1024 + 4096 + 3 x 14336) + 2 x 4096) + 2 x 128256 x 4096 + 4096
        ("llama-3-8b", 8_030_261_248),
        # 80 x (8192 x (8192 + 2 x 1024 + 8192 + 3 x 28672) + 2 x 8192) + 2 x 128256 x 8192 + 8192
        ("llama-3-70b", 70_553_706_496),
        # the same layers, 2 x 32000 x 8192 for the tables
        ("llama-2-70b", 68_976_648_192),
        # 70 x (12 x 14336^2 + 13 x 14336) + 250880 x 14336 (tied) + 4 x 14336 (norms of embedding and output)
        ("bloom-176b", 176_247_271_424),
        # 96 x (12 x 12288^2 + 13 x 12288) + (50257 + 2048) x 12288 (tied, learned positions) + 2 x 12288
        ("gpt-3-175b", 174_604_259_328),
    ],
)
def test_published_parameter_counts(name: str, parameters: int) -> None:
    assert load_model(name).total_parameters == parameters


@pytest.mark.parametrize(
    ("name", "total_billions", "active_billions"),
    [
        ("mixtral-8x7b", 46.7, 12.9),  # arXiv 2401.04088, Section 1: 47 B and 13 B
        ("deepseek-v2", 236, 21.4),  # arXiv 2405.04434: 236 B and 21 B
        ("deepseek-v3", 671, 37.6),  # arXiv 2412.19437: 671 B and 37 B, which leave out the embedding table
        ("qwen3-32b", 32.8, 32.8),  # arXiv 2505.09388 and the model's card
        ("qwen3-8b", 8.19, 8.19),  # the card: 8.2 B
        ("qwen3-14b", 14.77, 14.77),  # the card: 14.8 B
        ("qwen3-30b-a3b", 30.5, 3.35),  # the card: 30.5 B and 3.3 B
        ("gemma-2-27b", 27.2, 27.2),  # arXiv 2408.00118, Table 1: 1,180 M embedding and 26,047 M other parameters
        ("mistral-7b", 7.24, 7.24),
        ("llama-68m", 0.068, 0.068),
        ("llama-160m", 0.162, 0.162),
        ("llama-265m", 0.265, 0.265),
        ("tinyllama-1.1b", 1.10, 1.10),
        ("sheared-llama-1.3b", 1.345, 1.345),
    ],
)
def test_published_counts_within_one_percent(name: str, total_billions: float, active_billions: float) -> None:
    model = load_model(name)
    assert model.total_parameters == pytest.approx(total_billions * 1e9, rel=0.01)
    assert model.active_parameters == pytest.approx(active_billions * 1e9, rel=0.01)


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("tp", [1, 2, 4, 8, 16])
def test_parameters_are_those_of_the_checkpoint(name: str, tp: int) -> None:
    """At TP 16 many models have more chips than K/V heads, and no degree but 1 divides GPT-3's vocabulary."""
    model, config = load_model(name), config_of(name)
    if tp not in allowed_degrees(model):
        pytest.skip(f"{name} cannot be split over {tp} chips")
    shapes = ORACLES[model.architecture](config, tp)
    assert model.parameters_per_chip(tp) == state_dicts.parameters(shapes)
    last = f".{model.n_layers - 1}."
    layer = {key: shape for key, shape in shapes.items() if last in key and key.index(last) < 16}
    assert model.layer_parameters_per_chip(tp) == state_dicts.parameters(layer)


def test_expert_parallelism_splits_the_routed_experts_alone() -> None:
    """DeepSeek-V3 on 8 x 32 chips: 58 layers of 8 instead of 256 experts of 3 x 7168 x 2048 / 8."""
    model = load_model("deepseek-v3")
    gone = 58 * (256 - 8) * 3 * 7168 * 2048 // 8
    assert model.parameters_per_chip(8) - model.parameters_per_chip(8, 32) == gone


def test_kinds_of_layers() -> None:
    deepseek, gemma, mistral = (load_model(name).layer_kinds for name in ("deepseek-v3", "gemma-2-27b", "mistral-7b"))
    assert [kind.has_experts for kind in deepseek] == [False] * 3 + [True] * 58
    assert [kind.window for kind in gemma] == [4096, None] * 23
    assert {kind.window for kind in mistral} == {4096}


def test_a_latent_cache_holds_one_vector_a_token_and_a_window_no_more_than_it_needs() -> None:
    """DeepSeek: 512 + 64 elements a layer, whatever the degree; Gemma: 23 layers keep 4096 of 8192 tokens."""
    deepseek, gemma = load_model("deepseek-v3"), load_model("gemma-2-27b")
    assert deepseek.kv_cache_bytes(16, 1000, 8) == 61 * 576 * 2 * 1000
    assert gemma.kv_cache_bytes(16, 8192) == 23 * (4096 + 8192) * 2 * 16 * 128 * 2
    assert gemma.kv_cache_bytes(16, 4096) == 4096 * gemma.kv_bytes_per_token(16)


def llama_configs() -> st.SearchStrategy[dict[str, Any]]:
    def build(heads: tuple[int, int], head_dim: int | None, **rest: Any) -> dict[str, Any]:
        kv_heads, group = heads
        sizes = {"num_attention_heads": kv_heads * group, "num_key_value_heads": kv_heads, "head_dim": head_dim}
        return {**sizes, **rest, "hidden_size": 8 * kv_heads * group}

    return st.builds(
        build,
        heads=st.tuples(st.integers(1, 6), st.integers(1, 6)),
        head_dim=st.none() | st.integers(1, 200),
        architectures=st.just(["LlamaForCausalLM"]),
        intermediate_size=st.integers(1, 5000),
        num_hidden_layers=st.integers(1, 4),
        vocab_size=st.integers(1, 5000),
        rms_norm_eps=st.sampled_from([1e-5, 1e-6]),
        hidden_act=st.sampled_from(["silu", "gelu"]),
        tie_word_embeddings=st.booleans(),
        attention_bias=st.booleans(),
        mlp_bias=st.booleans(),
    )


@settings(deadline=None)
@given(llama_configs())
def test_parameters_of_any_llama_are_those_of_its_checkpoint(config: dict[str, Any]) -> None:
    model = model_of_config(config, "drawn", "drawn")
    assert model.total_parameters == state_dicts.parameters(state_dicts.llama(config, 1))
    outside = model.total_parameters - model.n_layers * model.parameters_per_layer
    tables = 1 if model.tied_embeddings else 2
    assert outside == tables * model.vocab * model.hidden + model.hidden


def test_neutral_fields() -> None:
    llama, bloom, gpt3 = (load_model(name) for name in ("llama-3-70b", "bloom-176b", "gpt-3-175b"))
    assert (llama.q_heads, llama.kv_heads, llama.head_dim, llama.ffn) == (64, 8, 128, 28672)
    assert (llama.norm, llama.norm_eps, llama.activation, llama.gated_ffn) == ("rmsnorm", 1e-5, "silu", True)
    assert (llama.positions, llama.tied_embeddings, llama.embedding_norm) == ("rope", False, False)
    assert (bloom.q_heads, bloom.kv_heads, bloom.head_dim, bloom.ffn) == (112, 112, 128, 57344)
    assert (bloom.norm, bloom.norm_eps, bloom.activation, bloom.gated_ffn) == ("layernorm", 1e-5, "gelu", False)
    assert (bloom.positions, bloom.tied_embeddings, bloom.embedding_norm) == ("alibi", True, True)
    assert (gpt3.positions, gpt3.max_positions, gpt3.embedding_norm) == ("learned", 2048, False)


def test_kv_bytes_per_token() -> None:
    """K and V of every layer and K/V head, 2 bytes an element; beyond one head per chip nothing is left to split."""
    llama = load_model("llama-3-70b")
    assert llama.kv_bytes_per_token(16) == 2 * 80 * 8 * 128 * 2
    assert [llama.kv_bytes_per_token(16, tp) for tp in (4, 8, 64)] == [2 * 80 * heads * 128 * 2 for heads in (2, 1, 1)]
    assert llama.kv_bytes_per_token(8) == llama.kv_bytes_per_token(16) // 2
    assert load_model("bloom-176b").kv_bytes_per_token(16, 8) == 2 * 70 * 14 * 128 * 2


def test_a_model_is_a_value() -> None:
    model = load_model("llama-3-8b")
    assert {model: 1}[load_model("llama-3-8b")] == 1
    assert pickle.loads(pickle.dumps(model)) == model
    assert model != load_model("llama-3-70b")


def test_a_config_is_named_after_its_file_or_its_folder(tmp_path: Path) -> None:
    config = json.dumps(config_of("llama-3-8b"))
    (tmp_path / "my-llama").mkdir()
    for path, name in ((tmp_path / "my-llama" / "config.json", "my-llama"), (tmp_path / "small.json", "small")):
        path.write_text(config)
        assert load_model(str(path)).name == name


def test_hugging_face_defaults_and_other_spellings() -> None:
    """Old Llama configs have no K/V heads, the hub's BLOOM says n_embed and num_attention_heads, GPT-2 n_inner null."""
    llama = config_of("llama-3-8b")
    for key in ("num_key_value_heads", "attention_bias", "mlp_bias", "tie_word_embeddings", "max_position_embeddings"):
        del llama[key]
    old = model_of_config(llama, "old", "old")
    assert (old.kv_heads, old.attention_bias, old.ffn_bias, old.tied_embeddings) == (32, False, False, False)
    assert old.max_positions is None

    bloom = config_of("bloom-176b")
    bloom |= {"n_embed": bloom.pop("hidden_size"), "num_attention_heads": bloom.pop("n_head")}
    bloom |= {"num_hidden_layers": bloom.pop("n_layer"), "model_max": 7}
    del bloom["tie_word_embeddings"]
    assert model_of_config(bloom, "bloom-176b", "hub") == load_model("bloom-176b")

    gpt3 = {**config_of("gpt-3-175b"), "n_inner": None}
    assert model_of_config(gpt3, "gpt-3-175b", "hub") == load_model("gpt-3-175b")
