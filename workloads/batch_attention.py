"""Attention of a serving engine's batch: prefills and decodes in one launch, after new keys and values went to the cache."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kernels.address_space import AddressSpace, Tensor
from kernels.attention import AttentionShape, FlashMapping, flash_attention
from kernels.datatypes import ELEMENT_BITS
from kernels.elementwise import copy
from kernels.mapper import Mapper, Search
from kernels.program import TileProgram, joined
from uarch.chip import Chip
from uarch.chip_file import load_chip
from uarch.errors import InputError
from workloads.kernel_run import KernelRun, run_programs
from workloads.residency import initial_l2
from workloads.single_kernel import allocate_attention, check_attention, check_fits, check_options, mapper_for


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
    dtype: str = "fp16",
    fidelity: str = "tile",
    residency: str = "inputs",
) -> KernelRun:
    """Run attention of a batch of ``prefills`` (sequences, new tokens, keys) and ``decodes`` (sequences, keys).

    Sequences are those of one kind each, and none of a kind is (0, ...). Where both kinds are there they share a launch, in
    which blocks of decodes handle single query heads, as those of prefills do. ``writes_kv_cache``: a kernel before copies the
    new keys and values to the cache. Otherwise as :func:`workloads.single_kernel.simulate_attention`.

    Raises :class:`uarch.InputError` as that does, and for an empty batch.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    check_options(dtype, fidelity, residency)
    sizes = {"q_heads": q_heads, "kv_heads": kv_heads, "head_dim": head_dim}
    shapes = []
    if prefills[0]:
        shapes.append(AttentionShape(batch=prefills[0], q_len=prefills[1], kv_len=prefills[2], causal=causal, **sizes))
    if decodes[0]:
        shapes.append(AttentionShape(batch=decodes[0], q_len=1, kv_len=decodes[1], causal=causal, **sizes))
    if not shapes:
        raise InputError("attention: the batch has no sequences; at least one prefill or decode is needed")
    for shape in shapes:
        check_attention(shape, "prefill")
    space, mapper = AddressSpace(), mapper_for(chip, dtype, fidelity)
    parts = [_part(shape, mapper, space, alone=len(shapes) == 1) for shape in shapes]
    name = " + ".join(map(str, shapes))
    check_fits(chip, f"attention {name}", space)
    programs, searches, queries = zip(*parts, strict=True)
    attention = programs[0] if len(programs) == 1 else joined("attention", name, programs)
    mapped: list[tuple[TileProgram, Search[Any] | None]] = [(attention, searches[0])]
    inputs = list(queries)
    if writes_kv_cache:
        write, new = _kv_cache_write(chip, space, shapes, dtype)
        mapped.insert(0, (write, None))
        inputs.append(new)
    l2 = initial_l2(chip, residency, fidelity, inputs, [program for program, _ in mapped])
    return run_programs(chip, "attention", name, fidelity, mapped, l2)


def _part(
    shape: AttentionShape, mapper: Mapper, space: AddressSpace, *, alone: bool
) -> tuple[TileProgram, Search[FlashMapping], Tensor]:
    """Program of the sequences of one kind, the search for its mapping, and its Q."""
    tensors = allocate_attention(space, shape, ELEMENT_BITS[mapper.dtype])

    def build(mapping: FlashMapping) -> TileProgram:
        return flash_attention("attention", shape, *tensors, mapping, space, dtype=mapper.dtype)

    search = mapper.search_attention(shape, build)
    if not alone and shape.q_len == 1:
        search = replace(search, mapping=replace(search.mapping, pack=1, splits=1))
    return build(search.mapping), search, tensors[0]


def _kv_cache_write(
    chip: Chip, space: AddressSpace, shapes: list[AttentionShape], dtype: str
) -> tuple[TileProgram, Tensor]:
    """The copy of all new keys and values, and where they are copied from."""
    rows = sum(shape.batch * shape.q_len for shape in shapes)
    cols = 2 * shapes[0].kv_heads * shapes[0].head_dim
    new, cache = (space.allocate(name, rows, cols, ELEMENT_BITS[dtype]) for name in ("new_kv", "cache"))
    return copy("kv_cache_write", chip, new, cache, dtype=dtype), new
