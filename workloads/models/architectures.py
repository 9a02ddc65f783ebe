"""Hugging Face configs of the supported architectures: the keys that each needs and what they mean.

A new architecture is a schema of its keys, a function from that schema to a :class:`Model`, and a line in
``ARCHITECTURES``. Keys and their defaults are those of Hugging Face Transformers' ``configuration_*.py`` files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AliasChoices, Field

from uarch.errors import InputError, unknown_name
from uarch.files.reading import validate
from workloads.models.config_schema import ActivationName, Config, Count, Epsilon, Heads, activation_of, split_hidden
from workloads.models.deepseek import deepseek_v2, deepseek_v3
from workloads.models.llama_family import gemma2, llama, mistral, mixtral, qwen3, qwen3_moe
from workloads.models.model import Model


class _Header(Config):
    architectures: Annotated[list[str], Field(min_length=1, max_length=1)]


class _BloomConfig(Config):
    hidden_size: Count = Field(validation_alias=AliasChoices("hidden_size", "n_embed"))
    n_layer: Count = Field(validation_alias=AliasChoices("n_layer", "num_hidden_layers"))
    n_head: Heads = Field(validation_alias=AliasChoices("n_head", "num_attention_heads"))
    vocab_size: Count
    seq_length: Count | None = None
    layer_norm_epsilon: Epsilon
    tie_word_embeddings: bool = True


class _Gpt2Config(Config):
    n_embd: Count
    n_layer: Count
    n_head: Heads
    n_inner: Count | None = None
    n_positions: Count
    vocab_size: Count
    layer_norm_epsilon: Epsilon
    activation_function: ActivationName
    tie_word_embeddings: bool = True


def _bloom(data: Mapping[str, Any], name: str, source: str) -> Model:
    config = validate(_BloomConfig, data, source)
    return Model(
        name=name,
        architecture="BloomForCausalLM",
        n_layers=config.n_layer,
        hidden=config.hidden_size,
        q_heads=config.n_head,
        kv_heads=config.n_head,
        head_dim=split_hidden(config.hidden_size, "n_head", config.n_head, source),
        ffn=4 * config.hidden_size,
        vocab=config.vocab_size,
        norm="layernorm",
        norm_eps=config.layer_norm_epsilon,
        activation="gelu",
        gated_ffn=False,
        positions="alibi",
        max_positions=config.seq_length,
        tied_embeddings=config.tie_word_embeddings,
        attention_bias=True,
        ffn_bias=True,
        embedding_norm=True,
    )


def _gpt2(data: Mapping[str, Any], name: str, source: str) -> Model:
    config = validate(_Gpt2Config, data, source)
    return Model(
        name=name,
        architecture="GPT2LMHeadModel",
        n_layers=config.n_layer,
        hidden=config.n_embd,
        q_heads=config.n_head,
        kv_heads=config.n_head,
        head_dim=split_hidden(config.n_embd, "n_head", config.n_head, source),
        ffn=config.n_inner or 4 * config.n_embd,
        vocab=config.vocab_size,
        norm="layernorm",
        norm_eps=config.layer_norm_epsilon,
        activation=activation_of(config.activation_function),
        gated_ffn=False,
        positions="learned",
        max_positions=config.n_positions,
        tied_embeddings=config.tie_word_embeddings,
        attention_bias=True,
        ffn_bias=True,
    )


ARCHITECTURES: dict[str, Callable[[Mapping[str, Any], str, str], Model]] = {
    "BloomForCausalLM": _bloom,
    "DeepseekV2ForCausalLM": deepseek_v2,
    "DeepseekV3ForCausalLM": deepseek_v3,
    "GPT2LMHeadModel": _gpt2,
    "Gemma2ForCausalLM": gemma2,
    "LlamaForCausalLM": llama,
    "MistralForCausalLM": mistral,
    "MixtralForCausalLM": mixtral,
    "Qwen3ForCausalLM": qwen3,
    "Qwen3MoeForCausalLM": qwen3_moe,
}
"""Function from (contents of the config, name of the model, source for messages) to a model, by class name."""


def model_of_config(data: Mapping[str, Any], name: str, source: str) -> Model:
    """The model that a Hugging Face config describes; ``InputError`` starts with ``source``.

    An architecture that is not in ``ARCHITECTURES`` is refused: its layers may differ in ways no key shows.
    """
    architecture = validate(_Header, data, source).architectures[0]
    if architecture not in ARCHITECTURES:
        allowed = unknown_name(architecture, list(ARCHITECTURES))
        raise InputError(f"{source}: architectures = {architecture[:60]!r}: not supported; {allowed}")
    return ARCHITECTURES[architecture](data, name, source)
