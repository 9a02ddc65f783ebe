"""Shapes of all tensors in the checkpoints of Hugging Face models, written out one by one, on one of ``tp`` chips.

Linear weights are (outputs, inputs). Column-parallel layers split outputs and bias, row-parallel ones split inputs.
"""

from __future__ import annotations

from math import prod
from typing import Any

Shapes = dict[str, tuple[int, ...]]


def parameters(shapes: Shapes) -> int:
    return sum(prod(shape) for shape in shapes.values())


def llama(config: dict[str, Any], tp: int) -> Shapes:
    hidden, ffn = config["hidden_size"], config["intermediate_size"] // tp
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    q = config["num_attention_heads"] // tp * head_dim
    kv = max(1, config["num_key_value_heads"] // tp) * head_dim
    shapes: Shapes = {
        "model.embed_tokens.weight": (padded(config["vocab_size"], tp), hidden),
        "model.norm.weight": (hidden,),
    }
    if not config.get("tie_word_embeddings", False):
        shapes["lm_head.weight"] = (padded(config["vocab_size"], tp), hidden)
    for layer in range(config["num_hidden_layers"]):
        linears = {
            "self_attn.q_proj": (q, hidden),
            "self_attn.k_proj": (kv, hidden),
            "self_attn.v_proj": (kv, hidden),
            "self_attn.o_proj": (hidden, q),
            "mlp.gate_proj": (ffn, hidden),
            "mlp.up_proj": (ffn, hidden),
            "mlp.down_proj": (hidden, ffn),
        }
        for name, shape in linears.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
            if config.get("attention_bias" if name.startswith("self_attn") else "mlp_bias", False):
                shapes[f"model.layers.{layer}.{name}.bias"] = shape[:1]
        shapes[f"model.layers.{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"model.layers.{layer}.post_attention_layernorm.weight"] = (hidden,)
    return shapes


def bloom(config: dict[str, Any], tp: int) -> Shapes:
    hidden = config["hidden_size"]
    width, ffn = hidden // tp, 4 * hidden // tp
    shapes: Shapes = {
        "word_embeddings.weight": (padded(config["vocab_size"], tp), hidden),
        "word_embeddings_layernorm.weight": (hidden,),
        "word_embeddings_layernorm.bias": (hidden,),
        "ln_f.weight": (hidden,),
        "ln_f.bias": (hidden,),
    }
    for layer in range(config["n_layer"]):
        linears = {
            "self_attention.query_key_value": (3 * width, hidden),
            "self_attention.dense": (hidden, width),
            "mlp.dense_h_to_4h": (ffn, hidden),
            "mlp.dense_4h_to_h": (hidden, ffn),
        }
        for name, shape in linears.items():
            shapes[f"h.{layer}.{name}.weight"] = shape
            shapes[f"h.{layer}.{name}.bias"] = shape[:1]
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"h.{layer}.{norm}.weight"] = shapes[f"h.{layer}.{norm}.bias"] = (hidden,)
    return shapes


def gpt2(config: dict[str, Any], tp: int) -> Shapes:
    hidden = config["n_embd"]
    width, ffn = hidden // tp, (config.get("n_inner") or 4 * hidden) // tp
    shapes: Shapes = {
        "wte.weight": (padded(config["vocab_size"], tp), hidden),
        "wpe.weight": (config["n_positions"], hidden),
        "ln_f.weight": (hidden,),
        "ln_f.bias": (hidden,),
    }
    for layer in range(config["n_layer"]):
        linears = {
            "attn.c_attn": (3 * width, hidden),
            "attn.c_proj": (hidden, width),
            "mlp.c_fc": (ffn, hidden),
            "mlp.c_proj": (hidden, ffn),
        }
        for name, shape in linears.items():
            shapes[f"h.{layer}.{name}.weight"] = shape
            shapes[f"h.{layer}.{name}.bias"] = shape[:1]
        for norm in ("ln_1", "ln_2"):
            shapes[f"h.{layer}.{norm}.weight"] = shapes[f"h.{layer}.{norm}.bias"] = (hidden,)
    return shapes


def padded(vocab: int, tp: int) -> int:
    """Rows of the table on each chip once the vocabulary is padded to a multiple of ``tp``."""
    return -(-vocab // tp)


def mixtral(config: dict[str, Any], tp: int) -> Shapes:
    """Llama's attention; every expert has three matrices."""
    shapes = llama({**config, "intermediate_size": 0}, tp)
    return _with_experts(shapes, config, tp, config["num_local_experts"], config["intermediate_size"], range(99))


def qwen3(config: dict[str, Any], tp: int) -> Shapes:
    shapes = llama(config, tp)
    for layer in range(config["num_hidden_layers"]):
        for name in ("q_norm", "k_norm"):
            shapes[f"model.layers.{layer}.self_attn.{name}.weight"] = (config["head_dim"],)
    return shapes


def qwen3_moe(config: dict[str, Any], tp: int) -> Shapes:
    shapes = qwen3({**config, "intermediate_size": 0}, tp)
    return _with_experts(shapes, config, tp, config["num_experts"], config["moe_intermediate_size"], range(99))


def gemma2(config: dict[str, Any], tp: int) -> Shapes:
    shapes = llama(config, tp)
    for layer in range(config["num_hidden_layers"]):
        for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm"):
            shapes[f"model.layers.{layer}.{name}.weight"] = (config["hidden_size"],)
    return shapes


def deepseek(config: dict[str, Any], tp: int) -> Shapes:
    hidden, heads = config["hidden_size"], config["num_attention_heads"] // tp
    nope, rope, value = (config[f"{name}_head_dim"] for name in ("qk_nope", "qk_rope", "v"))
    q_rank, kv_rank = config["q_lora_rank"], config["kv_lora_rank"]
    shapes: Shapes = {
        "model.embed_tokens.weight": (padded(config["vocab_size"], tp), hidden),
        "lm_head.weight": (padded(config["vocab_size"], tp), hidden),
        "model.norm.weight": (hidden,),
    }
    for layer in range(config["num_hidden_layers"]):
        tensors = {
            "self_attn.q_a_proj": (q_rank, hidden),
            "self_attn.q_a_layernorm": (q_rank,),
            "self_attn.q_b_proj": (heads * (nope + rope), q_rank),
            "self_attn.kv_a_proj_with_mqa": (kv_rank + rope, hidden),
            "self_attn.kv_a_layernorm": (kv_rank,),
            "self_attn.kv_b_proj": (heads * (nope + value), kv_rank),
            "self_attn.o_proj": (hidden, heads * value),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
        }
        if layer < config["first_k_dense_replace"]:
            tensors |= _ffn(hidden, config["intermediate_size"] // tp)
        else:
            width = config["n_shared_experts"] * config["moe_intermediate_size"] // tp
            tensors |= {f"shared_{name}": shape for name, shape in _ffn(hidden, width).items()}
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in tensors.items()}
        if layer >= config["first_k_dense_replace"] and config["model_type"] == "deepseek_v3":
            shapes[f"model.layers.{layer}.mlp.gate.e_score_correction_bias"] = (config["n_routed_experts"],)
    sparse = range(config["first_k_dense_replace"], config["num_hidden_layers"])
    return _with_experts(shapes, config, tp, config["n_routed_experts"], config["moe_intermediate_size"], sparse)


def _ffn(hidden: int, ffn: int) -> Shapes:
    return {"mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden), "mlp.down_proj": (hidden, ffn)}


def _with_experts(shapes: Shapes, config: dict[str, Any], tp: int, experts: int, ffn: int, layers: range) -> Shapes:
    for layer in set(range(config["num_hidden_layers"])) & set(layers):
        shapes[f"model.layers.{layer}.mlp.gate.weight"] = (experts, config["hidden_size"])
        for expert in range(experts):
            for name, shape in _ffn(config["hidden_size"], ffn // tp).items():
                shapes[f"model.layers.{layer}.experts.{expert}.{name}.weight"] = shape
    return shapes
