"""One kernel alone on a chip: a GEMM, or attention by either schedule.

The kernel begins with a cold L2 and without launch overhead: what it costs by itself, whatever stack and model it is used in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernels.address_space import AddressSpace
from kernels.attention import AttentionShape, FlashMapping, UnfusedAttention, flash_attention, scores_tensor
from kernels.datatypes import ELEMENT_BITS
from kernels.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.mapper import Mapper, Search
from kernels.program import TileProgram
from results.bounds import WORK_FIELDS, bound_by, resource_use
from uarch.analytical import execute_analytically
from uarch.chip import Chip
from uarch.chip_file import load_chip
from uarch.engine import ENGINE_FIDELITIES
from uarch.errors import InputError
from uarch.events import CAUSES, COMPONENTS
from uarch.l2 import L2State
from uarch.program import NONE
from workloads.execution import Executor, peaks_of
from workloads.operators import Operator
from workloads.phase import SCHEDULES, check_known, check_positive

ATTENTION_PHASES = ("prefill", "decode")

_GIB = 1 << 30


@dataclass(frozen=True)
class ProgramRun:
    """One tile program of a kernel, and how its mapping was found."""

    name: str
    shape: str
    seconds: float
    bound_by: str
    mapping: GemmMapping | FlashMapping | None
    """None for a program that has nothing to choose."""
    candidates: int
    """Mappings that fit the chip's cores."""
    trials: int
    """How many of them were tried on the engine."""


@dataclass(frozen=True)
class KernelRun:
    """What a kernel took on one chip."""

    chip: str
    kind: str
    shape: str
    dtype: str
    fidelity: str
    cycles: int
    """Of the tensor clock."""
    seconds: float
    roofline_seconds: float
    """The same work by the ``analytical`` fidelity: a bound that no run can beat."""
    flops: int
    """Useful ones: of causal attention, those of the scores that the mask keeps."""
    macs: int
    """Executed by the arrays, padding included."""
    dram_bytes: int
    l2_bytes: int
    utilization: float
    """Useful FLOP over what the arrays could do in that time."""
    bound_by: str
    """The busiest resource, or else where most of the cores' time went: see :func:`results.bounds.bound_by`."""
    resource_use: dict[str, float]
    """Fraction of its peak at which each resource is used: see :func:`results.bounds.resource_use`."""
    joules_by_component: dict[str, float]
    seconds_by_cause: dict[str, float]
    """Mean over the cores; adds up to ``seconds``."""
    programs: tuple[ProgramRun, ...]

    @property
    def energy_joules(self) -> float:
        """Of all components."""
        return sum(self.joules_by_component.values())


def simulate_gemm(
    chip: Chip | str, m: int, n: int, k: int, *, dtype: str = "fp16", fidelity: str = "tile"
) -> KernelRun:
    """Run C = A B with A of ``m x k`` and B of ``k x n``, all in ``dtype``, row-major in device memory.

    ``chip`` is an object, the name of a preset, or the path of a file; ``fidelity``: ``analytical``, ``tile`` or ``burst``.

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or operands that do not fit the chip.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    _check_options(dtype, fidelity)
    check_positive(m=m, n=n, k=k)
    shape, space, bits = GemmShape(m, n, k), AddressSpace(), ELEMENT_BITS[dtype]
    a, b, c = (space.allocate(*tensor, bits) for tensor in (("a", m, k), ("b", k, n), ("c", m, n)))
    _check_fits(chip, f"gemm {shape}", space)

    def build(mapping: GemmMapping) -> TileProgram:
        return gemm("gemm", shape, Operand(a), Operand(b), [Output(Operand(c), 0, n)], mapping, space, dtype=dtype)

    search = _mapper(chip, dtype, fidelity).search_gemm(shape, build)
    return _run(chip, "gemm", str(shape), fidelity, [(build(search.mapping), search)])


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
    schedule: str = "flash",
    dtype: str = "fp16",
    fidelity: str = "tile",
) -> KernelRun:
    """Run causal attention: ``q_len`` new tokens of each of ``batch`` sequences see the ``kv_len`` keys up to their own.

    ``phase``: in ``prefill`` ``q_len`` is at most ``kv_len`` (and that if left out), in ``decode`` it is 1. ``schedule``:
    ``flash`` is one program; ``unfused`` runs the scores, a softmax and the weighted sums one after the other, each
    finding the L2 as the one before it left it. ``chip`` and ``fidelity`` as in :func:`simulate_gemm`.

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or operands that do not fit the chip.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    _check_options(dtype, fidelity)
    check_known("phase", phase, ATTENTION_PHASES)
    check_known("schedule", schedule, SCHEDULES)
    q_len = (kv_len if phase == "prefill" else 1) if q_len is None else q_len
    shape = AttentionShape(batch, q_heads, kv_heads, head_dim, q_len, kv_len)
    _check_attention(shape, phase)
    run = _unfused if schedule == "unfused" else _flash
    return _run(chip, "attention", str(shape), fidelity, run(chip, shape, _mapper(chip, dtype, fidelity)))


_Mapped = list[tuple[TileProgram, Search[Any] | None]]
"""Programs in order, each with the search that its mapping comes from."""


