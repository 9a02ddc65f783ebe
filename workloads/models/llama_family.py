"""Configs of models that are built like Llama: RMSNorm, rotary positions, a gated feed-forward network.

Keys and their defaults are those of Hugging Face Transformers' ``configuration_*.py`` files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from uarch.errors import InputError
from uarch.files.reading import validate
from workloads.models.config_schema import (
    ActivationName,
    Config,
    Count,
    Epsilon,
    Heads,
    SoftCap,
    activation_of,
    check_kv_heads,
    split_hidden,
)
from workloads.models.model import Experts, Model


class _BaseConfig(Config):
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Heads
    num_key_value_heads: Heads | None = None
    head_dim: Count | None = None
    vocab_size: Count
    max_position_embeddings: Count | None = None
    rms_norm_eps: Epsilon
    tie_word_embeddings: bool = False


class _LlamaConfig(_BaseConfig):
    hidden_act: ActivationName
    attention_bias: bool = False
    mlp_bias: bool = False


class _MistralConfig(_BaseConfig):
    hidden_act: ActivationName
    sliding_window: Count | None = 4096


class _MixtralConfig(_BaseConfig):
    hidden_act: ActivationName
    sliding_window: Count | None = None
    num_local_experts: Heads
    num_experts_per_tok: Heads


class _Qwen3Config(_BaseConfig):
    hidden_act: ActivationName
    attention_bias: bool = False
    use_sliding_window: Literal[False] = False


class _Qwen3MoeConfig(_Qwen3Config):
    num_experts: Heads
    num_experts_per_tok: Heads
    moe_intermediate_size: Count
    decoder_sparse_step: Literal[1] = 1
    mlp_only_layers: Annotated[list[int], Field(max_length=0)] | None = None


class _Gemma2Config(_BaseConfig):
    head_dim: Count | None = 256
    hidden_activation: ActivationName = "gelu_pytorch_tanh"
    sliding_window: Count | None = 4096
    attn_logit_softcapping: SoftCap | None = 50.0
    final_logit_softcapping: SoftCap | None = 30.0
    tie_word_embeddings: bool = True


def llama(data: Mapping[str, Any], name: str, source: str) -> Model:
    """Llama and models with its layers."""
    config = validate(_LlamaConfig, data, source)
    model = _model(config, config.hidden_act, "LlamaForCausalLM", name, source)
    return replace(model, attention_bias=config.attention_bias, ffn_bias=config.mlp_bias)


def mistral(data: Mapping[str, Any], name: str, source: str) -> Model:
    """Llama with a sliding window in all layers."""
    config = validate(_MistralConfig, data, source)
    model = _model(config, config.hidden_act, "MistralForCausalLM", name, source)
    return replace(model, windows=(config.sliding_window,))


def mixtral(data: Mapping[str, Any], name: str, source: str) -> Model:
    """Mistral with experts in all layers."""
    config = validate(_MixtralConfig, data, source)
    model = _model(config, config.hidden_act, "MixtralForCausalLM", name, source)
    experts = experts_of(config.num_local_experts, config.num_experts_per_tok, config.intermediate_size, source)
    return replace(model, windows=(config.sliding_window,), experts=experts)


def qwen3(data: Mapping[str, Any], name: str, source: str) -> Model:
    """Llama with norms of queries and keys."""
    config = validate(_Qwen3Config, data, source)
    model = _model(config, config.hidden_act, "Qwen3ForCausalLM", name, source)
    return replace(model, attention_bias=config.attention_bias, qk_norm=True)


def qwen3_moe(data: Mapping[str, Any], name: str, source: str) -> Model:
    """Qwen3 with experts in all layers."""
    config = validate(_Qwen3MoeConfig, data, source)
    model = _model(config, config.hidden_act, "Qwen3MoeForCausalLM", name, source)
    experts = experts_of(config.num_experts, config.num_experts_per_tok, config.moe_intermediate_size, source)
    return replace(model, attention_bias=config.attention_bias, qk_norm=True, experts=experts)


def gemma2(data: Mapping[str, Any], name: str, source: str) -> Model:
    """Windows in every other layer, norms after attention and FFN too, soft caps; every sliding layer comes first."""
    config = validate(_Gemma2Config, data, source)
    model = _model(config, config.hidden_activation, "Gemma2ForCausalLM", name, source)
    return replace(
        model,
        windows=(config.sliding_window, None),
        post_norms=True,
        attention_soft_cap=config.attn_logit_softcapping,
        logit_soft_cap=config.final_logit_softcapping,
    )


def experts_of(count: int, top_k: int, ffn: int, source: str, **rest: Any) -> Experts:
    """Experts of all layers unless ``rest`` says otherwise; ``InputError`` if a token cannot visit as many as it should."""
    if top_k > count:
        raise InputError(f"{source}: num_experts_per_tok = {top_k}: must be at most the {count} experts")
    return Experts(count, top_k, ffn, **{"shared_ffn": 0, "first_dense_layers": 0, "router_bias": False, **rest})


def _model(config: _BaseConfig, activation: ActivationName, architecture: str, name: str, source: str) -> Model:
    q_heads = config.num_attention_heads
    kv_heads = config.num_key_value_heads or q_heads
    check_kv_heads(q_heads, kv_heads, source)
    return Model(
        name=name,
        architecture=architecture,
        n_layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        q_heads=q_heads,
        kv_heads=kv_heads,
        head_dim=config.head_dim or split_hidden(config.hidden_size, "num_attention_heads", q_heads, source),
        ffn=config.intermediate_size,
        vocab=config.vocab_size,
        norm="rmsnorm",
        norm_eps=config.rms_norm_eps,
        activation=activation_of(activation),
        gated_ffn=True,
        positions="rope",
        max_positions=config.max_position_embeddings,
        tied_embeddings=config.tie_word_embeddings,
    )
