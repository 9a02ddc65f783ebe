"""Attention of a serving engine's batch: prefills and decodes in one launch, after new keys and values went to the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.attention.attention import Attention
from kernels.mapping.mapper import Search
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import TileProgram
from kernels.vector.elementwise import copy
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.datatypes import MatrixDatatype, datatype
from uarch.errors import InputError
from workloads.running.kernel_run import KernelRun, run_programs
from workloads.running.residency import initial_l2
from workloads.settings.choices import KernelFidelity
from workloads.single.attention import check_sizes, streamed
from workloads.single.gemm import check_options, mapper_for


def simulate_batch_attention(
    chip: Chip | str,
    prefills: tuple[int, int, int],
    decodes: tuple[int, int],
    *,
    q_heads: int,
    kv_heads: int,
    head_dim: int,
    causal: bool = True,
    writes_kv_cache: bool = True,
    regroups_queries: bool = False,
    dtype: MatrixDatatype = "fp16",
    fidelity: KernelFidelity = "tile",
    residency: str = "inputs",
) -> KernelRun:
    """Run attention of a batch of ``prefills`` (sequences, new tokens, keys) and ``decodes`` (sequences, keys).

    All prefills are equally long, and so are all decodes; a kind of which there is none is (0, ...). Both kinds share a launch.
    ``writes_kv_cache``: a kernel before copies the new keys and values to the cache. ``regroups_queries``: if there are decodes
    only, and several, queries are copied so that those of a group of heads are rows of one matrix, and results are copied
    back. The other parameters are those of :func:`workloads.single.attention.simulate_attention`.

    Raises :class:`uarch.InputError` as that does, and for an empty batch.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    check_options(dtype, fidelity, residency)
    kinds = [kind for kind in (prefills, (decodes[0], 1, decodes[1])) if kind[0]]
    if not kinds:
        raise InputError("attention: the batch has no sequences; at least one prefill or decode is needed")
    for batch, q_len, kv_len in kinds:
        check_sizes(Attention(batch, q_heads, kv_heads, head_dim, q_len, kv_len, causal), "prefill")
    mixed = _mixed(kinds, (q_heads, kv_heads, head_dim), causal, dtype)
    space = AddressSpace()
    attention, queries = streamed(chip, mixed, mapper_for(chip, dtype, fidelity), space)
    name = " + ".join(f"b {batch}, q {q_len}, kv {kv_len}" for batch, q_len, kv_len in kinds)
    mapped: list[tuple[TileProgram, Search[Any] | None]] = list(attention)
    inputs = [queries]
    if regroups_queries and not prefills[0] and decodes[0] > 1 and q_heads > kv_heads:
        rows, cols = decodes[0], q_heads * head_dim
        mapped = [(_copy(chip, space, "query_regroup", rows, cols, dtype)[0], None), *mapped]
        mapped.append((_copy(chip, space, "output_regroup", rows, cols, dtype)[0], None))
    if writes_kv_cache:
        rows = sum(batch * q_len for batch, q_len, _ in kinds)
        write, new = _copy(chip, space, "kv_cache_write", rows, 2 * kv_heads * head_dim, dtype)
        mapped.insert(0, (write, None))
        inputs.append(new)
    l2 = initial_l2(chip, residency, fidelity, inputs, [program for program, _ in mapped])
    return run_programs(chip, "attention", name, fidelity, mapped, l2)


def _mixed(
    kinds: list[tuple[int, int, int]], heads: tuple[int, int, int], causal: bool, dtype: MatrixDatatype
) -> Attention:
    """Equal sequences as a plain operator, those of two kinds as a ragged batch."""
    counts, q_lens, kv_lens = zip(*kinds, strict=True)
    attention = Attention(sum(counts), *heads, max(q_lens), max(kv_lens), causal, dtype=dtype)
    if len(kinds) == 1:
        return attention
    return attention.of_lengths(np.repeat(q_lens, counts), np.repeat(kv_lens, counts))


def _copy(
    chip: Chip, space: AddressSpace, name: str, rows: int, cols: int, dtype: MatrixDatatype
) -> tuple[TileProgram, Tensor]:
    """A copy of as many elements, and where they are copied from."""
    source, target = (space.allocate(f"{name}.{end}", rows, cols, datatype(dtype).bits) for end in ("from", "to"))
    return copy(name, chip, source, target, dtype=dtype), source
