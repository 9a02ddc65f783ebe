"""What the schemas of Hugging Face configs share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from uarch.errors import InputError
from workloads.models.model import Activation

Count = Annotated[int, Field(ge=1, le=1 << 24)]
Heads = Annotated[int, Field(ge=1, le=1 << 14)]
Epsilon = Annotated[float, Field(gt=0, lt=1)]
SoftCap = Annotated[float, Field(gt=0, lt=1e6)]
ActivationName = Literal["silu", "swish", "gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh"]


class Config(BaseModel):
    """Base of the schemas of configs; keys that change no dimension, such as token ids, are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


def activation_of(name: ActivationName) -> Activation:
    """The activation function, whatever approximation of it the config asks for."""
    return "silu" if name in {"silu", "swish"} else "gelu"


def split_hidden(hidden: int, key: str, heads: int, source: str) -> int:
    """Head dimension of a config that states only the hidden size; ``InputError`` if ``heads`` do not divide it."""
    if hidden % heads:
        raise InputError(f"{source}: {key} = {heads}: must divide the hidden size {hidden}")
    return hidden // heads


def check_kv_heads(q_heads: int, kv_heads: int, source: str) -> None:
    """Raise ``InputError`` unless query heads come in groups of equal size."""
    if q_heads % kv_heads:
        raise InputError(f"{source}: num_key_value_heads = {kv_heads}: must divide num_attention_heads = {q_heads}")