def _flash(chip: Chip, shape: AttentionShape, mapper: Mapper) -> _Mapped:
    space = AddressSpace()
    q, k, v, out = _allocate(space, shape, ELEMENT_BITS[mapper.dtype])
    _check_fits(chip, f"attention {shape}", space)

    def build(mapping: FlashMapping) -> TileProgram:
        return flash_attention("attention", shape, q, k, v, out, mapping, space, dtype=mapper.dtype)

    search = mapper.search_attention(shape, build)
    return [(build(search.mapping), search)]


def _unfused(chip: Chip, shape: AttentionShape, mapper: Mapper) -> _Mapped:
    space, bits = AddressSpace(), ELEMENT_BITS[mapper.dtype]
    q, k, v, out = _allocate(space, shape, bits)
    scores, probabilities = (scores_tensor(space, name, shape, bits) for name in ("scores", "probabilities"))
    _check_fits(chip, f"attention {shape}", space)
    attention = UnfusedAttention(shape, q, k, v, scores, probabilities, out, space, mapper.dtype)
    qk, pv = mapper.search_unfused(attention)
    return [(attention.qk(qk.mapping), qk), (attention.softmax(chip), None), (attention.pv(pv.mapping), pv)]


def _allocate(space: AddressSpace, shape: AttentionShape, bits: int) -> Any:
    """Q, K, V and the output."""
    q_size = shape.q_len, shape.q_heads * shape.head_dim
    kv_size = shape.kv_len, shape.kv_heads * shape.head_dim
    tensors = (("q", *q_size), ("k", *kv_size), ("v", *kv_size), ("out", *q_size))
    return [space.allocate(*tensor, bits, batch=shape.batch) for tensor in tensors]


def _mapper(chip: Chip, dtype: str, fidelity: str) -> Mapper:
    return Mapper(chip, dtype, on_engine=fidelity != "analytical")


def _check_options(dtype: str, fidelity: str) -> None:
    check_known("dtype", dtype, tuple(ELEMENT_BITS))
    check_known("fidelity", fidelity, ("analytical", *ENGINE_FIDELITIES))


def _check_attention(shape: AttentionShape, phase: str) -> None:
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


def _check_fits(chip: Chip, kernel: str, space: AddressSpace) -> None:
    if space.size_bytes > chip.capacity_bytes:
        needed, allowed = space.size_bytes / _GIB, chip.capacity_bytes / _GIB
        raise InputError(f"{kernel}: its tensors take {needed:.2f} GiB; allowed on {chip.name}: {allowed:g} GiB")


def _run(chip: Chip, kind: str, shape: str, fidelity: str, mapped: _Mapped) -> KernelRun:
    programs = [program for program, _ in mapped]
    operators = [Operator(program.name, kind, (program,)) for program in programs]
    rows, _ = Executor(chip, None, fidelity).run(operators, L2State.empty())
    seconds, flops = _total(rows, "seconds"), _total(rows, "flops")
    hz, dtype = chip.clock.tensor_hz, programs[0].dtype
    causes = {cause: _total(rows, f"{cause}_cycles") / hz for cause in CAUSES}
    work, peaks = {name: _total(rows, name) for name in WORK_FIELDS}, peaks_of(chip, dtype)
    return KernelRun(
        chip=chip.name,
        kind=kind,
        shape=shape,
        dtype=dtype,
        fidelity=fidelity,
        cycles=round(seconds * hz),
        seconds=seconds,
        roofline_seconds=_roofline_seconds(chip, programs),
        flops=flops,
        macs=_total(rows, "macs"),
        dram_bytes=_total(rows, "dram_read_bytes") + _total(rows, "dram_write_bytes"),
        l2_bytes=_total(rows, "l2_bytes"),
        utilization=flops / (seconds * chip.peak_flops(dtype)),
        bound_by=bound_by(work, peaks),
        resource_use=resource_use(work, peaks),
        joules_by_component={name: _total(rows, f"{name}_joules") for name in COMPONENTS},
        seconds_by_cause=causes,
        programs=tuple(_program_run(row, search) for row, (_, search) in zip(rows, mapped, strict=True)),
    )


def _roofline_seconds(chip: Chip, programs: Sequence[TileProgram]) -> float:
    """Closed-form time of all programs as one: what one of them writes and another reads need not come from memory."""
    tables, first_tensor = [], 0
    for program in programs:
        operands = program.operands.copy()
        operands["tensor"][operands["tensor"] != NONE] += first_tensor
        first_tensor += len(program.tensors)
        tables.append(operands)
    together = replace(
        programs[0],
        tensors=np.concatenate([program.tensors for program in programs]),
        steps=np.concatenate([program.steps for program in programs]),
        operands=np.concatenate(tables),
        n_granules=max(program.n_granules for program in programs),
    )
    return execute_analytically(chip, together).seconds


def _total(rows: Sequence[dict[str, Any]], field: str) -> Any:
    return sum(row[field] for row in rows)


def _program_run(row: dict[str, Any], search: Search[Any] | None) -> ProgramRun:
    found = (search.mapping, search.candidates, search.trials) if search else (None, 0, 0)
    return ProgramRun(row["name"], row["shape"], row["seconds"], row["bound_by"], *found)
