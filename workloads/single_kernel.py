"""One kernel alone on a chip, and a GEMM as such a kernel; attention is in :mod:`workloads.attention_kernel`.

The kernel begins with a cold L2 and without launch overhead: what it costs by itself, whatever stack and model it is used in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernels.address_space import AddressSpace
from kernels.attention import FlashMapping
from kernels.datatypes import ELEMENT_BITS, MATRIX_DTYPES
from kernels.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.mapper import Mapper, Search
from kernels.program import TileProgram
from kernels.weights import allocate_weights, plain, weight_format
from results.bounds import WORK_FIELDS, bound_by, resource_use
from uarch.analytical import execute_analytically
from uarch.chip import Chip
from uarch.chip_file import load_chip
from uarch.errors import InputError
from uarch.events import CAUSES, COMPONENTS
from uarch.l2 import L2State
from uarch.program import NONE
from workloads.execution import Executor, peaks_of
from workloads.operator import Operator
from workloads.phase import FIDELITIES, check_known, check_positive

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
    chip: Chip | str,
    m: int,
    n: int,
    k: int,
    *,
    dtype: str = "fp16",
    fidelity: str = "tile",
    weight_dtype: str | None = None,
    group_size: int | None = None,
    weight_sparsity: str | None = None,
) -> KernelRun:
    """Run C = A B with A of ``m x k`` and B of ``k x n``, all in ``dtype``, row-major in device memory.

    ``chip`` is an object, the name of a preset, or the path of a file; ``fidelity``: ``analytical``, ``tile`` or ``burst``.
    ``weight_dtype``, ``group_size`` and ``weight_sparsity`` say how B is stored: see :func:`kernels.weights.weight_format`.

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or operands that do not fit the chip.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    check_options(dtype, fidelity)
    check_positive(m=m, n=n, k=k)
    form = weight_format(chip, dtype, weight_dtype=weight_dtype, group_size=group_size, sparsity=weight_sparsity)
    shape, space, bits = GemmShape(m, n, k), AddressSpace(), ELEMENT_BITS[dtype]
    a, b, c = space.allocate("a", m, k, bits), allocate_weights(space, "b", k, n, form), space.allocate("c", m, n, bits)
    check_space(chip, f"gemm {shape}", space)

    def build(mapping: GemmMapping) -> TileProgram:
        return gemm("gemm", shape, Operand(a), b, [Output(Operand(c), 0, n)], mapping, space, dtype=dtype)

    search = mapper_for(chip, dtype, fidelity).search_gemm(shape, build, weights=form)
    text = str(shape) if form == plain(dtype) else f"{shape}, weights {form}"
    return run_programs(chip, "gemm", text, fidelity, [(build(search.mapping), search)])


Mapped = list[tuple[TileProgram, Search[Any] | None]]
"""Programs in order, each with the search that its mapping comes from."""


def mapper_for(chip: Chip, dtype: str, fidelity: str) -> Mapper:
    """Mapper that tries candidates on the engine if the run uses it."""
    return Mapper(chip, dtype, on_engine=fidelity != "analytical")


def check_options(dtype: str, fidelity: str) -> None:
    """Raise :class:`InputError` for an unknown datatype or fidelity."""
    check_known("dtype", dtype, MATRIX_DTYPES)
    check_known("fidelity", fidelity, FIDELITIES)


def check_space(chip: Chip, kernel: str, space: AddressSpace) -> None:
    """Raise :class:`InputError` if the tensors do not fit into the chip's memory."""
    if space.size_bytes > chip.capacity_bytes:
        needed, allowed = space.size_bytes / _GIB, chip.capacity_bytes / _GIB
        raise InputError(f"{kernel}: its tensors take {needed:.2f} GiB; allowed on {chip.name}: {allowed:g} GiB")


def run_programs(chip: Chip, kind: str, shape: str, fidelity: str, mapped: Mapped) -> KernelRun:
    """Execute programs one after the other, each finding the L2 as the one before it left it."""
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
