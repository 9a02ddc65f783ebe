"""One kernel alone on a chip: a GEMM, or attention by either schedule.

The kernel runs without launch overhead, and begins with a cold L2 unless told otherwise: what it costs by itself, whatever
stack and model it is used in.
"""

from __future__ import annotations

import numpy as np

from kernels.address_space import AddressSpace, Tensor
from kernels.attention import AttentionShape, FlashMapping, UnfusedAttention, flash_attention, scores_tensor
from kernels.datatypes import ELEMENT_BITS
from kernels.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.mapper import Mapper
from kernels.program import TileProgram
from uarch.chip import Chip
from uarch.chip_file import load_chip
from uarch.engine import ENGINE_FIDELITIES
from uarch.errors import InputError
from workloads.kernel_run import KernelRun, Mapped, run_programs
from workloads.phase import SCHEDULES, check_known, check_positive
from workloads.residency import RESIDENCIES, initial_l2

ATTENTION_PHASES = ("prefill", "decode")

_GIB = 1 << 30


def simulate_gemm(
    chip: Chip | str,
    m: int,
    n: int,
    k: int,
    *,
    batch: int = 1,
    dtype: str = "fp16",
    fidelity: str = "tile",
    residency: str = "cold",
) -> KernelRun:
    """Run ``batch`` products C = A B with A of ``m x k`` and B of ``k x n``, all in ``dtype``, row-major in device memory.

    ``chip`` is an object, the name of a preset, or the path of a file; ``fidelity``: ``analytical``, ``tile`` or ``burst``;
    ``residency``: what L2 holds at the start, one of :data:`workloads.residency.RESIDENCIES` (``inputs`` is A).

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or operands that do not fit the chip.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    check_options(dtype, fidelity, residency)
    check_positive(m=m, n=n, k=k, batch=batch)
    shape, space, bits = GemmShape(m, n, k, batch), AddressSpace(), ELEMENT_BITS[dtype]
    tensors = (("a", m, k), ("b", k, n), ("c", m, n))
    a, b, c = (space.allocate(*tensor, bits, batch=batch) for tensor in tensors)
    check_fits(chip, f"gemm {shape}", space)
    left, right, out = (Operand(tensor, batch=np.arange(batch) if batch > 1 else 0) for tensor in (a, b, c))

    def build(mapping: GemmMapping) -> TileProgram:
        return gemm("gemm", shape, left, right, [Output(out, 0, n)], mapping, space, dtype=dtype)

    search = mapper_for(chip, dtype, fidelity).search_gemm(shape, build)
    program = build(search.mapping)
    l2 = initial_l2(chip, residency, fidelity, [a], [program])
    return run_programs(chip, "gemm", str(shape), fidelity, [(program, search)], l2)


def simulate_attention(
    chip: Chip | str,
    phase: str,
    *,
    batch: int,
    q_heads: int,
    kv_heads: int,
    head_dim: int,
    kv_len: int,
    q_len: int | None = None,
    causal: bool = True,
    schedule: str = "flash",
    dtype: str = "fp16",
    fidelity: str = "tile",
    residency: str = "cold",
) -> KernelRun:
    """Run attention: ``q_len`` new tokens of each of ``batch`` sequences see the ``kv_len`` keys up to their own, or all of
    them if not ``causal``.

    ``phase``: in ``prefill`` ``q_len`` is at most ``kv_len`` (and that if left out), in ``decode`` it is 1. ``schedule``:
    ``flash`` is one program; ``unfused`` runs the scores, a softmax and the weighted sums one after the other, each
    finding the L2 as the one before it left it. ``chip``, ``fidelity`` and ``residency`` (``inputs`` is Q) as in
    :func:`simulate_gemm`.

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or operands that do not fit the chip.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    check_options(dtype, fidelity, residency)
    check_known("phase", phase, ATTENTION_PHASES)
    check_known("schedule", schedule, SCHEDULES)
    q_len = (kv_len if phase == "prefill" else 1) if q_len is None else q_len
    shape = AttentionShape(batch, q_heads, kv_heads, head_dim, q_len, kv_len, causal)
    check_attention(shape, phase)
    space, mapper = AddressSpace(), mapper_for(chip, dtype, fidelity)
    tensors = allocate_attention(space, shape, ELEMENT_BITS[dtype])
    mapped = (_unfused if schedule == "unfused" else _flash)(chip, shape, mapper, space, tensors)
    l2 = initial_l2(chip, residency, fidelity, tensors[:1], [program for program, _ in mapped])
    return run_programs(chip, "attention", str(shape), fidelity, mapped, l2)


