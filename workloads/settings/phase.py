"""What a run executes: a phase of a model with its sizes and options, validated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from kernels.masks.native_sparse import NativeSparse
from kernels.masks.registry import check_mask, parse_mask
from kernels.masks.score_masks import ScoreMask
from kernels.vector.new_tokens import NewTokens
from uarch.arrays import IntArray
from uarch.datatypes import datatype
from uarch.errors import InputError, must_be, only_with
from workloads.settings.choices import PhaseName, check_choice
from workloads.settings.context_lengths import context_lengths
from workloads.settings.draft import Draft, parse_draft
from workloads.settings.option_records import declared, size
from workloads.settings.run_options import RunOptions
from workloads.settings.step_batch import StepBatch, read_step


@dataclass(frozen=True)
class Phase(RunOptions):
    """A prefill of ``batch`` prompts of ``seq`` tokens, or one decode step of ``batch`` sequences at a context of ``seq``
    tokens, the new one included, or the verification of drafted tokens of each, those included likewise, or a step of any mix
    of such sequences.

    The other options are those of :class:`workloads.settings.run_options.RunOptions`."""

    name: PhaseName
    batch: int
    seq: int
    step: StepBatch | None = None
    """Sequences of a step, of which ``seq`` is the longest context; None in other phases."""

    @classmethod
    def of(
        cls, name: PhaseName, batch: int | None, seq: int | None, options: RunOptions, step: StepBatch | None = None
    ) -> Phase:
        """A phase whose sequences are ``seq`` tokens long, or as long as the option ``contexts`` says, or those of ``step``.

        ``InputError`` for a value that is not allowed, and unless one of them is given.
        """
        if name == "step":
            return cls.of_sequences(_step(batch, seq, options, step), options)
        if step is not None or options.step_file is not None:
            raise only_with("step_file", options.step_file, "phase = 'step'")
        if batch is None:
            raise must_be("batch", None, f"given with phase = {name!r}: the number of sequences")
        return cls(name, batch, _longest(seq, options.contexts, batch, options.seed), **vars(options))

    @classmethod
    def of_sequences(cls, step: StepBatch, options: RunOptions) -> Phase:
        """A step of given sequences."""
        return cls("step", len(step.sequences), int(step.context_tokens.max()), step, **vars(options))

    def __post_init__(self) -> None:
        """Raise :class:`InputError` for a value that is not allowed."""
        check_choice("phase", self.name, PhaseName)
        super().__post_init__()
        for name in ("batch", "seq"):
            object.__setattr__(self, name, size(name, getattr(self, name)))
        check_cache(self.stored_dtype, self.page_size)
        self._check_mask()
        self._check_contexts()
        self._check_ragged()
        if (self.step is not None) != (self.name == "step"):
            raise only_with("step", str(self.step), "phase = 'step', which has no other lengths")
        if self.step is None and self.batch % self.ep:
            raise must_be("batch", self.batch, f"a multiple of ep = {self.ep}, whose groups share it out")

    @cached_property
    def new_tokens(self) -> NewTokens:
        """New tokens of every sequence, and its tokens in all: what every phase is a case of."""
        if self.step is not None:
            return NewTokens(self.step.new_tokens, self.step.context_tokens)
        new = self.seq if self.name == "prefill" else 1
        if self.drafted is not None:
            new = self.drafted.q_len
        if self.contexts is None:
            return NewTokens.uniform(self.batch, new, self.seq)
        return NewTokens(np.full(self.batch, new), context_lengths(self.contexts, self.batch, self.seed).context)

    @cached_property
    def q_len(self) -> int:
        """New tokens of a sequence; of the one that has most."""
        return int(self.new_tokens.q_len.max())

    @property
    def kv_len(self) -> int:
        """Keys that the last of them sees; the most that any sees."""
        return self.seq

    @property
    def tokens(self) -> int:
        """Tokens that are computed, and that the phase is measured by."""
        return self.new_tokens.total

    @property
    def sees_all_logits(self) -> bool:
        """Whether the LM head sees all tokens, as in a verification, or the last one of each sequence."""
        return self.logits == "all" or self.name == "verify"

    @property
    def logit_tokens(self) -> int:
        """Tokens that the LM head sees."""
        return self.tokens if self.sees_all_logits else self.batch

    def of_group(self) -> Phase:
        """The part of the batch that one of ``ep`` groups of chips attends to."""
        return replace(self._share(self.ep), ep=1)

    def of_micro_batch(self) -> Phase:
        """The part of the batch that goes through the stages of a pipeline together."""
        return replace(self._share(self.micro_batches), micro_batches=1)

    def _share(self, parts: int) -> Phase:
        """The largest of so many parts of the batch."""
        if self.step is None:
            return replace(self, batch=self.batch // parts, ep=1)
        return self.of_step(self.step.share(parts))

    def of_step(self, step: StepBatch) -> Phase:
        """A phase of other sequences, with the same options."""
        return replace(self, step=step, batch=len(step.sequences), seq=int(step.context_tokens.max()))

    @cached_property
    def lengths(self) -> tuple[IntArray, IntArray] | None:
        """New tokens and keys of each sequence, if they have different lengths."""
        if self.contexts is None and (self.step is None or self.step.is_uniform):
            return None
        return self.new_tokens.q_len, self.new_tokens.kv_len

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
        return self.stored_dtype != self.dtype or self.page_size > 0 or self.lengths is not None

    @property
    def departures(self) -> tuple[str, ...]:
        """Options that make attention or products other than plain ones, as messages write them."""
        names = ("mask", "kv_dtype", "page_size", "draft", "contexts", "weight_dtype", "weight_sparsity")
        return tuple(f"{name} = {value!r}" for name in names if (value := getattr(self, name)))

    def _check_contexts(self) -> None:
        if self.contexts is None:
            return
        if self.name in ("prefill", "step"):
            raise only_with(
                "contexts", self.contexts, "phase = 'decode' or 'verify': prompts of a prefill are equally long"
            )
        if self.ep > 1 or self.micro_batches > 1:
            raise only_with("contexts", self.contexts, "ep = 1, micro_batches = 1")
        check_lengths(self.new_tokens.q_len, self.new_tokens.kv_len)

    def _check_ragged(self) -> None:
        """Raise :class:`InputError` for schedules of equally long sequences only."""
        if self.lengths is not None and (self.native_sparse is not None or self.unfused):
            name, value = ("step", str(self.step)) if self.contexts is None else ("contexts", self.contexts)
            raise only_with(
                name, value, "attention = 'flash' and without mask = 'nsa', whose sequences are equally long"
            )

    def _check_mask(self) -> None:
        if (self.draft is not None) != (self.name == "verify"):
            raise must_be("draft", self.draft, "given with phase = 'verify', and only there")
        if self.q_len > self.kv_len:
            raise must_be("seq", self.seq, f"at least {self.q_len}, the new tokens, which it includes")
        if self.drafted is not None and self.drafted.tree is not None and self.mask is not None:
            raise only_with("mask", self.mask, "draft = 'chain:K': the tree of a draft is the mask")
        for q_len in {self.q_len, int(self.new_tokens.q_len.min())}:
            check_mask(self.score_mask, self.mask, q_len, self.kv_len, self.name)
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
        step = {"step": str(self.step)} if self.step is not None else {}
        return {"phase": self.name, "batch": self.batch, "seq": self.seq, **step, **options, **stored}


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


def _step(batch: int | None, seq: int | None, options: RunOptions, step: StepBatch | None) -> StepBatch:
    """The sequences of a step: given, or read from a file; :class:`InputError` unless it is one of both."""
    if seq is not None:
        raise only_with("seq", seq, "another phase: lengths of a step are those of its sequences")
    if (step is None) == (options.step_file is None):
        raise must_be("step_file", options.step_file, "given with phase = 'step', or step from Python")
    step = read_step(options.step_file) if options.step_file is not None else step
    if step is None or (batch is not None and batch != len(step.sequences)):
        sequences = len(step.sequences) if step else 0
        raise must_be("batch", batch, f"left out, or {sequences}: the sequences of the step")
    return step


def _longest(seq: int | None, contexts: str | None, batch: int, seed: int) -> int:
    """``seq``, or the longest of ``contexts``; :class:`InputError` unless one of them is given."""
    if seq is not None and contexts is None:
        return seq
    if contexts is None or seq is not None:
        raise InputError(f"seq = {seq}: give either seq = TOKENS or contexts = LENGTHS")
    return int(context_lengths(contexts, size("batch", batch), seed).context.max())
