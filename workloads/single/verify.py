"""Verification of drafted tokens: the attention kernel of speculative decoding, for a batch of different contexts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import get_args

import numpy as np

from kernels.attention.attention import Attention
from kernels.attention.piece_packing import PiecePacking, key_tiles_of_blocks, pack_pieces
from kernels.masks.score_masks import CausalMask
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.datatypes import Datatype, MatrixDatatype
from workloads.running.kernel_run import KernelRun, run_programs
from workloads.settings.choices import DraftPacking, KernelFidelity, check_choice
from workloads.settings.context_lengths import context_lengths
from workloads.settings.draft import parse_draft
from workloads.settings.phase import check_cache
from workloads.single.attention import check_sizes, streamed
from workloads.single.gemm import check_options, mapper_for

MAX_ROWS = 256
"""Rows of a block: drafted tokens times the query heads that share a K/V head."""
_KV_TENSORS = ("k", "v", "kv.k_scales", "kv.v_scales")


@dataclass(frozen=True)
class VerifyRun(KernelRun):
    """A verification kernel, and how its batch is packed."""

    pack: str
    drafted_tokens: int
    """Drafted tokens of each request."""
    context_tokens: int
    """Tokens of all requests before their drafts."""
    longest_context_tokens: int
    kv_bytes: int
    """Keys, values and their scales that blocks load."""
    partial_bytes: int
    """Partial results of pieces: written by their blocks, read when they are merged."""
    packing: PiecePacking
    padded_seconds: float
    """Time of the same batch padded to its longest request."""
    padded_kv_bytes: int
    speedup: float
    """Time padded over the time of this run."""


def simulate_verify(
    chip: Chip | str,
    *,
    draft: str,
    contexts: str,
    batch: int,
    q_heads: int,
    kv_heads: int,
    head_dim: int,
    pack: DraftPacking = "decomposed",
    kv_dtype: Datatype | None = None,
    page_size: int = 0,
    seed: int = 0,
    dtype: MatrixDatatype = "fp16",
    fidelity: KernelFidelity = "tile",
) -> VerifyRun:
    """Run the attention that verifies drafted tokens of ``batch`` requests against their contexts.

    ``draft``: see :func:`workloads.settings.draft.parse_draft`; ``contexts``: tokens of each request before its draft, see
    :func:`context_lengths`.
    ``pack``: all requests ``padded`` to the longest, or long ones ``decomposed`` into pieces that are merged exactly.

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or operands that do not fit the chip.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    check_options(dtype, fidelity)
    check_choice("pack", pack, DraftPacking)
    check_cache(kv_dtype or dtype, page_size)
    drafted = parse_draft(draft)
    q_len = drafted.q_len
    sizes = check_sizes(Attention(batch, q_heads, kv_heads, head_dim, q_len, q_len), "prefill")
    context = context_lengths(contexts, sizes.batch, seed).context
    kv_len = context + q_len
    attention = replace(
        sizes,
        kv_len=int(kv_len.max()),
        dtype=dtype,
        mask=drafted.tree or CausalMask(),
        kv_dtype=kv_dtype,
        page_size=page_size,
        lengths=(np.full(sizes.batch, q_len), kv_len),
        row_tile=_row_tile(q_len, sizes.group),
        seed=seed,
    )
    mapper = mapper_for(chip, dtype, fidelity)
    runs, programs = {}, {}
    for name in dict.fromkeys((pack, *get_args(DraftPacking))):  # what was asked for first: that is what is traced
        mapped, _ = streamed(chip, replace(attention, padded=name == "padded"), mapper, AddressSpace())
        programs[name] = mapped[0][0]
        runs[name] = run_programs(chip, "verify", str(attention), fidelity, mapped)
    return VerifyRun(
        **vars(runs[pack]),
        pack=pack,
        drafted_tokens=q_len - 1,
        context_tokens=int(context.sum()),
        longest_context_tokens=int(context.max()),
        kv_bytes=moved_bytes(programs[pack], *_KV_TENSORS),
        partial_bytes=moved_bytes(programs[pack], "attention.sums", "attention.stats"),
        packing=pack_pieces(key_tiles_of_blocks(programs[pack]), chip.core.count),
        padded_seconds=runs["padded"].seconds,
        padded_kv_bytes=moved_bytes(programs["padded"], *_KV_TENSORS),
        speedup=runs["padded"].seconds / runs[pack].seconds,
    )


def moved_bytes(program: TileProgram, *names: str) -> int:
    """Bytes of some tensors that a program's blocks load or store, every execution counted."""
    operands, times = program.operands, program.executions()
    total = 0
    for number, name in enumerate(program.tensor_names):
        if name in names:
            boxes = operands["n_batch"] * operands["n_rows"] * operands["n_cols"] * (operands["tensor"] == number)
            elements = int((boxes.sum(axis=1) * times).sum())
            total += elements * int(program.tensors["element_bits"][number]) // 8
    return total


def _row_tile(q_len: int, group: int) -> tuple[int, int]:
    """All heads of a group and as many drafted tokens as rows allow, evenly shared out, whatever the packing."""
    tiles = ceil(q_len * group / max(MAX_ROWS, group))
    return ceil(q_len / tiles), group
