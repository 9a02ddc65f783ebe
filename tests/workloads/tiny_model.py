"""Models small enough to be simulated in a blink, as the Hugging Face files that a user would write."""

from __future__ import annotations

import json
from pathlib import Path

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
