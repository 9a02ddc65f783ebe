"""Models small enough to be simulated in a blink, as the Hugging Face files that a user would write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LAYERS = 3
"""The third is the first that is not simulated itself."""


def write_tiny_llama(folder: Path) -> Path:
    """A Llama of 3 layers, 4 query and 2 key/value heads; returns its file."""
    path = folder / "config.json"
    path.write_text(
        json.dumps(
            {
                "architectures": ["LlamaForCausalLM"],
                "hidden_size": 256,
                "intermediate_size": 512,
                "num_hidden_layers": LAYERS,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "vocab_size": 512,
                "max_position_embeddings": 4096,
                "rms_norm_eps": 1e-5,
                "hidden_act": "silu",
            }
        )
    )
    return path


def tiny_config(architecture: str) -> dict[str, Any]:
    """Five layers of an architecture whose layers differ, or that has experts in all of them."""
    config: dict[str, Any] = {
        "architectures": [architecture],
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 256,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
    }
    if architecture == "Gemma2ForCausalLM":
        return config | {"head_dim": 32, "sliding_window": 16}
    if architecture == "Qwen3MoeForCausalLM":
        return config | {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
    return config | {
        "q_lora_rank": 64,
        "kv_lora_rank": 64,
        "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16,
        "v_head_dim": 32,
        "n_routed_experts": 8,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 64,
        "first_k_dense_replace": 2,
    }
