"""Weights and KV cache of a layer in one chip's memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kernels.attention.kv_storage import PLAIN, KvStorage
from kernels.attention.native_sparse_steps import CompressedCache, compressed_cache
from kernels.attention.page_selection import PageBounds
from kernels.attention.sequences import Sequences
from kernels.attention.shape import AttentionShape
from kernels.gemm.weights import WeightFormat, Weights, allocate_weights
from kernels.program.address_space import AddressSpace, Tensor
from workloads.layers.attention_job import AttentionJob
from workloads.layers.native_sparse_job import BRANCHES
from workloads.models.model import LayerKind, Model
from workloads.models.parallel import Shard
from workloads.settings.phase import Phase


@dataclass(frozen=True)
class FfnTensors:
    """A feed-forward network: ``hidden x`` (gate and) up, and ``ffn x hidden``."""

    w_in: Weights
    w_out: Weights


@dataclass(frozen=True)
class ExpertTensors:
    """A mixture of experts: the routed ones that this chip holds are a batch of weights."""

    router: Tensor
    routed: FfnTensors
    shared: FfnTensors | None


@dataclass(frozen=True)
class LatentTensors:
    """Multi-head latent attention."""

    down: Weights
    """To the latent of the queries (if they have one), the latent of keys and values, and the shared rotated key."""
    q_norm: Tensor | None
    q_up: Weights
    """From the latent of the queries, or from the hidden state, to queries of all heads."""
    kv_norm: Tensor
    k_up: Tensor
    """kv_rank x (heads * nope_dim)."""
    v_up: Tensor
    """kv_rank x (heads * value_dim)."""


@dataclass(frozen=True)
class NativeSparseTensors:
    """Native sparse attention."""

    cache: CompressedCache
    gate: Weights
    """From the hidden state to a gate for each branch and head."""


@dataclass(frozen=True)
class LayerTensors:
    """Weights and KV cache of a layer, this chip's share."""

    norm1: Tensor
    qkv: Weights | None
    """Of queries, keys and values; None if they come from a latent."""
    latent: LatentTensors | None
    qk_norms: tuple[Tensor, Tensor] | None
    k_cache: Tensor
    v_cache: Tensor
    """The same tensor as ``k_cache`` if that holds latents."""
    projection: Weights
    norm2: Tensor
    post_norms: tuple[Tensor, Tensor] | None
    """After attention and after the feed-forward network."""
    ffn: FfnTensors | None
    experts: ExpertTensors | None
    storage: KvStorage = PLAIN
    """Scales and page table of the cache."""
    page_bounds: PageBounds | None = None
    """What pages are selected by, if attention reads some of them only."""
    sequences: Sequences | None = None
    """Where the keys of each sequence lie; None: in its batch entry of the caches."""
    native_sparse: NativeSparseTensors | None = None


