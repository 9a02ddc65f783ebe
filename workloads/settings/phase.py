"""What a run executes: a phase of a model with its sizes and options, validated."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypedDict

import numpy as np

from kernels.masks.native_sparse import NativeSparse
from kernels.masks.registry import check_mask, parse_mask
from kernels.masks.score_masks import ScoreMask
from uarch.arrays import IntArray
from uarch.datatypes import check_matrix_datatype, datatype
from uarch.errors import InputError, unknown
from workloads.settings.context_lengths import context_lengths
from workloads.settings.draft import Draft, parse_draft

PHASES = ("prefill", "decode", "verify")
SCHEDULES = ("flash", "unfused")
LOGITS = ("last", "all")
FIDELITIES = ("analytical", "lltile", "tile", "burst")
LARGEST_SIZE = 1 << 24
LARGEST_SEED = 2**63 - 1
"""A trace stores the seed as a signed integer of 64 bits."""
_SIZES = ("batch", "seq", "tp", "ep", "pp", "micro_batches", "overlap_chunks")


class PhaseOptions(TypedDict, total=False):
    """Fields of :class:`Phase` that have a default: the options of :func:`workloads.running.runner.simulate`."""

    tp: int
    """Degree of tensor parallelism: chips that share every layer."""
    dtype: str
    """Of activations, and of weights and KV cache unless they have a datatype of their own."""
    attention: str
    """One of ``SCHEDULES``."""
    fidelity: str
    """One of ``FIDELITIES``."""
    seed: int
    """Draws the token ids whose embeddings are read, their experts, and contexts and masks that are drawn."""
    ep: int
    """Groups of ``tp`` chips that share out batch and routed experts; the chip that receives most tokens is simulated."""
    weight_dtype: str | None
    """With ``group_size`` and ``weight_sparsity``: how weights are stored, all but embeddings, LM head, norms and routers;
    see :func:`kernels.gemm.weights.weight_format`."""
    group_size: int | None
    weight_sparsity: str | None
    expert_load: str
    """Of the experts: see :func:`workloads.settings.expert_load.parse_load`."""
    logits: str
    """One of ``LOGITS``: of the last token of each sequence, or of all."""
    mask: str | None
    """Of layers without a window of their own: see :func:`kernels.masks.registry.parse_mask`."""
    kv_dtype: str | None
    """Of the KV cache."""
    page_size: int
    """Tokens of a page of the KV cache; 0: a sequence lies together."""
    draft: str | None
    """What is verified of each sequence: see :func:`workloads.settings.draft.parse_draft`."""
    pp: int
    """Pipeline stages, each of ``tp`` x ``ep`` chips; the trace is their critical path (:mod:`workloads.running.pipeline`)."""
    micro_batches: int
    """Equal parts of the batch that follow each other through the stages."""
    overlap_chunks: int
    """Chunks in which an all-reduce runs behind the product before it (:mod:`workloads.running.overlap`); 1 for no overlap."""


@dataclass(frozen=True)
class Phase:
    """A prefill of ``batch`` prompts of ``seq`` tokens, or one decode step of ``batch`` sequences at a context of ``seq``
    tokens, the new one included, or the verification of drafted tokens of each, those included likewise.

    The fields that have a default are described at :class:`PhaseOptions`."""

    name: str
    batch: int
    seq: int
    tp: int = 1
    dtype: str = "fp16"
    attention: str = "flash"
    fidelity: str = "tile"
    seed: int = 0
    ep: int = 1
    weight_dtype: str | None = None
    group_size: int | None = None
    weight_sparsity: str | None = None
    expert_load: str = "uniform"
    logits: str = "last"
    mask: str | None = None
    kv_dtype: str | None = None
    page_size: int = 0
    draft: str | None = None
    pp: int = 1
    micro_batches: int = 1
    overlap_chunks: int = 1
    contexts: str | None = None
    """Of sequences of different lengths, of which ``seq`` is the longest: see
    :func:`workloads.settings.context_lengths.context_lengths`."""

    def __post_init__(self) -> None:
        """Raise :class:`InputError` for a value that is not allowed."""
        check_known("phase", self.name, PHASES)
        check_matrix_datatype(self.dtype)
        check_known("attention", self.attention, SCHEDULES)
        check_known("fidelity", self.fidelity, FIDELITIES)
        check_known("logits", self.logits, LOGITS)
        sizes = {name: getattr(self, name) for name in _SIZES}
        for name, size in zip(sizes, check_positive(**sizes), strict=True):
            object.__setattr__(self, name, size)
        check_cache(self.stored_dtype, self.page_size)
        self._check_mask()
        self._check_contexts()
        if self.batch % self.ep:
            raise InputError(f"batch = {self.batch}: must be a multiple of ep = {self.ep}, whose groups share it out")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"seed = {self.seed}: must be at least 0 and at most {LARGEST_SEED}")

    @property
    def q_len(self) -> int:
        """New tokens of each sequence."""
        if self.drafted is not None:
            return self.drafted.q_len
        return self.seq if self.name == "prefill" else 1

    @property
    def kv_len(self) -> int:
        """Keys that the last of them sees."""
        return self.seq

    @property
    def tokens(self) -> int:
        """Tokens that are computed, and that the phase is measured by."""
        return self.batch * self.q_len

    @property
    def logit_tokens(self) -> int:
        """Of them, those that the LM head sees."""
        return self.tokens if self.logits == "all" or self.name == "verify" else self.batch

    @property
    def expands_latents(self) -> bool:
        """Latent attention expands keys and values for all heads; in decode the weights are absorbed instead."""
        return self.name == "prefill"

    def of_group(self) -> Phase:
        """The part of the batch that one of ``ep`` groups of chips attends to."""
        return replace(self, batch=self.batch // self.ep, ep=1)

    def of_micro_batch(self) -> Phase:
        """The part of the batch that goes through the stages of a pipeline together."""
        return replace(self, batch=self.batch // self.micro_batches, micro_batches=1)

    @cached_property
    def lengths(self) -> tuple[IntArray, IntArray] | None:
        """New tokens and keys of each sequence, if they have different lengths."""
        if self.contexts is None:
            return None
        keys = context_lengths(self.contexts, self.batch, self.seed).context
        return np.full(self.batch, self.q_len), keys

    @property
    def mean_kv_len(self) -> int:
        """Keys of a sequence on average, rounded up."""
        return self.kv_len if self.lengths is None else -(-int(self.lengths[1].sum()) // self.batch)

    @cached_property
    def drafted(self) -> Draft | None:
        """What is verified for each sequence."""
        return parse_draft(self.draft) if self.draft is not None else None

    @cached_property
    def score_mask(self) -> ScoreMask | None:
        """Mask of layers without a window of their own; None: causal."""
        if self.drafted is not None and self.drafted.tree is not None:
            return self.drafted.tree
        return None if isinstance(self._mask, NativeSparse) else self._mask

    @property
    def native_sparse(self) -> NativeSparse | None:
        """Native sparse attention of such layers; None: attention under ``score_mask``."""
        return self._mask if isinstance(self._mask, NativeSparse) else None

    @cached_property
    def _mask(self) -> ScoreMask | NativeSparse | None:
        return parse_mask(self.mask) if self.mask is not None else None

    @property
    def stored_dtype(self) -> str:
        """Datatype of keys and values in the cache."""
        return self.kv_dtype or self.dtype

    @property
    def stores_new_keys(self) -> bool:
        """New keys and values go to the cache in a kernel of their own: they are converted, scattered or several."""
        return self.stores_latents or self.q_len not in (1, self.kv_len)

    @property
    def stores_latents(self) -> bool:
        """So do latents: the kernel that makes them stores several, but neither converts nor scatters them."""
        return self.stored_dtype != self.dtype or self.page_size > 0 or self.contexts is not None

    def _check_contexts(self) -> None:
        if self.contexts is None:
            return
        if self.name == "prefill":
            raise InputError(f"contexts = {self.contexts!r}: prompts of a prefill are equally long; give seq instead")
        if self.ep > 1 or self.micro_batches > 1 or self.native_sparse is not None or self.unfused:
            raise InputError(
                f"contexts = {self.contexts!r}: allowed with ep = 1, micro_batches = 1 and flash attention, without mask nsa"
            )
        assert self.lengths is not None
        check_lengths(*self.lengths)

    def _check_mask(self) -> None:
        if (self.draft is not None) != (self.name == "verify"):
            raise InputError(f"draft = {self.draft!r}: must be given in phase verify, and only there")
        if self.q_len > self.kv_len:
            raise InputError(f"seq = {self.seq}: must be at least {self.q_len}, the new tokens, which it includes")
        if self.drafted is not None and self.drafted.tree is not None and self.mask is not None:
            raise InputError(f"mask = {self.mask!r}: the draft's tree is the mask; allowed with chain:K only")
        check_mask(self.score_mask, self.mask, self.q_len, self.kv_len, self.name)
        if self.unfused and (self._mask is not None or self.stores_new_keys):
            raise InputError("attention = 'unfused': has no mask, kv_dtype, page_size or draft; use 'flash'")
        if self.native_sparse is not None and (self.page_size or self.stored_dtype != self.dtype):
            raise InputError(f"mask = {self.mask!r}: native sparse attention has no page_size and no kv_dtype")

    @property
    def element_bits(self) -> int:
        """Bits of an element of activations and KV cache, and of weights that have no datatype of their own."""
        return datatype(self.dtype).bits

    @property
    def unfused(self) -> bool:
        """Attention scores go through memory."""
        return self.attention == "unfused"

    def describe(self) -> dict[str, Any]:
        """As JSON-able fields of a trace's workload."""
        return {
            "phase": self.name,
            "batch": self.batch,
            "seq": self.seq,
            "tp": self.tp,
            "ep": self.ep,
            "pp": self.pp,
            "micro_batches": self.micro_batches,
            "overlap_chunks": self.overlap_chunks,
            "dtype": self.dtype,
            "weight_dtype": self.weight_dtype or self.dtype,
            "group_size": self.group_size,
            "weight_sparsity": self.weight_sparsity,
            "expert_load": self.expert_load,
            "logits": self.logits,
            "mask": self.mask,
            "kv_dtype": self.stored_dtype,
            "page_size": self.page_size,
            "draft": self.draft,
            "contexts": self.contexts,
            "attention": self.attention,
            "fidelity": self.fidelity,
        }


