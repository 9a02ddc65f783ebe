"""Attention alone on a chip: plain, under a mask, over ragged, paged or quantised caches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernels.attention.native_sparse import NativeSparse
from kernels.attention.native_sparse_steps import compressed_cache
from kernels.attention.shape import AttentionShape, FlashMapping
from kernels.attention.unfused import UnfusedAttention, scores_tensor
from kernels.mapping.mapper import Mapper
from kernels.masks.key_ranges import IntArray
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import TileProgram
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.datatypes import datatype
from uarch.errors import InputError
from workloads.layers.attention_job import PACKINGS, AttentionJob
from workloads.layers.native_sparse_job import NativeSparseJob
from workloads.running.kernel_run import KernelRun, Mapped, run_programs
from workloads.running.residency import initial_l2
from workloads.settings.context_lengths import context_lengths
from workloads.settings.masks import check_mask, parse_mask
from workloads.settings.phase import LARGEST_SIZE, SCHEDULES, check_cache, check_known, check_lengths, check_positive
from workloads.single.gemm import check_options, check_space, mapper_for

ATTENTION_PHASES = ("prefill", "decode")


@dataclass(frozen=True)
class MaskReport:
    """What a mask saves, and what the granularity of blocks takes back; scores are those of one query head."""

    mask: str
    kept_scores: int
    computed_scores: int
    """Of all visited blocks: kept scores and padding."""
    dense_scores: int
    """Of plain causal attention."""
    kept_fraction: float
    """Kept over dense scores."""
    padding_fraction: float
    """Part of the computed scores that is not kept."""
    dense_seconds: float
    """Time of plain causal attention on the same sequences and cache."""
    speedup: float
    """That time over the time under the mask."""


@dataclass(frozen=True)
class AttentionRun(KernelRun):
    """A kernel run, and how it compares with dense attention if it has a mask."""

    mask: MaskReport | None = None


def simulate_attention(
    chip: Chip | str,
    phase: str,
    *,
    batch: int,
    q_heads: int,
    kv_heads: int,
    head_dim: int,
    kv_len: int | None = None,
    q_len: int | None = None,
    value_dim: int = 0,
    latent: bool = False,
    schedule: str = "flash",
    mask: str | None = None,
    kv_dtype: str | None = None,
    page_size: int = 0,
    contexts: str | None = None,
    pack: str = "packed",
    seed: int = 0,
    causal: bool = True,
    dtype: str = "fp16",
    fidelity: str = "tile",
    residency: str = "cold",
) -> AttentionRun:
    """Run attention: ``q_len`` new tokens of each of ``batch`` sequences see the ``kv_len`` keys up to their own, or all of
    them if not ``causal``.

    ``phase``: in ``prefill`` ``q_len`` is at most ``kv_len`` (and that if left out), in ``decode`` it is 1. ``schedule``:
    ``flash`` is one program; ``unfused`` runs the scores, a softmax and the weighted sums one after the other, each
    finding the L2 as the one before it left it. ``chip``, ``fidelity`` and ``residency`` (``inputs`` is Q) as in
    :func:`workloads.single.gemm.simulate_gemm`.

    With ``flash`` only: ``mask`` (see :func:`workloads.settings.masks.parse_mask`); ``kv_dtype`` and ``page_size`` of the
    cache; ``contexts`` instead of ``kv_len`` for sequences of different lengths (see :func:`context_lengths`), which are
    ``packed``, or ``padded`` to the longest; ``value_dim``, if values are not as wide as keys; ``latent``: values are the
    first ``value_dim`` columns of the keys.

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or operands that do not fit the chip.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    check_options(dtype, fidelity, residency)
    check_known("phase", phase, ATTENTION_PHASES)
    check_known("schedule", schedule, SCHEDULES)
    check_known("pack", pack, PACKINGS)
    check_cache(kv_dtype or dtype, page_size)
    lengths, q_len, kv_len = _lengths(phase, batch, q_len, kv_len, contexts, seed)
    shape = AttentionShape(batch, q_heads, kv_heads, head_dim, q_len, kv_len, causal, value_dim, latent)
    shape = check_shape(shape, phase)
    padded = pack == "padded" and lengths is not None
    job, pattern = _masked(
        AttentionJob(shape, dtype, None, kv_dtype, page_size, lengths, padded, seed=seed), mask, phase
    )
    setting = _Setting(chip, mapper_for(chip, dtype, fidelity), fidelity, residency)
    if schedule == "unfused":
        return AttentionRun(**vars(setting.run_unfused(job, mask)))
    run, programs = setting.run_native_sparse(job, pattern) if pattern else setting.run_streamed(job)
    if mask is None:
        return AttentionRun(**vars(run))
    dense, _ = setting.run_streamed(replace(job, mask=None))
    return AttentionRun(**vars(run), mask=_report(job, programs, mask, run.seconds, dense.seconds))


def _masked(job: AttentionJob, mask: str | None, phase: str) -> tuple[AttentionJob, NativeSparse | None]:
    """The job under a mask, or the pattern of native sparse attention, which is no mask."""
    score_mask = parse_mask(mask) if mask is not None else None
    check_mask(score_mask, mask, job.shape.q_len, job.shape.kv_len, phase)
    if not isinstance(score_mask, NativeSparse):
        return replace(job, mask=score_mask), None
    if not (job.is_plain and job.shape.causal) or job.shape.value_dim:
        raise InputError(f"mask = {mask!r}: has no contexts, pages, kv_dtype or value_dim, and is causal")
    return job, score_mask