@dataclass(frozen=True)
class LayerAllocator:
    """Lays layers out one after the other."""

    space: AddressSpace
    model: Model
    shard: Shard
    phase: Phase
    weights: WeightFormat

    def layer(self, kind: LayerKind, index: int) -> LayerTensors:
        """Tensors of a layer; ``index`` tells its names apart from those of others."""
        model, latent = self.model, self.model.latent
        kv_width = latent.cached_dim if latent else self.shard.kv_heads * model.head_dim
        norm1 = self._norm(f"norm1.{index}")
        qkv = self._qkv(index) if latent is None else None
        latent_tensors = self._latent(index) if latent else None
        storage, sequences = PLAIN, None
        if self.phase.stores_latents if latent else self.phase.stores_new_keys:
            job = cache_job(model, self.shard, self.phase)
            sequences = job.sequences
            k_cache, v_cache, storage = job.allocate_cache(self.space, f"_cache.{index}", sequences)
        else:
            k_cache = self._matrix(f"k_cache.{index}", self.phase.kv_len, kv_width, batch=self.phase.batch)
            v_cache = k_cache
            if latent is None:
                v_cache = self._matrix(f"v_cache.{index}", self.phase.kv_len, kv_width, batch=self.phase.batch)
        value_dim = latent.value_dim if latent else model.head_dim
        return LayerTensors(
            norm1=norm1,
            qkv=qkv,
            latent=latent_tensors,
            qk_norms=self._pair(f"qk_norm.{index}", 1, model.head_dim) if model.qk_norm else None,
            k_cache=k_cache,
            v_cache=v_cache,
            projection=self._weights(f"w_projection.{index}", self.shard.q_heads * value_dim, model.hidden),
            norm2=self._norm(f"norm2.{index}"),
            post_norms=self._pair(f"post_norm.{index}", self._norm_rows, model.hidden) if model.post_norms else None,
            ffn=None if kind.has_experts else self._ffn(f"ffn.{index}", self.shard.ffn),
            experts=self._experts(index) if kind.has_experts else None,
            storage=storage,
            page_bounds=self._page_bounds(index),
            sequences=sequences,
            native_sparse=self._native_sparse(kind, index),
        )

    def _native_sparse(self, kind: LayerKind, index: int) -> NativeSparseTensors | None:
        pattern = self.phase.native_sparse
        if pattern is None or kind.window is not None:
            return None
        shape = cache_job(self.model, self.shard, self.phase).shape
        cache = compressed_cache(self.space, shape, pattern, self.phase.element_bits, suffix=f".{index}")
        gates = BRANCHES * self.shard.q_heads
        return NativeSparseTensors(cache, self._weights(f"w_gates.{index}", self.model.hidden, gates))

    def _page_bounds(self, index: int) -> PageBounds | None:
        mask = self.phase.score_mask
        if mask is None or self.model.latent is not None:
            return None
        return replace(cache_job(self.model, self.shard, self.phase), mask=mask).page_metadata(self.space, f".{index}")

    @property
    def _norm_rows(self) -> int:
        return 1 if self.model.norm == "rmsnorm" else 2

    def _matrix(self, name: str, rows: int, cols: int, *, batch: int = 1) -> Tensor:
        return self.space.allocate(name, rows, cols, self.phase.element_bits, batch=batch)

    def _norm(self, name: str) -> Tensor:
        return self._matrix(name, self._norm_rows, self.model.hidden)

    def _pair(self, name: str, rows: int, cols: int) -> tuple[Tensor, Tensor]:
        return self._matrix(f"{name}.0", rows, cols), self._matrix(f"{name}.1", rows, cols)

    def _weights(self, name: str, k: int, n: int, *, batch: int = 1) -> Weights:
        return allocate_weights(self.space, name, k, n, self.weights, batch=batch)

    def _qkv(self, index: int) -> Weights:
        width = (self.shard.q_heads + 2 * self.shard.kv_heads) * self.model.head_dim
        return self._weights(f"w_qkv.{index}", self.model.hidden, width)

    def _ffn(self, name: str, width: int, *, batch: int = 1) -> FfnTensors:
        hidden, inputs = self.model.hidden, 2 if self.model.gated_ffn else 1
        return FfnTensors(
            self._weights(f"w_{name}.in", hidden, inputs * width, batch=batch),
            self._weights(f"w_{name}.out", width, hidden, batch=batch),
        )

    def _experts(self, index: int) -> ExpertTensors:
        experts, shard = self.model.experts, self.shard
        assert experts is not None
        return ExpertTensors(
            router=self._matrix(f"w_router.{index}", self.model.hidden, experts.count),
            routed=self._ffn(f"experts.{index}", shard.expert_ffn, batch=shard.experts),
            shared=self._ffn(f"shared_experts.{index}", shard.shared_ffn) if shard.shared_ffn else None,
        )

    def _latent(self, index: int) -> LatentTensors:
        latent, heads = self.model.latent, self.shard.q_heads
        assert latent is not None
        q_source = latent.q_rank or self.model.hidden
        return LatentTensors(
            down=self._weights(f"w_down.{index}", self.model.hidden, (latent.q_rank or 0) + latent.cached_dim),
            q_norm=self._matrix(f"q_norm.{index}", 1, latent.q_rank) if latent.q_rank else None,
            q_up=self._weights(f"w_q_up.{index}", q_source, heads * latent.head_dim),
            kv_norm=self._matrix(f"kv_norm.{index}", 1, latent.kv_rank),
            k_up=self._matrix(f"w_k_up.{index}", latent.kv_rank, heads * latent.nope_dim),
            v_up=self._matrix(f"w_v_up.{index}", latent.kv_rank, heads * latent.value_dim),
        )


def cache_job(model: Model, shard: Shard, phase: Phase) -> AttentionJob:
    """Attention over the cache of a layer, with what the phase says of that."""
    latent, lengths = model.latent, (phase.q_len, phase.kv_len)
    if latent is None:
        shape = AttentionShape(phase.batch, shard.q_heads, shard.kv_heads, model.head_dim, *lengths)
    else:
        sizes = (shard.q_heads, 1, latent.cached_dim, *lengths)
        shape = AttentionShape(phase.batch, *sizes, value_dim=latent.kv_rank, latent=True)
    return AttentionJob(
        shape,
        phase.dtype,
        kv_dtype=phase.kv_dtype,
        page_size=phase.page_size,
        lengths=phase.lengths,
        seed=phase.seed,
    )
