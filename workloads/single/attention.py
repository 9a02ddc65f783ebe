"""Attention alone on a chip: plain, under a mask, over ragged, paged or quantised caches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernels.attention.attention import Attention, FlashMapping
from kernels.attention.native_sparse_steps import compressed_cache
from kernels.attention.page_selection import page_bounds, select_pages
from kernels.attention.streamed import flash_attention
from kernels.attention.tensors import allocate_attention
from kernels.attention.unfused import UnfusedAttention, scores_tensor
from kernels.mapping.mapper import Mapper
from kernels.masks.native_sparse import NativeSparse
from kernels.masks.registry import check_mask, parse_mask
from kernels.masks.score_masks import PagesMask
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import TileProgram
from kernels.vector.by_library import VectorKernels
from uarch.arrays import IntArray
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.datatypes import Datatype, MatrixDatatype
from uarch.errors import InputError, must_be
from workloads.layers.native_sparse import NativeSparseAttention
from workloads.running.kernel_run import KernelRun, Mapped, run_programs
from workloads.running.residency import initial_l2
from workloads.settings.choices import KernelFidelity, KernelPhase, Packing, Residency, Schedule, check_choice
from workloads.settings.context_lengths import context_lengths
from workloads.settings.option_records import LARGEST_SIZE
from workloads.settings.phase import check_cache, check_lengths, check_positive
from workloads.single.gemm import check_options, check_space, mapper_for


@dataclass(frozen=True)
class MaskReport:
    """What a mask saves, and what the granularity of blocks takes back; scores are those of one query head."""

    mask: str
    kept_scores: int
    computed_scores: int
    """Scores of all visited blocks, kept ones and padding."""
    dense_scores: int
    """Scores of plain causal attention."""
    kept_fraction: float
    """Kept over dense scores."""
    padding_fraction: float
    """Part of the computed scores that is not kept."""
    dense_seconds: float
    """Time of plain causal attention on the same sequences and cache."""
    speedup: float
    """Time of plain causal attention over the time under the mask."""


@dataclass(frozen=True)
class AttentionRun(KernelRun):
    """A kernel run, and how it compares with dense attention if it has a mask."""

    mask: MaskReport | None = None


def simulate_attention(
    chip: Chip | str,
    phase: KernelPhase,
    *,
    batch: int,
    q_heads: int,
    kv_heads: int,
    head_dim: int,
    kv_len: int | None = None,
    q_len: int | None = None,
    value_dim: int = 0,
    latent: bool = False,
    schedule: Schedule = "flash",
    mask: str | None = None,
    kv_dtype: Datatype | None = None,
    page_size: int = 0,
    contexts: str | None = None,
    pack: Packing = "packed",
    seed: int = 0,
    causal: bool = True,
    dtype: MatrixDatatype = "fp16",
    fidelity: KernelFidelity = "tile",
    residency: Residency = "cold",
) -> AttentionRun:
    """Run attention alone on a chip: new tokens of each of ``batch`` sequences see the keys of their sequence.

    Parameters
    ----------
    chip
        A chip, the name of a preset, or the path of a chip file.
    phase
        ``prefill`` or ``decode``.
    batch, q_heads, kv_heads, head_dim
        Number of sequences, of query heads and of key and value heads, and the width of a head.
    kv_len, q_len
        Keys of each sequence, and its new tokens, which are the last of them. If ``q_len`` is left out: all in prefill, one in
        decode.
    value_dim, latent
        Width of the values, if it is not that of the keys; with ``latent`` the values are the first ``value_dim`` columns of
        the keys. With schedule ``flash`` only, as all up to ``seed``.
    schedule
        ``flash`` is one program; ``unfused`` runs the scores, a softmax and the weighted sums one after the other, each
        finding the L2 as the one before it left it.
    mask
        Kept scores: see :func:`kernels.masks.registry.parse_mask`; None: as ``causal`` says.
    kv_dtype, page_size
        Datatype of the cache (None: ``dtype``) and tokens of its pages (0: there are none).
    contexts, pack
        Lengths of different sequences instead of ``kv_len``: see :func:`context_lengths`. They are ``packed``, or ``padded`` to
        the longest.
    seed
        Draws lengths, masks and the order of pages.
    causal
        Whether a token sees the keys up to its own only.
    dtype
        Datatype of all operands, and of the arrays' work.
    fidelity, residency
        As in :func:`workloads.single.gemm.simulate_gemm`; ``inputs`` is Q.

    Returns
    -------
    AttentionRun
        Cycles, seconds, bytes, joules, causes of the cores' time; under a mask also the kept scores and dense attention's time.

    Raises
    ------
    InputError
        For an unknown name, a size that is not allowed, or operands that do not fit the chip.

    Examples
    --------
    >>> import uarch
    >>> sizes = {"batch": 8, "q_heads": 32, "kv_heads": 8, "head_dim": 128}
    >>> run = uarch.simulate_attention("h100", "decode", **sizes, kv_len=1024)
    >>> run.bound_by, run.dram_bytes > 2 * 8 * 1024 * 8 * 128 * 2
    ('dram', True)
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    check_options(dtype, fidelity, residency)
    check_choice("phase", phase, KernelPhase)
    check_choice("schedule", schedule, Schedule)
    check_choice("pack", pack, Packing)
    check_cache(kv_dtype or dtype, page_size)
    lengths, q_len, kv_len = _lengths(phase, batch, q_len, kv_len, contexts, seed)
    attention = Attention(
        batch,
        q_heads,
        kv_heads,
        head_dim,
        q_len,
        kv_len,
        causal,
        value_dim,
        latent,
        dtype=dtype,
        kv_dtype=kv_dtype,
        page_size=page_size,
        lengths=lengths,
        padded=pack == "padded" and lengths is not None,
        seed=seed,
    )
    attention, pattern = _masked(check_sizes(attention, phase), mask, phase)
    setting = _Setting(chip, mapper_for(chip, dtype, fidelity), fidelity, residency)
    if schedule == "unfused":
        return AttentionRun(**vars(setting.run_unfused(attention, mask)))
    run, programs = setting.run_native_sparse(attention, pattern) if pattern else setting.run_streamed(attention)
    if mask is None:
        return AttentionRun(**vars(run))
    dense, _ = setting.run_streamed(replace(attention, mask=None))
    return AttentionRun(**vars(run), mask=_report(attention, programs, mask, run.seconds, dense.seconds))


