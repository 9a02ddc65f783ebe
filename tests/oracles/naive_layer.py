"""One transformer layer of every architecture in NumPy, token by token where that is plainest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workloads.models.model import LayerKind, Model

Matrix = npt.NDArray[np.float64]
Memory = dict[str, Matrix]


@dataclass(frozen=True)
class NaiveLayer:
    """``memory``: weights, caches, rotation table and streams under the simulator's names, as the layer finds them.

    ``q_len``, ``kv_len``: new tokens and tokens in all of each sequence; rows and caches lie one sequence after the other.
    ``experts``: of every token, in the order of its gates.
    """

    model: Model
    kind: LayerKind
    index: int
    memory: Memory
    q_len: list[int]
    kv_len: list[int]
    experts: npt.NDArray[np.int64] | None

    def run(self) -> Matrix:
        """What the layer leaves to be added to the stream, and (in ``memory``) the stream itself."""
        m = self.memory
        m["hidden"] = m["hidden"] + m["delta"]
        context = self._latent_attention if self.model.latent else self._attention
        added = context(self._norm(m["hidden"], "norm1")) @ self.w("w_projection")
        if self.model.post_norms:
            added = _rms(added, self.w("post_norm", ".0"), self.model.norm_eps)
        m["hidden"] = m["hidden"] + added
        normed = self._norm(m["hidden"], "norm2")
        out = self._experts(normed) if self.kind.has_experts else self._ffn(normed, "w_ffn")
        return _rms(out, self.w("post_norm", ".1"), self.model.norm_eps) if self.model.post_norms else out

    def w(self, name: str, suffix: str = "") -> Matrix:
        return self.memory[f"{name}.{self.index}{suffix}"]

    def _norm(self, x: Matrix, name: str) -> Matrix:
        return _rms(x, self.w(name), self.model.norm_eps)

    def _ffn(self, x: Matrix, name: str, expert: int = 0, experts: int = 1) -> Matrix:
        w_in, w_out = self.w(name, ".in"), self.w(name, ".out")
        inner = x @ w_in.reshape(experts, -1, w_in.shape[1])[expert]
        gate, up = np.split(inner, 2, axis=-1)
        return _activation(gate, self.model.activation) * up @ w_out.reshape(experts, -1, w_out.shape[1])[expert]

    def _experts(self, x: Matrix) -> Matrix:
        experts = self.model.experts
        assert experts is not None
        assert self.experts is not None
        out = self._ffn(x, "w_shared_experts") if experts.shared_ffn else np.zeros_like(x)
        scores = x @ self.w("w_router")
        for token, row in enumerate(x):
            best = np.sort(scores[token])[::-1][: experts.top_k]
            gates = np.exp(best - best.max()) / np.exp(best - best.max()).sum()
            for gate, expert in zip(gates, self.experts[token], strict=True):
                out[token] += gate * self._ffn(row, "w_experts", int(expert), experts.count)
        return out

    def _attention(self, x: Matrix) -> Matrix:
        model = self.model
        q, k, v = np.split(x @ self.w("w_qkv"), np.cumsum([model.q_heads, model.kv_heads]) * model.head_dim, axis=1)
        q = q.reshape(len(x), model.q_heads, -1)
        k = k.reshape(len(x), model.kv_heads, -1)
        if model.qk_norm:
            q = _rms(q, self.w("qk_norm", ".0"), model.norm_eps)
            k = _rms(k, self.w("qk_norm", ".1"), model.norm_eps)
        keys = self._cache("k_cache", model.kv_heads, self._rotated(k))
        values = self._cache("v_cache", model.kv_heads, v.reshape(k.shape))
        group = model.q_heads // model.kv_heads
        return self._attend(self._rotated(q), keys.repeat(group, axis=1), values.repeat(group, axis=1))

    def _latent_attention(self, x: Matrix) -> Matrix:
        """Keys and values of all heads from the cached latents, in prefill and in decode."""
        latent, heads = self.model.latent, self.model.q_heads
        assert latent is not None
        q_latent, down = np.split(x @ self.w("w_down"), [latent.q_rank or 0], axis=1)
        source = _rms(q_latent, self.w("q_norm"), self.model.norm_eps) if latent.q_rank else x
        q = (source @ self.w("w_q_up")).reshape(len(x), heads, latent.head_dim)
        q = np.concatenate([q[..., : latent.nope_dim], self._rotated(q[..., latent.nope_dim :])], axis=-1)
        latents, key = np.split(down, [latent.kv_rank], axis=1)
        latents = _rms(latents, self.w("kv_norm"), self.model.norm_eps)
        entries = np.concatenate([latents, self._rotated(key[:, None])[:, 0]], axis=1)
        cache = self._cache("k_cache", 1, entries[:, None])[:, 0]
        nope = (cache[:, : latent.kv_rank] @ self.w("w_k_up")).reshape(len(cache), heads, -1)
        shared = np.repeat(cache[:, None, latent.kv_rank :], heads, axis=1)
        values = (cache[:, : latent.kv_rank] @ self.w("w_v_up")).reshape(len(cache), heads, -1)
        return self._attend(q, np.concatenate([nope, shared], axis=-1), values)

    def _cache(self, name: str, heads: int, new: Matrix) -> Matrix:
        """The cache with the new entries: shape (tokens of all sequences, heads, width)."""
        cache = self.w(name).reshape(sum(self.kv_len), heads, -1).copy()
        for s, rows in enumerate(self._rows(self.q_len)):
            end = sum(self.kv_len[: s + 1])
            cache[end - self.q_len[s] : end] = new[rows]
        return cache

    def _rotated(self, x: Matrix) -> Matrix:
        """Heads of (tokens, heads, width), rotated in halves by the table."""
        lengths = zip(self.q_len, self.kv_len, strict=True)
        positions = np.concatenate([np.arange(kv_len - q_len, kv_len) for q_len, kv_len in lengths])
        cos, sin = np.split(self.memory["rope"][positions][:, None], 2, axis=-1)
        low, high = np.split(x, 2, axis=-1)
        return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)

    def _attend(self, q: Matrix, k: Matrix, v: Matrix) -> Matrix:
        """Each sequence by itself; all arrays are (tokens, heads, width)."""
        parts = zip(self._rows(self.q_len), self._rows(self.kv_len), strict=True)
        return np.concatenate([self._attend_one(q[new], k[every], v[every]) for new, every in parts])

    def _attend_one(self, q: Matrix, k: Matrix, v: Matrix) -> Matrix:
        scores = np.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5
        distance = np.arange(len(k) - len(q), len(k))[:, None] - np.arange(len(k))
        kept = (distance >= 0) & (distance < (self.kind.window or len(k)))
        weights = np.exp(np.where(kept, scores, -np.inf) - scores.max())
        weights /= weights.sum(axis=-1, keepdims=True)
        return np.einsum("hqk,khd->qhd", weights, v).reshape(len(q), -1)

    @staticmethod
    def _rows(lengths: list[int]) -> list[slice]:
        """Rows of each sequence."""
        return [slice(sum(lengths[:s]), sum(lengths[: s + 1])) for s in range(len(lengths))]


def _rms(x: Matrix, weights: Matrix, eps: float) -> Matrix:
    return np.asarray(x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * weights.ravel())


def _activation(x: Matrix, name: str) -> Matrix:
    if name == "silu":
        return np.asarray(x / (1 + np.exp(-x)))
    return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))
