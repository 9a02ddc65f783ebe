"""Masked attention as its definition says: score by score, from a matrix of what is kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.attention.attention import Attention

Matrix = npt.NDArray[np.float64]
Kept = npt.NDArray[np.bool_]


def naive_masked_attention(shape: Attention, q: Matrix, k: Matrix, v: Matrix, kept: list[Kept]) -> Matrix:
    """One sequence: ``q`` (q_len, q_heads, head_dim), ``k`` and ``v`` (kv_len, kv_heads, width), ``kept``: (q_len, kv_len)
    for each K/V head; result (q_len, q_heads, value width)."""
    out = np.empty((q.shape[0], shape.q_heads, shape.value_width))
    for h in range(shape.q_heads):
        head = h // shape.group
        for i in range(q.shape[0]):
            seen = kept[head][i]
            scores = k[seen, head] @ q[i, h] * shape.softmax_scale
            weights = np.exp(scores - scores.max())
            out[i, h] = weights @ v[seen, head, : shape.value_width] / weights.sum()
    return out


def naive_kept(mask: str, q_len: int, kv_len: int, numbers: tuple[int, ...]) -> Kept:
    """What a mask without random parts keeps, from its description in words."""
    kept = np.zeros((q_len, kv_len), np.bool_)
    for i in range(q_len):
        position = i + kv_len - q_len
        for j in range(kv_len):
            recent = position - numbers[-1] < j if numbers else True
            if mask == "full":
                kept[i, j] = True
            elif mask == "causal":
                kept[i, j] = j <= position
            elif mask == "window":
                kept[i, j] = recent and j <= position
            elif mask == "sink":
                kept[i, j] = (recent or j < numbers[0]) and j <= position
    return kept