@dataclass(frozen=True)
class _Setting:
    """What an attention runs on."""

    chip: Chip
    mapper: Mapper
    fidelity: str
    residency: str

    def run_streamed(self, job: AttentionJob) -> tuple[KernelRun, list[TileProgram]]:
        """Run a streamed attention, after the selection of pages if its mask has one; also its program."""
        mapped, queries = streamed(self.chip, job, self.mapper, AddressSpace())
        return self._run(job.shape, mapped, queries), [mapped[-1][0]]

    def run_native_sparse(self, job: AttentionJob, pattern: NativeSparse) -> tuple[KernelRun, list[TileProgram]]:
        """Run all programs of a native sparse attention; also those of its three attentions."""
        space, sparse = AddressSpace(), NativeSparseJob(job.shape, pattern, job.dtype, job.seed)
        operands = AttentionJob(job.shape, job.dtype).allocate(space)
        cache = compressed_cache(space, job.shape, pattern, datatype(job.dtype).bits)
        buffers = sparse.allocate(space)
        check_space(self.chip, f"attention {job.shape}", space)
        mapped = [build() for _, build in sparse.steps(self.chip, self.mapper, operands, cache, buffers, space)]
        run = self._run(job.shape, mapped, operands.q)
        return run, [program for program, search in mapped if search is not None]

    def run_unfused(self, job: AttentionJob, mask: str | None) -> KernelRun:
        """Run scores, softmax and weighted sums, the scores in memory between them."""
        shape = job.shape
        if mask is not None or not job.is_plain or shape.value_dim:
            raise InputError("schedule = 'unfused': has no masks, contexts, pages, kv_dtype or value_dim; use 'flash'")
        space, bits = AddressSpace(), datatype(job.dtype).bits
        tensors = AttentionJob(shape, job.dtype).allocate(space)
        scores, probabilities = (scores_tensor(space, name, shape, bits) for name in ("scores", "probabilities"))
        check_space(self.chip, f"attention {shape}", space)
        q, k, v, out = tensors.q, tensors.k, tensors.v, tensors.out
        attention = UnfusedAttention(shape, q, k, v, scores, probabilities, out, space, job.dtype)
        qk, pv = self.mapper.search_unfused(attention)
        softmax = attention.softmax(self.chip)
        return self._run(shape, [(attention.qk(qk.mapping), qk), (softmax, None), (attention.pv(pv.mapping), pv)], q)

    def _run(self, shape: AttentionShape, mapped: Mapped, queries: Tensor) -> KernelRun:
        l2 = initial_l2(self.chip, self.residency, self.fidelity, [queries], [program for program, _ in mapped])
        return run_programs(self.chip, "attention", str(shape), self.fidelity, mapped, l2)


def streamed(chip: Chip, job: AttentionJob, mapper: Mapper, space: AddressSpace) -> tuple[Mapped, Tensor]:
    """The programs of a streamed attention, the last with the search for its mapping, and its queries."""
    tensors = job.allocate(space)
    selection = job.selection(tensors.q, job.page_metadata(space), space)
    check_space(chip, f"attention {job.shape}", space)

    def build(mapping: FlashMapping) -> TileProgram:
        return job.program("attention", tensors, mapping, space)

    search = mapper.search_attention(job.shape, build, job.load())
    return [*((program, None) for program in selection), (build(search.mapping), search)], tensors.q


def _report(
    job: AttentionJob, programs: Sequence[TileProgram], mask: str, seconds: float, dense_seconds: float
) -> MaskReport:
    per_score, dense_scores = job.shape.flops_of(1), job.dense_scores()
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
    if (kv_len is None) == (contexts is None):
        raise InputError("kv_len: give either kv_len or contexts")
    if contexts is None:
        assert kv_len is not None
        return None, (kv_len if phase == "prefill" else 1) if q_len is None else q_len, kv_len
    (batch,) = check_positive(batch=batch)
    lengths = context_lengths(contexts, batch, seed)
    keys = lengths.context
    queries = keys if phase == "prefill" and q_len is None else np.full(batch, q_len or 1)
    queries = np.where(lengths.new_tokens > 0, lengths.new_tokens, queries)
    check_lengths(queries, keys)
    return (queries, keys), int(queries.max()), int(keys.max())


def check_shape(shape: AttentionShape, phase: str) -> AttentionShape:
    """The shape in plain integers; raises :class:`InputError` for sizes that do not go together."""
    sizes = {name: getattr(shape, name) for name in ("batch", "q_heads", "kv_heads", "head_dim", "q_len", "kv_len")}
    plain: dict[str, Any] = dict(zip(sizes, check_positive(**sizes), strict=True))
    shape = replace(shape, **plain)
    if shape.q_heads % shape.kv_heads:
        raise InputError(f"kv_heads = {shape.kv_heads}: must divide q_heads = {shape.q_heads}")
    if shape.q_len > shape.kv_len:
        raise InputError(
            f"q_len = {shape.q_len}: must be at most kv_len = {shape.kv_len}, which includes the new tokens"
        )
    if phase == "decode" and shape.q_len > 1:
        raise InputError(f"q_len = {shape.q_len}: must be 1 in decode; several new tokens are allowed in prefill")
    if shape.latent and not 1 <= shape.value_dim <= shape.head_dim:
        raise InputError(f"value_dim = {shape.value_dim}: must be from 1 to head_dim = {shape.head_dim} if latent")
    if not 0 <= shape.value_dim <= LARGEST_SIZE:
        raise InputError(f"value_dim = {shape.value_dim}: must be at least 0 and at most {LARGEST_SIZE}")
    return shape
