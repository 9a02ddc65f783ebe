"""Configs of DeepSeek-V2 and DeepSeek-V3: latent attention, shared and routed experts, a few dense layers first.

Keys and their defaults are those of the published checkpoints' ``configuration_deepseek.py`` files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from uarch.files.reading import validate
from workloads.models.config_schema import ActivationName, Config, Count, Epsilon, Heads, activation_of
from workloads.models.llama_family import experts_of
from workloads.models.model import LatentAttention, Model


class _DeepseekConfig(Config):
    hidden_size: Count
    intermediate_size: Count
    moe_intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Heads
    q_lora_rank: Count | None = None
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Annotated[int, Field(ge=2, le=1 << 14, multiple_of=2)]
    v_head_dim: Count
    n_routed_experts: Heads
    n_shared_experts: Heads | None = None
    num_experts_per_tok: Heads
    first_k_dense_replace: Annotated[int, Field(ge=0, le=1 << 14)] = 0
    moe_layer_freq: Literal[1] = 1
    vocab_size: Count
    max_position_embeddings: Count | None = None
    rms_norm_eps: Epsilon
    hidden_act: ActivationName = "silu"
    tie_word_embeddings: bool = False


def deepseek_v2(data: Mapping[str, Any], name: str, source: str) -> Model:
    """DeepSeek-V2 (arXiv 2405.04434)."""
    return _model(data, "DeepseekV2ForCausalLM", name, source, router_bias=False)


def deepseek_v3(data: Mapping[str, Any], name: str, source: str) -> Model:
    """DeepSeek-V3 (arXiv 2412.19437), without its layer for multi-token prediction."""
    return _model(data, "DeepseekV3ForCausalLM", name, source, router_bias=True)


def _model(data: Mapping[str, Any], architecture: str, name: str, source: str, *, router_bias: bool) -> Model:
    config = validate(_DeepseekConfig, data, source)
    latent = LatentAttention(
        q_rank=config.q_lora_rank,
        kv_rank=config.kv_lora_rank,
        nope_dim=config.qk_nope_head_dim,
        rope_dim=config.qk_rope_head_dim,
        value_dim=config.v_head_dim,
    )
    experts = experts_of(
        config.n_routed_experts,
        config.num_experts_per_tok,
        config.moe_intermediate_size,
        source,
        shared_ffn=(config.n_shared_experts or 0) * config.moe_intermediate_size,
        first_dense_layers=config.first_k_dense_replace,
        router_bias=router_bias,
    )
    return Model(
        name=name,
        architecture=architecture,
        n_layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        q_heads=config.num_attention_heads,
        kv_heads=config.num_attention_heads,
        head_dim=latent.head_dim,
        ffn=config.intermediate_size,
        vocab=config.vocab_size,
        norm="rmsnorm",
        norm_eps=config.rms_norm_eps,
        activation=activation_of(config.hidden_act),
        gated_ffn=True,
        positions="rope",
        max_positions=config.max_position_embeddings,
        tied_embeddings=config.tie_word_embeddings,
        experts=experts,
        latent=latent,
    )
