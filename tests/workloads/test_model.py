"""Models from configs: the published parameter counts, tensor by tensor, and the keys that each architecture reads."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workloads.model
from tests.oracles import state_dicts
from workloads.architectures import model_of_config
from workloads.model import load_model, model_names

MODELS = Path(workloads.model.__file__).parent / "models"
ORACLES = {
    "LlamaForCausalLM": state_dicts.llama,
    "BloomForCausalLM": state_dicts.bloom,
    "GPT2LMHeadModel": state_dicts.gpt2,
}


def config_of(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((MODELS / f"{name}.json").read_text())
    return config


def test_the_shipped_models() -> None:
    assert model_names() == ["bloom-176b", "gpt-3-175b", "llama-2-70b", "llama-3-70b", "llama-3-8b"]
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


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("tp", [1, 2, 4, 8, 16])
def test_parameters_are_those_of_the_checkpoint(name: str, tp: int) -> None:
    """At TP 16 the Llama models have more chips than K/V heads, and no degree but 1 divides GPT-3's vocabulary."""
    model, config = load_model(name), config_of(name)
    shapes = ORACLES[model.architecture](config, tp)
    assert model.parameters_per_chip(tp) == state_dicts.parameters(shapes)
    layer = {key: shape for key, shape in shapes.items() if ".7." in key}
    assert model.layer_parameters_per_chip(tp) == state_dicts.parameters(layer)


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