def _masked(attention: Attention, mask: str | None, phase: str) -> tuple[Attention, NativeSparse | None]:
    """The attention under a mask, or the pattern of native sparse attention, which is no mask."""
    score_mask = parse_mask(mask) if mask is not None else None
    check_mask(score_mask, mask, attention.q_len, attention.kv_len, phase)
    if not isinstance(score_mask, NativeSparse):
        return replace(attention, mask=score_mask), None
    if not (attention.is_plain and attention.causal) or attention.value_dim:
        raise InputError(f"mask = {mask!r}: has no contexts, pages, kv_dtype or value_dim, and is causal")
    return attention, score_mask


@dataclass(frozen=True)
class _Setting:
    """What an attention runs on."""

    chip: Chip
    mapper: Mapper
    fidelity: str
    residency: str

    def run_streamed(self, attention: Attention) -> tuple[KernelRun, list[TileProgram]]:
        """Run a streamed attention, after the selection of pages if its mask has one; also its program."""
        mapped, queries = streamed(self.chip, attention, self.mapper, AddressSpace())
        return self._run(attention, mapped, queries), [mapped[-1][0]]

    def run_native_sparse(self, attention: Attention, pattern: NativeSparse) -> tuple[KernelRun, list[TileProgram]]:
        """Run all programs of a native sparse attention; also those of its three attentions."""
        space, sparse = AddressSpace(), NativeSparseAttention(attention, pattern)
        tensors = allocate_attention(attention, space)
        cache = compressed_cache(attention, pattern, space)
        buffers = sparse.allocate(space)
        check_space(self.chip, f"attention {attention}", space)
        mapped = [build() for _, build in sparse.steps(self.chip, self.mapper, tensors, cache, buffers, space)]
        run = self._run(attention, mapped, tensors.q)
        return run, [program for program, search in mapped if search is not None]

    def run_unfused(self, attention: Attention, mask: str | None) -> KernelRun:
        """Run scores, softmax and weighted sums, the scores in memory between them."""
        if mask is not None or not attention.is_plain or attention.value_dim:
            raise InputError("schedule = 'unfused': has no masks, contexts, pages, kv_dtype or value_dim; use 'flash'")
        space = AddressSpace()
        tensors = allocate_attention(attention, space)
        scores, probabilities = (scores_tensor(space, name, attention) for name in ("scores", "probabilities"))
        check_space(self.chip, f"attention {attention}", space)
        unfused = UnfusedAttention(attention, tensors, scores, probabilities, space)
        qk, pv = self.mapper.search_unfused(unfused)
        softmax = unfused.softmax(VectorKernels(self.chip))
        mapped: Mapped = [(unfused.qk(qk.mapping), qk), (softmax, None), (unfused.pv(pv.mapping), pv)]
        return self._run(attention, mapped, tensors.q)

    def _run(self, attention: Attention, mapped: Mapped, queries: Tensor) -> KernelRun:
        l2 = initial_l2(self.chip, self.residency, self.fidelity, [queries], [program for program, _ in mapped])
        return run_programs(self.chip, "attention", str(attention), self.fidelity, mapped, l2)


