"""Native sparse attention as its definition says, query by query."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.attention.attention import Attention
from kernels.masks.native_sparse import NativeSparse

Matrix = npt.NDArray[np.float64]
Chosen = dict[tuple[int, int], set[int]]
"""Blocks that a query (index) of a K/V head attends to."""


def softmax_attention(q: Matrix, k: Matrix, v: Matrix, scale: float) -> tuple[Matrix, Matrix]:
    """One query over all keys: (result, weights)."""
    scores = k @ q * scale
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    return weights @ v, weights


def summaries(pattern: NativeSparse, tokens: Matrix, weights: Matrix) -> Matrix:
    """Compressed keys or values of one head: (keys, head_dim) to (summaries, head_dim)."""
    starts = range(0, len(tokens) - pattern.block + 1, pattern.stride)
    rows = [tokens[start : start + pattern.block].ravel() @ weights for start in starts]
    return np.array(rows).reshape(-1, weights.shape[1])


def block_scores(pattern: NativeSparse, weights: Matrix, n_blocks: int) -> Matrix:
    """Of the compressed keys' ``weights`` every block gets as much as strides of it overlap with theirs."""
    scores = np.zeros(n_blocks)
    for key, weight in enumerate(weights):
        for part in range(pattern.block // pattern.stride):
            token = key * pattern.stride + part * pattern.stride
            if token // pattern.selection < n_blocks:
                scores[token // pattern.selection] += weight
    return scores


def native_sparse_attention(
    shape: Attention, pattern: NativeSparse, memory: dict[str, Matrix], chosen: list[Chosen]
) -> tuple[Matrix, Matrix]:
    """``memory`` holds ``q``, ``k``, ``v``, ``gates`` and the weights; ``chosen[s]`` the selected blocks of sequence s.

    Returns the result (tokens, q_heads * head_dim), and the scores of all blocks, (batch * kv_heads * q_len, blocks), zero for
    queries that see no compressed key.
    """
    heads, dim, n_blocks = shape.q_heads, shape.head_dim, pattern.blocks(shape.kv_len)
    q = memory["q"].reshape(shape.batch, shape.q_len, heads, dim)
    k, v = (memory[name].reshape(shape.batch, shape.kv_len, shape.kv_heads, dim) for name in "kv")
    gates = 1 / (1 + np.exp(-memory["gates"].reshape(shape.batch, shape.q_len, 3, heads)))
    out = np.zeros(q.shape)
    scores = np.zeros((shape.batch, shape.kv_heads, shape.q_len, n_blocks))
    for s in range(shape.batch):
        for h in range(heads):
            group = h // shape.group
            keys, values = k[s, :, group], v[s, :, group]
            short = (
                summaries(pattern, keys, memory["w_k_summaries"]),
                summaries(pattern, values, memory["w_v_summaries"]),
            )
            for i in range(shape.q_len):
                position, query = i + shape.kv_len - shape.q_len, q[s, i, h]
                ended = max(0, (position + 1 - pattern.block) // pattern.stride + 1)
                if ended:
                    one, weights = softmax_attention(query, short[0][:ended], short[1][:ended], shape.softmax_scale)
                    out[s, i, h] += gates[s, i, 0, h] * one
                    scores[s, group, i] += block_scores(pattern, weights, n_blocks)
                seen = np.arange(position + 1)
                selected = np.isin(seen // pattern.selection, list(chosen[s][i, group]))
                for branch, kept in ((1, selected), (2, seen > position - pattern.window)):
                    one, _ = softmax_attention(query, keys[seen[kept]], values[seen[kept]], shape.softmax_scale)
                    out[s, i, h] += gates[s, i, branch, h] * one
    return out.reshape(-1, heads * dim), scores.reshape(-1, n_blocks)