LARGEST_PAGE = 1024


def check_cache(stored_dtype: str, page_size: int) -> None:
    """Raise :class:`InputError` unless keys and values can be stored so, in pages that tiles and granules can be made of
    (0 means no pages)."""
    if datatype(stored_dtype, "kv_dtype").block:
        raise InputError(f"kv_dtype = {stored_dtype!r}: must have a scale for each token and head, not for each block")
    if page_size and (page_size & (page_size - 1) or not 2 <= page_size <= LARGEST_PAGE):
        raise InputError(f"page_size = {page_size}: must be a power of two from 2 to {LARGEST_PAGE}, or 0 for no pages")


def check_lengths(q_len: IntArray, kv_len: IntArray) -> None:
    """Raise :class:`InputError` for the first sequence with more new tokens than keys."""
    for s in np.flatnonzero(q_len > kv_len)[:1]:
        raise InputError(
            f"contexts: sequence {s} has {kv_len[s]} keys, fewer than its {q_len[s]} new tokens, which they include"
        )


def check_known(field: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise :class:`InputError` if ``value`` is not among those that ``field`` may have."""
    if value not in allowed:
        raise unknown(field, value, allowed)


def check_positive(**sizes: int) -> tuple[int, ...]:
    """The sizes as plain integers (NumPy's are taken too).

    Raises :class:`InputError` naming the first one that is no whole number, below 1 or absurdly large.
    """
    for name, value in sizes.items():
        try:
            size = operator.index(value)
        except TypeError as error:
            raise InputError(f"{name} = {value!r}: must be a whole number") from error
        if not 1 <= size <= LARGEST_SIZE:
            raise InputError(f"{name} = {size}: must be at least 1 and at most {LARGEST_SIZE}")
    return tuple(map(operator.index, sizes.values()))