def streamed(chip: Chip, attention: Attention, mapper: Mapper, space: AddressSpace) -> tuple[Mapped, Tensor]:
    """The programs of a streamed attention, the last with the search for its mapping, and its queries."""
    tensors, mask = allocate_attention(attention, space), attention.mask
    selection: Mapped = []
    if isinstance(mask, PagesMask):
        bounds = page_bounds(attention, mask.page, space)
        programs = select_pages(attention, tensors.q, bounds, mask.budget // mask.page, space)
        selection = [(program, None) for program in programs]
    check_space(chip, f"attention {attention}", space)

    def build(mapping: FlashMapping) -> TileProgram:
        return flash_attention("attention", attention, tensors, mapping, space)

    search = mapper.search_attention(attention, build)
    return [*selection, (build(search.mapping), search)], tensors.q


def _report(
    attention: Attention, programs: Sequence[TileProgram], mask: str, seconds: float, dense_seconds: float
) -> MaskReport:
    per_score, dense_scores = attention.flops_of(1), attention.dense_scores
    kept = sum(program.useful_flops for program in programs) // per_score
    computed = sum(2 * program.macs for program in programs) // per_score
    return MaskReport(
        mask=mask,
        kept_scores=kept,
        computed_scores=computed,
        dense_scores=dense_scores,
        kept_fraction=kept / dense_scores,
        padding_fraction=1 - kept / computed,
        dense_seconds=dense_seconds,
        speedup=dense_seconds / seconds,
    )


def _lengths(
    phase: str, batch: int, q_len: int | None, kv_len: int | None, contexts: str | None, seed: int
) -> tuple[tuple[IntArray, IntArray] | None, int, int]:
    """Lengths of a ragged batch, or None, and the largest ``q_len`` and ``kv_len``."""
    if contexts is None and kv_len is not None:
        return None, (kv_len if phase == "prefill" else 1) if q_len is None else q_len, kv_len
    if contexts is None or kv_len is not None:
        raise InputError("kv_len: give either kv_len or contexts")
    (batch,) = check_positive(batch=batch)
    lengths = context_lengths(contexts, batch, seed)
    keys = lengths.context
    queries = keys if phase == "prefill" and q_len is None else np.full(batch, q_len or 1)
    queries = np.where(lengths.new_tokens > 0, lengths.new_tokens, queries)
    check_lengths(queries, keys)
    return (queries, keys), int(queries.max()), int(keys.max())


def check_sizes(attention: Attention, phase: str) -> Attention:
    """The attention with its sizes in plain integers; raises :class:`InputError` for sizes that do not go together."""
    sizes = {name: getattr(attention, name) for name in ("batch", "q_heads", "kv_heads", "head_dim", "q_len", "kv_len")}
    plain: dict[str, Any] = dict(zip(sizes, check_positive(**sizes), strict=True))
    attention = replace(attention, **plain)
    if attention.q_heads % attention.kv_heads:
        raise InputError(f"kv_heads = {attention.kv_heads}: must divide q_heads = {attention.q_heads}")
    if attention.q_len > attention.kv_len:
        raise InputError(
            f"q_len = {attention.q_len}: must be at most kv_len = {attention.kv_len}, which includes the new tokens"
        )
    if phase == "decode" and attention.q_len > 1:
        raise must_be("q_len", attention.q_len, "1 in decode; several new tokens are allowed in prefill")
    if attention.latent and not 1 <= attention.value_dim <= attention.head_dim:
        raise InputError(
            f"value_dim = {attention.value_dim}: must be from 1 to head_dim = {attention.head_dim} if latent"
        )
    if not 0 <= attention.value_dim <= LARGEST_SIZE:
        raise must_be("value_dim", attention.value_dim, f"at least 0 and at most {LARGEST_SIZE}")
    return attention
