"""What a run executes: a phase of a model with its sizes and options, validated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from kernels.masks.native_sparse import NativeSparse
from kernels.masks.registry import check_mask, parse_mask
from kernels.masks.score_masks import ScoreMask
from uarch.arrays import IntArray
from uarch.datatypes import datatype
from uarch.errors import InputError, must_be, only_with
from workloads.settings.choices import PhaseName, check_choice
from workloads.settings.context_lengths import context_lengths
from workloads.settings.draft import Draft, parse_draft
from workloads.settings.option_records import declared, size
from workloads.settings.run_options import RunOptions


@dataclass(frozen=True)
class Phase(RunOptions):
    """A prefill of ``batch`` prompts of ``seq`` tokens, or one decode step of ``batch`` sequences at a context of ``seq``
    tokens, the new one included, or the verification of drafted tokens of each, those included likewise.

    The other options are those of :class:`workloads.settings.run_options.RunOptions`."""

    name: PhaseName
    batch: int
    seq: int

    @classmethod
    def of(cls, name: PhaseName, batch: int, seq: int | None, options: RunOptions) -> Phase:
        """A phase whose sequences are ``seq`` tokens long, or as long as the option ``contexts`` says.

        ``InputError`` for a value that is not allowed, and unless one of both is given.
        """
        return cls(name, batch, _longest(seq, options.contexts, batch, options.seed), **vars(options))

    def __post_init__(self) -> None:
        """Raise :class:`InputError` for a value that is not allowed."""
        check_choice("phase", self.name, PhaseName)
        super().__post_init__()
        for name in ("batch", "seq"):
            object.__setattr__(self, name, size(name, getattr(self, name)))
        check_cache(self.stored_dtype, self.page_size)
        self._check_mask()
        self._check_contexts()
        if self.batch % self.ep:
            raise must_be("batch", self.batch, f"a multiple of ep = {self.ep}, whose groups share it out")

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
        """Tokens that the LM head sees."""
        return self.tokens if self.logits == "all" or self.name == "verify" else self.batch

    @property
    def expands_latents(self) -> bool:
        """Whether latent attention expands keys and values for all heads; in decode the weights are absorbed instead."""
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
        """Whether new keys and values go to the cache in a kernel of their own: they are converted, scattered or several."""
        return self.stores_latents or self.q_len not in (1, self.kv_len)

    @property
    def stores_latents(self) -> bool:
        """Whether new latents go to the cache in a kernel of their own.

        The kernel that makes latents can store several tokens in a row; where they are converted or scattered, it cannot.
        """
        return self.stored_dtype != self.dtype or self.page_size > 0 or self.contexts is not None

    @property
    def departures(self) -> tuple[str, ...]:
        """Options that make attention or products other than plain ones, as messages write them."""
        names = ("mask", "kv_dtype", "page_size", "draft", "contexts", "weight_dtype", "weight_sparsity")
        return tuple(f"{name} = {value!r}" for name in names if (value := getattr(self, name)))

    def _check_contexts(self) -> None:
        if self.contexts is None:
            return
        if self.name == "prefill":
            raise only_with(
                "contexts", self.contexts, "phase = 'decode' or 'verify': prompts of a prefill are equally long"
            )
        if self.ep > 1 or self.micro_batches > 1 or self.native_sparse is not None or self.unfused:
            alone = "ep = 1, micro_batches = 1 and attention = 'flash', without mask = 'nsa'"
            raise only_with("contexts", self.contexts, alone)
        assert self.lengths is not None
        check_lengths(*self.lengths)

    def _check_mask(self) -> None:
        if (self.draft is not None) != (self.name == "verify"):
            raise must_be("draft", self.draft, "given with phase = 'verify', and only there")
        if self.q_len > self.kv_len:
            raise must_be("seq", self.seq, f"at least {self.q_len}, the new tokens, which it includes")
        if self.drafted is not None and self.drafted.tree is not None and self.mask is not None:
            raise only_with("mask", self.mask, "draft = 'chain:K': the tree of a draft is the mask")
        check_mask(self.score_mask, self.mask, self.q_len, self.kv_len, self.name)
        if self.unfused and (self._mask is not None or self.stores_new_keys):
            raise InputError(
                "attention = 'unfused': has no mask, kv_dtype, page_size or draft; allowed: attention = 'flash'"
            )
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
        """The phase as JSON-able fields of a trace's workload; the seed has a place of its own."""
        options = {each.name: getattr(self, each.name) for each in declared(RunOptions) if each.name != "seed"}
        stored = {"weight_dtype": self.weight_dtype or self.dtype, "kv_dtype": self.stored_dtype}
        return {"phase": self.name, "batch": self.batch, "seq": self.seq, **options, **stored}


LARGEST_PAGE = 1024


def check_cache(stored_dtype: str, page_size: int) -> None:
    """Raise :class:`InputError` unless keys and values can be stored so, in pages that tiles and granules can be made of
    (0 means no pages)."""
    if datatype(stored_dtype, "kv_dtype").block:
        raise InputError(f"kv_dtype = {stored_dtype!r}: must have a scale for each token and head, not for each block")
    if page_size and (page_size & (page_size - 1) or not 2 <= page_size <= LARGEST_PAGE):
        raise must_be("page_size", page_size, f"a power of two from 2 to {LARGEST_PAGE}, or 0 for no pages")


def check_lengths(q_len: IntArray, kv_len: IntArray) -> None:
    """Raise :class:`InputError` for the first sequence with more new tokens than keys."""
    for s in np.flatnonzero(q_len > kv_len)[:1]:
        raise InputError(
            f"contexts: sequence {s} has {kv_len[s]} keys, fewer than its {q_len[s]} new tokens, which they include"
        )


def check_positive(**sizes: int) -> tuple[int, ...]:
    """The sizes as plain integers (NumPy's are taken too).

    Raises :class:`InputError` naming the first one that is no whole number, below 1 or absurdly large.
    """
    return tuple(size(name, value) for name, value in sizes.items())


def _longest(seq: int | None, contexts: str | None, batch: int, seed: int) -> int:
    """``seq``, or the longest of ``contexts``; :class:`InputError` unless one of them is given."""
    if seq is not None and contexts is None:
        return seq
    if contexts is None or seq is not None:
        raise InputError(f"seq = {seq}: give either seq = TOKENS or contexts = LENGTHS")
    return int(context_lengths(contexts, size("batch", batch), seed).context.max())
