"""Hugging Face configs of the supported architectures: the keys that each needs and what they mean.

A new architecture is a schema of its keys, a function from that schema to a :class:`Model`, and a line in
``ARCHITECTURES``. Keys and their defaults are those of Hugging Face Transformers' ``configuration_*.py`` files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from uarch.errors import InputError
from uarch.input_file import unknown_name, validate
from workloads.model_shape import Activation, Model

Count = Annotated[int, Field(ge=1, le=1 << 24)]
Heads = Annotated[int, Field(ge=1, le=1 << 14)]
Epsilon = Annotated[float, Field(gt=0, lt=1)]
ActivationName = Literal["silu", "swish", "gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh"]


class _Config(BaseModel):
    """Keys that change no dimension, such as token ids, are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class _Header(_Config):
    architectures: Annotated[list[str], Field(min_length=1, max_length=1)]


class _LlamaConfig(_Config):
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Heads
    num_key_value_heads: Heads | None = None
    head_dim: Count | None = None
    vocab_size: Count
    max_position_embeddings: Count | None = None
    rms_norm_eps: Epsilon
    hidden_act: ActivationName
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False


class _BloomConfig(_Config):
    hidden_size: Count = Field(validation_alias=AliasChoices("hidden_size", "n_embed"))
    n_layer: Count = Field(validation_alias=AliasChoices("n_layer", "num_hidden_layers"))
    n_head: Heads = Field(validation_alias=AliasChoices("n_head", "num_attention_heads"))
    vocab_size: Count
    seq_length: Count | None = None
    layer_norm_epsilon: Epsilon
    tie_word_embeddings: bool = True


class _Gpt2Config(_Config):
    n_embd: Count
    n_layer: Count
    n_head: Heads
    n_inner: Count | None = None
    n_positions: Count
    vocab_size: Count
    layer_norm_epsilon: Epsilon
    activation_function: ActivationName
    tie_word_embeddings: bool = True


def _llama(data: Mapping[str, Any], name: str, source: str) -> Model:
    config = validate(_LlamaConfig, data, source)
    q_heads = config.num_attention_heads
    kv_heads = config.num_key_value_heads or q_heads
    if q_heads % kv_heads:
        raise InputError(f"{source}: num_key_value_heads = {kv_heads}: must divide num_attention_heads = {q_heads}")
    return Model(
        name=name,
        architecture="LlamaForCausalLM",
        n_layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        q_heads=q_heads,
        kv_heads=kv_heads,
        head_dim=config.head_dim or _split(config.hidden_size, "num_attention_heads", q_heads, source),
        ffn=config.intermediate_size,
        vocab=config.vocab_size,
        norm="rmsnorm",
        norm_eps=config.rms_norm_eps,
        activation=_activation(config.hidden_act),
        gated_ffn=True,
        positions="rope",
        max_positions=config.max_position_embeddings,
        tied_embeddings=config.tie_word_embeddings,
        attention_bias=config.attention_bias,
        ffn_bias=config.mlp_bias,
        embedding_norm=False,
    )


def _bloom(data: Mapping[str, Any], name: str, source: str) -> Model:
    config = validate(_BloomConfig, data, source)
    return Model(
        name=name,
        architecture="BloomForCausalLM",
        n_layers=config.n_layer,
        hidden=config.hidden_size,
        q_heads=config.n_head,
        kv_heads=config.n_head,
        head_dim=_split(config.hidden_size, "n_head", config.n_head, source),
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
        head_dim=_split(config.n_embd, "n_head", config.n_head, source),
        ffn=config.n_inner or 4 * config.n_embd,
        vocab=config.vocab_size,
        norm="layernorm",
        norm_eps=config.layer_norm_epsilon,
        activation=_activation(config.activation_function),
        gated_ffn=False,
        positions="learned",
        max_positions=config.n_positions,
        tied_embeddings=config.tie_word_embeddings,
        attention_bias=True,
        ffn_bias=True,
        embedding_norm=False,
    )


ARCHITECTURES: dict[str, Callable[[Mapping[str, Any], str, str], Model]] = {
    "BloomForCausalLM": _bloom,
    "GPT2LMHeadModel": _gpt2,
    "LlamaForCausalLM": _llama,
}
"""By class name: function of (contents of the config, name of the model, source for messages)."""


def model_of_config(data: Mapping[str, Any], name: str, source: str) -> Model:
    """The model that a Hugging Face config describes; ``InputError`` starts with ``source``.

    An architecture that is not in ``ARCHITECTURES`` is refused: its layers may differ in ways no key shows.
    """
    architecture = validate(_Header, data, source).architectures[0]
    if architecture not in ARCHITECTURES:
        allowed = unknown_name(architecture, list(ARCHITECTURES))
        raise InputError(f"{source}: architectures = {architecture[:60]!r}: not supported; {allowed}")
    return ARCHITECTURES[architecture](data, name, source)


def _activation(name: ActivationName) -> Activation:
    return "silu" if name in {"silu", "swish"} else "gelu"


def _split(hidden: int, key: str, heads: int, source: str) -> int:
    """Head dimension of a config that states only the hidden size."""
    if hidden % heads:
        raise InputError(f"{source}: {key} = {heads}: must divide the hidden size {hidden}")
    return hidden // heads
