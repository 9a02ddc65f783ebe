"""Attention as its definition says, one head and sequence after the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.attention.attention import Attention

Matrix = npt.NDArray[np.float64]


def naive_attention(shape: Attention, q: Matrix, k: Matrix, v: Matrix) -> Matrix:
    """``q``: (batch, q_len, q_heads, head_dim); ``k``, ``v``: (batch, kv_len, kv_heads, head_dim); result as ``q``."""
    out = np.empty_like(q)
    for b in range(shape.batch):
        for h in range(shape.q_heads):
            keys, values = k[b, :, h // shape.group], v[b, :, h // shape.group]
            for i in range(shape.q_len):
                seen = shape.kv_len - shape.q_len + i + 1 if shape.causal else shape.kv_len
                scores = keys[:seen] @ q[b, i, h] / np.sqrt(shape.head_dim)
                weights = np.exp(scores - scores.max())
                out[b, i, h] = weights @ values[:seen] / weights.sum()
    return out