Tensors = tuple[Tensor, Tensor, Tensor, Tensor]


def _flash(chip: Chip, shape: AttentionShape, mapper: Mapper, space: AddressSpace, tensors: Tensors) -> Mapped:
    check_fits(chip, f"attention {shape}", space)

    def build(mapping: FlashMapping) -> TileProgram:
        return flash_attention("attention", shape, *tensors, mapping, space, dtype=mapper.dtype)

    search = mapper.search_attention(shape, build)
    return [(build(search.mapping), search)]


def _unfused(chip: Chip, shape: AttentionShape, mapper: Mapper, space: AddressSpace, tensors: Tensors) -> Mapped:
    q, k, v, out = tensors
    bits = ELEMENT_BITS[mapper.dtype]
    scores, probabilities = (scores_tensor(space, name, shape, bits) for name in ("scores", "probabilities"))
    check_fits(chip, f"attention {shape}", space)
    attention = UnfusedAttention(shape, q, k, v, scores, probabilities, out, space, mapper.dtype)
    qk, pv = mapper.search_unfused(attention)
    return [(attention.qk(qk.mapping), qk), (attention.softmax(chip), None), (attention.pv(pv.mapping), pv)]


def allocate_attention(space: AddressSpace, shape: AttentionShape, bits: int) -> Tensors:
    """Q, the K and V caches and the output."""
    q_size = shape.q_len, shape.q_heads * shape.head_dim
    kv_size = shape.kv_len, shape.kv_heads * shape.head_dim
    sizes = (("q", *q_size), ("k", *kv_size), ("v", *kv_size), ("out", *q_size))
    q, k, v, out = (space.allocate(*size, bits, batch=shape.batch) for size in sizes)
    return q, k, v, out


def mapper_for(chip: Chip, dtype: str, fidelity: str) -> Mapper:
    """The mapper that suits a fidelity: the analytical one does not use the engine."""
    return Mapper(chip, dtype, on_engine=fidelity != "analytical")


def check_options(dtype: str, fidelity: str, residency: str) -> None:
    """Raise :class:`uarch.InputError` for a name that is none of the known ones."""
    check_known("dtype", dtype, tuple(ELEMENT_BITS))
    check_known("fidelity", fidelity, ("analytical", *ENGINE_FIDELITIES))
    check_known("residency", residency, RESIDENCIES)


def check_attention(shape: AttentionShape, phase: str) -> None:
    """Raise :class:`uarch.InputError` for sizes that are not those of attention in a phase."""
    sizes = ("batch", "q_heads", "kv_heads", "head_dim", "q_len", "kv_len")
    check_positive(**{name: getattr(shape, name) for name in sizes})
    if shape.q_heads % shape.kv_heads:
        raise InputError(f"kv_heads = {shape.kv_heads}: must divide q_heads = {shape.q_heads}")
    if shape.q_len > shape.kv_len:
        raise InputError(
            f"q_len = {shape.q_len}: must be at most kv_len = {shape.kv_len}, which includes the new tokens"
        )
    if phase == "decode" and shape.q_len > 1:
        raise InputError(f"q_len = {shape.q_len}: must be 1 in decode; several new tokens are allowed in prefill")


def check_fits(chip: Chip, kernel: str, space: AddressSpace) -> None:
    """Raise :class:`uarch.InputError` if tensors are larger than the device memory."""
    if space.size_bytes > chip.capacity_bytes:
        needed, allowed = space.size_bytes / _GIB, chip.capacity_bytes / _GIB
        raise InputError(f"{kernel}: its tensors take {needed:.2f} GiB; allowed on {chip.name}: {allowed:g} GiB")
